"""Replies of the ingest route as bytes: a sender reads these, so each says what happened and what to do."""

from functools import lru_cache
from http import HTTPStatus

import msgspec

from mutt.intake import Accepted, Rejected

MOST_ERRORS = 20  # of a batch's rejected records, those named in the reply
CURRENT_PATH = b"/api/v2/ingest"
ROOT_PATH = b"/"  # where Fluent Bit posts unless told otherwise
DEPRECATED_PATHS = (b"/api/v1/ingest", b"/ingest")
DEPRECATED_SINCE = 1_767_225_600  # epoch seconds, as RFC 9745 writes it: the day that version 2 became current

_encode = msgspec.json.Encoder().encode
_STATUS = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
JSON, PROTOBUF = b"application/json", b"application/x-protobuf"
_COMMON = b"x-api-version: v2.5\r\n"
_DEPRECATION = (
    b"x-api-deprecated: true\r\n"
    b"deprecation: @%d\r\n" % DEPRECATED_SINCE + b'link: <%s>; rel="successor-version"\r\n' % CURRENT_PATH
)
_ANY_ID = "00000000-0000-0000-0000-000000000000"  # as long as every other
_ANY = Accepted(b"", _ANY_ID, _ANY_ID)
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def queued_event(event: Accepted, depth: int) -> bytes:
    """Return the body for a single event; depth is the queue's after the push."""
    # None of the three needs escaping: both ids are made or checked by this service.
    return (
        f'{{"status":"queued","event_id":"{event.event_id}","correlation_id":"{event.correlation_id}",'
        f'"queue_depth":{depth}}}'
    ).encode()


class QueuedReplies:
    """Whole responses for single events, which differ in the ids alone while depth and second stay the same."""

    def __init__(self) -> None:
        self._depth, self._date = -1, b""
        self._before = self._between = self._behind = ""

    def reply(self, event: Accepted, depth: int, date: bytes) -> bytes:
        """Return what `response` makes of `queued_event`."""
        if depth != self._depth or date != self._date:
            self._depth, self._date = depth, date
            whole = response(HTTPStatus.OK, queued_event(_ANY, depth), date).decode()
            self._before, self._between, self._behind = whole.split(_ANY_ID)
        return f"{self._before}{event.event_id}{self._between}{event.correlation_id}{self._behind}".encode()


def queued_batch(accepted: int, rejected: list[Rejected], depth: int) -> bytes:
    """Return the body for a batch: how many were taken, and which of the others failed why."""
    errors = [{"index": item.place, "error": item.error} for item in rejected[:MOST_ERRORS]]
    return _encode(
        {
            "status": "queued",
            "accepted": accepted,
            "rejected": len(rejected),
            "queue_depth": depth,
            "errors": errors,
        }
    )


def error(message: str, correlation_id: str, **details: int) -> bytes:
    """Return the body of any refusal."""
    return _encode({"status": "error", "message": message, "correlation_id": correlation_id, **details})


def response(  # noqa: PLR0917  (called for every event: by keyword it is slower)
    status: int,
    body: bytes,
    date: bytes,
    media: bytes = JSON,
    deprecated: bool = False,
    close: bool = False,
    retry_after: int | None = None,
) -> bytes:
    """Return the whole HTTP/1.1 response; `date` is the ready-made Date line, `retry_after` seconds."""
    head = _head(status, date, media, deprecated, close, retry_after)
    return b"%scontent-length: %d\r\n\r\n%s" % (head, len(body), body)


@lru_cache(maxsize=64)
def _head(  # noqa: PLR0917  (a cached call by keyword is slower)
    status: int, date: bytes, media: bytes, deprecated: bool, close: bool, retry_after: int | None
) -> bytes:
    head = _STATUS[status] + date + b"content-type: " + media + b"\r\n" + _COMMON
    if deprecated:
        head += _DEPRECATION
    if retry_after is not None:
        head += b"retry-after: %d\r\n" % retry_after
    if status == HTTPStatus.UNAUTHORIZED:
        head += b'www-authenticate: Bearer realm="mutt ingest"\r\n'
    if close:
        head += b"connection: close\r\n"
    return head
