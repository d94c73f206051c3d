"""A stand-in for Moogsoft's webhook: takes alerts, remembers them, and misbehaves on request.

    POST /events    one alert, or {"events": [...]}; the bearer token or X-API-KEY must be MOOG_API_KEY when that is set
    GET  /stats     {"count": alerts received, "distinct": different ids, "doubled": ids seen more than once, ...}
    GET  /alerts    every alert received, oldest first; ?external_id=ID gives only that one's deliveries
    GET  /ids       {"external_id": how often it was received, ...}
    POST /behave    {"slow": seconds} {"status": 503, "retry_after": 5, "body": "text"} {"hang": true} {"refuse": true}
                    {"endless": true} {"garbage": true}, each with "times": n for only the next n requests and with
                    "taken": true where the alerts are taken nevertheless; {"reset": true} or {} behaves again
    DELETE /alerts  forgets what was received
    GET  /health    200

`refuse` resets the connection of each request to /events, `endless` is a 200 whose body does not end, `garbage` no HTTP
at all. What was taken is in the file of --state before the
reply, so a killed stand-in that comes back still knows it.
"""

import argparse
import asyncio
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

from aiohttp import web

HOST = "127.0.0.1"
KEPT = 200_000  # alerts whose bodies are kept for /alerts; all are counted
LARGEST_BODY = 64 << 20  # bytes
ANSWERS = {"status", "body", "hang", "refuse", "endless", "garbage"}  # what is done instead of taking the alert
CHUNK = b" " * (64 << 10)  # of a body that does not end
BEHAVIOURS = ANSWERS | {"slow", "retry_after", "taken", "times", "reset"}


class StandIn:
    """What was received, and how the next request is answered."""

    def __init__(self, state: Path | None, api_key: str | None) -> None:
        self._api_key = api_key
        self._alerts: list[dict[str, Any]] = []
        self._deliveries: Counter[str] = Counter()
        self._count = self._requests = self._refused = 0
        self._behaviour: dict[str, Any] = {}
        self._log = None
        if state is not None:
            self._load(state)
            self._log = state.open("ab", buffering=0)

    async def take(self, request: web.Request) -> web.StreamResponse:
        """Answer POST /events."""
        body = await request.read()
        wished = self._next_behaviour()
        await asyncio.sleep(wished.get("slow", 0))
        if not wished.keys() & ANSWERS:
            return self._take(request, body)
        if wished.get("taken"):
            self._take(request, body)
        self._refused += 1
        return await self._misbehave(request, wished)

    def _take(self, request: web.Request, body: bytes) -> web.Response:
        if not self._authorized(request):
            return _error(401, "the key is missing or wrong: send MOOG_API_KEY as a bearer token")
        try:
            decoded = json.loads(body)
        except ValueError as error:
            return _error(400, f"the body is not JSON: {error}")
        alerts = decoded.get("events", [decoded]) if isinstance(decoded, dict) else None
        if not isinstance(alerts, list) or not all(isinstance(alert, dict) for alert in alerts):
            return _error(400, 'send one alert (an object) or {"events": [alerts]}')
        self._requests += 1
        if self._log is not None:
            self._log.write(b"".join(json.dumps(alert).encode() + b"\n" for alert in alerts))
        for alert in alerts:
            self._remember(alert)
        return web.json_response({"status": "ok", "accepted": len(alerts)})

    async def stats(self, _: web.Request) -> web.Response:
        """Answer GET /stats."""
        return web.json_response(
            {
                "count": self._count,
                "distinct": len(self._deliveries),
                "doubled": sum(1 for times in self._deliveries.values() if times > 1),
                "requests": self._requests,
                "misbehaved": self._refused,
                "behaviour": self._behaviour,
            }
        )

    async def alerts(self, request: web.Request) -> web.Response:
        """Answer GET /alerts."""
        wanted = request.query.get("external_id")
        return web.json_response([a for a in self._alerts if wanted is None or alert_id(a) == wanted])

    async def ids(self, _: web.Request) -> web.Response:
        """Answer GET /ids."""
        return web.json_response(self._deliveries)

    async def forget(self, _: web.Request) -> web.Response:
        """Answer DELETE /alerts."""
        self._alerts.clear()
        self._deliveries.clear()
        self._count = self._requests = self._refused = 0
        if self._log is not None:
            self._log.truncate(0)
        return web.json_response({"status": "ok"})

    async def behave(self, request: web.Request) -> web.Response:
        """Answer POST /behave."""
        text = await request.text()
        try:
            wished = {**request.query, **(json.loads(text) if text.strip() else {})}
        except (ValueError, TypeError):
            return _error(400, 'send a JSON object, for example {"status": 503, "times": 3}')
        unknown = set(wished) - BEHAVIOURS
        if unknown:
            return _error(400, f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(sorted(BEHAVIOURS))}")
        try:
            self._behaviour = _behaviour(wished)
        except ValueError as error:
            return _error(400, str(error))
        return web.json_response({"behaviour": self._behaviour})

    async def health(self, _: web.Request) -> web.Response:
        """Answer GET /health."""
        return web.json_response({"status": "healthy", "service": "moogsoft-stand-in"})

    def _load(self, state: Path) -> None:
        if state.exists():
            for line in state.read_bytes().splitlines():
                try:
                    self._remember(json.loads(line))
                except ValueError:  # the last line of a run that was killed while it wrote
                    continue

    def _remember(self, alert: dict[str, Any]) -> None:
        self._count += 1
        self._deliveries[alert_id(alert)] += 1
        self._alerts.append(alert)
        if len(self._alerts) > KEPT:
            del self._alerts[: KEPT // 10]

    def _authorized(self, request: web.Request) -> bool:
        sent = {request.headers.get("X-API-KEY"), request.headers.get("Authorization", "").partition(" ")[2]}
        return not self._api_key or self._api_key in sent

    def _next_behaviour(self) -> dict[str, Any]:
        wished = self._behaviour
        if "times" in wished:
            self._behaviour = {**wished, "times": wished["times"] - 1} if wished["times"] > 1 else {}
        return wished

    async def _misbehave(self, request: web.Request, wished: dict[str, Any]) -> web.StreamResponse:
        if wished.get("hang"):
            await asyncio.Event().wait()
        if request.transport is not None:
            if wished.get("refuse"):
                request.transport.abort()
            elif wished.get("garbage"):
                request.transport.write(b"\x16\x03\x01 220 this is not HTTP\r\n")
                request.transport.close()
        if wished.get("endless"):
            stream = web.StreamResponse()
            await stream.prepare(request)
            while True:  # until the client hangs up
                await stream.write(CHUNK)
        headers = {"Retry-After": str(wished["retry_after"])} if "retry_after" in wished else {}
        text = wished.get("body", '{"error": "as asked"}')
        return web.Response(
            text=text, status=wished.get("status", 200), headers=headers, content_type="application/json"
        )


def alert_id(alert: dict[str, Any]) -> str:
    """Return what identifies an alert in either payload profile: `external_id`, else `dedupe_key`."""
    return str(alert.get("external_id") or alert.get("dedupe_key") or json.dumps(alert, sort_keys=True))


def _behaviour(wished: dict[str, Any]) -> dict[str, Any]:
    if str(wished.pop("reset", "false")).lower() in {"true", "1"}:
        return {}
    kinds = {"slow": float, "status": int, "retry_after": int, "times": int, "body": str}
    try:
        chosen = {name: kinds.get(name, _flag)(value) for name, value in wished.items()}
    except (TypeError, ValueError):
        raise ValueError("slow takes seconds, status, retry_after and times whole numbers, the rest true") from None
    return {name: value for name, value in chosen.items() if value is not False}


def _flag(value: object) -> bool:
    return str(value).lower() in {"true", "1"}


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)


def application(stand_in: StandIn) -> web.Application:
    """Return the web application of `stand_in`."""
    app = web.Application(client_max_size=LARGEST_BODY)
    app.router.add_post("/events", stand_in.take)
    app.router.add_get("/stats", stand_in.stats)
    app.router.add_get("/alerts", stand_in.alerts)
    app.router.add_get("/ids", stand_in.ids)
    app.router.add_delete("/alerts", stand_in.forget)
    app.router.add_post("/behave", stand_in.behave)
    app.router.add_get("/health", stand_in.health)
    return app


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default=HOST)
    parser.add_argument("--port", type=int, default=8095)
    parser.add_argument("--state", type=Path, help="file that keeps what was received")
    options = parser.parse_args()
    stand_in = StandIn(options.state, os.environ.get("MOOG_API_KEY"))
    app = application(stand_in)
    web.run_app(app, host=options.host, port=options.port, print=None, access_log=None, shutdown_timeout=0.5)


if __name__ == "__main__":
    main()
