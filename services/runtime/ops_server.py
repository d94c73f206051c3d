"""What each service shows its operators over HTTP: /health, /live and /metrics."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.runtime.health import Health
from services.runtime.http_server import serve

API_VERSION = {"X-API-Version": "v2.5"}


def routes(health: Health, registry: CollectorRegistry) -> list[Route]:
    """Return the routes /health, /live and /metrics of a service."""

    async def show_health(_request: Request) -> Response:
        healthy, document = await health.report()
        return JSONResponse(document, 200 if healthy else 503, API_VERSION)

    async def show_live(_request: Request) -> Response:
        document = {"live": health.is_live, "idle_seconds": round(health.idle_seconds, 1)}
        return JSONResponse(document, 200 if health.is_live else 503, API_VERSION)

    async def show_metrics(_request: Request) -> Response:
        await health.report()  # what the metrics say of dependencies is of now, whether or not anybody asks for /health
        return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return [Route("/health", show_health), Route("/live", show_live), Route("/metrics", show_metrics)]


@asynccontextmanager
async def serve_ops(
    health: Health, registry: CollectorRegistry, host: str, ports: Sequence[tuple[int, str]]
) -> AsyncIterator[None]:
    """Serve on each `(port, variable that holds it)`: every one of the ports answers all three paths."""
    app = Starlette(routes=routes(health, registry))
    async with AsyncExitStack() as stack:
        for port, variable in ports:
            await stack.enter_async_context(serve(app, host, port, variable))
        yield
