"""The door for Splunk's HTTP Event Collector: /services/collector and what lies below it."""

from collections.abc import Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mutt import hec
from mutt.hec import REPLIES, Code, HecError, Origin
from mutt.intake import Receipt, Taken
from mutt.records import RecordError
from services.ingestor.auth import is_presented
from services.ingestor.exchange import Exchange
from services.ingestor.foreign import ForeignExchange
from services.ingestor.replies import MOST_ERRORS
from services.ingestor.turns import Refusal
from services.runtime.health import Health
from services.runtime.ops_server import API_VERSION

BASE = "/services/collector"
CODES = {401: Code.INVALID_TOKEN, 413: Code.TOO_LARGE, 500: Code.INTERNAL, 503: Code.BUSY}

_encode = msgspec.json.Encoder().encode


def body_of(code: Code, **more: object) -> bytes:
    """Return a reply's body, Splunk's words first."""
    return _encode({"text": REPLIES[code][1], "code": int(code), **more})


class Events(ForeignExchange):
    """A request to /event: JSON objects one behind the other."""

    _metadata: dict[str, str]

    def judge(self) -> None:
        """Look at the head; Splunk has several words for a key that is missing or wrong."""
        super().judge()
        self._metadata = {}
        try:
            self._metadata = hec.read_query(self._head.query)
        except HecError as error:
            self._refusal = self._refusal or self._refusal_of(error)
        if self._refusal is not None and self._refusal.status == REPLIES[Code.TOKEN_REQUIRED][0]:
            code = self._code_of_key()
            self._refusal = self._refusal._replace(status=REPLIES[code][0], details={"code": code})

    def _code_of_key(self) -> Code:
        if is_presented(self._head.headers):
            return Code.INVALID_TOKEN
        if b"authorization" in self._head.headers:
            return Code.INVALID_AUTHORIZATION
        return Code.QUERY_TOKEN if "token" in self._metadata else Code.TOKEN_REQUIRED

    def _origin(self) -> Origin:
        return Origin(self._metadata, self._connection.sender())

    def _understand(self, body: bytes, receipt: Receipt) -> Taken:
        return hec.read_events(self._door.intake, body, self._head.coding, self._origin(), receipt)

    def _accepted(self, taken: Taken) -> bytes:
        if not taken.rejected:
            return body_of(Code.SUCCESS)
        errors = [{"index": item.place, "error": item.error} for item in taken.rejected[:MOST_ERRORS]]
        return body_of(Code.SUCCESS, accepted=len(taken.accepted), rejected=len(taken.rejected), errors=errors)

    def _refusal_of(self, error: RecordError) -> Refusal:
        code = hec.code_of(error)
        return Refusal(REPLIES[code][0], error.reason, str(error), None, {"code": code})

    def _error(self, refusal: Refusal, correlation_id: str) -> bytes:
        code = Code(refusal.details.get("code", CODES.get(refusal.status, Code.INVALID_DATA)))
        more: dict[str, object] = {"detail": refusal.message, "correlation_id": correlation_id}
        if code in {Code.INVALID_DATA, Code.EVENT_REQUIRED, Code.EVENT_BLANK, Code.INVALID_FIELDS}:
            more = {"invalid-event-number": 0, **more}
        return body_of(code, **more)


class Lines(Events):
    """A request to /raw: an event a line."""

    def _understand(self, body: bytes, receipt: Receipt) -> Taken:
        return hec.read_lines(self._door.intake, body, self._head.coding, self._origin(), receipt)


class Acknowledgements(Events):
    """A question whether events were indexed: never asked by a sender that was given no id to ask with."""

    def judge(self) -> None:
        """Say to whoever has a key that a reply of 200 is the acknowledgement already."""
        super().judge()
        if self._refusal is None:
            message = "a reply of 200 is the acknowledgement: the events are in Redis by then"
            self._refusal = self._refusal_of(HecError(Code.ACK_DISABLED, message))

    def refused(self, refusal: Refusal) -> None:
        """Answer; a question is no event that was refused."""
        if refusal.details.get("code") == Code.ACK_DISABLED:
            self._reply(refusal.status, self._error(refusal, self._door.correlation_id(self._head)))
        else:
            super().refused(refusal)


ROUTES: dict[bytes, type[Exchange]] = {
    f"{BASE}{path}".encode(): kind
    for kind, paths in (
        (Events, ("", "/event", "/event/1.0")),
        (Lines, ("/raw", "/raw/1.0")),
        (Acknowledgements, ("/ack",)),
    )
    for path in paths
}


def health_routes(health: Health, cap: Callable[[], int]) -> list[Route]:
    """Return the routes by which Splunk's senders and balancers ask whether to send; `cap` is the queue's."""

    async def show(_request: Request) -> Response:
        healthy, document = await health.report()
        is_full = (document["queue_depth"] or 0) >= cap()
        code = Code.UNHEALTHY if is_full or not healthy else Code.HEALTHY
        return Response(body_of(code), REPLIES[code][0], API_VERSION, media_type="application/json")

    return [Route(f"{BASE}/health", show), Route(f"{BASE}/health/1.0", show)]
