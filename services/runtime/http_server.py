"""uvicorn inside a service's own lifecycle: the service owns the signals and says clearly when a port is taken."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import Any

import uvicorn

from mutt.errors import SettingsError
from services.runtime.own_certificate import OwnCertificate

BACKLOG = 2048
GRACE = 3  # seconds for the requests under way; a client that takes no answer would hold up the end for ever


class _Server(uvicorn.Server):
    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()


@asynccontextmanager
async def serve(
    app: Any, host: str, port: int, variable: str, *, tls: OwnCertificate | None = None, **options: Any
) -> AsyncIterator[uvicorn.Server]:
    """Serve an ASGI app on `host:port` while the context lasts, over TLS where a certificate is given.

    `variable` names the setting that holds the port; other `options` go to uvicorn.Config. At the end no new
    connection is taken and the requests under way are answered, within GRACE unless an option says otherwise.
    Raises SettingsError when the address cannot be listened on.
    """
    settings: dict[str, Any] = {
        "access_log": False,
        "lifespan": "off",
        "server_header": False,
        "timeout_graceful_shutdown": GRACE,
        **options,
    }
    if tls is not None:
        settings["ssl_context_factory"] = lambda _config, _default: tls.context
    config = uvicorn.Config(app, host=host, port=port, log_config=None, **settings)
    server = _Server(config)
    listener = listen(host, port, variable)
    task = asyncio.create_task(server.serve([listener]), name=f"http:{port}")
    try:
        while not server.started and not task.done():  # noqa: ASYNC110  (uvicorn offers a flag, no event)
            await asyncio.sleep(0.002)
        if task.done():
            await task
        yield server
    finally:
        server.should_exit = True
        await task
        listener.close()


def listen(host: str, port: int, variable: str) -> socket.socket:
    """Return a listening socket; raises SettingsError that names the variable and what to do."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"{variable}={port}: cannot listen on {host}:{port} ({error.strerror}): "
            f"end what uses the port, or set {variable} to a free one"
        ) from error
    return listener
