"""When a request came, and which times of its events count then."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from mutt.fields import iso, parse_timestamp
from mutt.ids import is_uuid, uuid7_head

OLDEST = timedelta(days=30)  # an event dated further back than this counts as of its receipt
NEWEST = timedelta(hours=1)  # likewise one dated further ahead

_STAMPS_MOST = 4096  # that a window remembers
_STAMP_LENGTH = 48  # characters of one that it remembers: a timestamp may be as long as an event
_WRITTEN = len("2026-11-24T22:10:00.123456Z")
_THREE_DIGITS = tuple(f"{number:03d}" for number in range(1000))


class Window(dict[str, str]):
    """For what is received within one second: an event's timestamp as text -> as MUTT writes it, "" if out of range.

    Events that follow each other often bear the same time, so that most of them are looked up and not read again.
    """

    def __init__(self, received: datetime) -> None:
        super().__init__()
        self.oldest = received - OLDEST
        self.newest = received + NEWEST
        self._last = iso(self.newest)

    def __missing__(self, sent: str) -> str:
        if len(self) >= _STAMPS_MOST:
            self.clear()
        text = self._microseconds(sent)
        if not text:
            moment = parse_timestamp(sent)
            text = "" if moment is None else self.text(moment)
        if len(sent) <= _STAMP_LENGTH:
            self[sent] = text
        return text

    def _microseconds(self, sent: str) -> str:
        """Return a timestamp that MUTT would write as it stands, where its second is known; else an empty text."""
        second, fraction = sent[:19], sent[20:26]
        if (
            len(sent) != _WRITTEN
            or sent[19] != "."
            or sent[26] != "Z"
            or not (fraction.isascii() and fraction.isdigit())
        ):
            return ""
        whole = self[second + "Z"]
        return sent if whole[:19] == second and whole != self._last else ""

    def text(self, moment: datetime) -> str:
        """Return an event's time as MUTT writes it, an empty text where it is out of range."""
        return iso(moment) if self.oldest <= moment <= self.newest else ""


class Moment(NamedTuple):
    """What events that are received within one millisecond share."""

    text: str
    id_head: str
    window: Window


class Receipt:
    """When a request came (microseconds of the epoch) and what its headers say of it."""

    __slots__ = ("correlation_id", "moment", "text", "traceparent")

    def __init__(self, unix_us: int, correlation_id: str | None = None, traceparent: str | None = None) -> None:
        unix_ms, microseconds = divmod(unix_us, 1000)
        self.moment = _moment(unix_ms)
        self.text = f"{self.moment.text}{_THREE_DIGITS[microseconds]}Z"
        self.correlation_id = correlation_id.lower() if correlation_id and is_uuid(correlation_id) else None
        self.traceparent = traceparent


@lru_cache(maxsize=8)
def _moment(unix_ms: int) -> Moment:
    seconds, milliseconds = divmod(unix_ms, 1000)
    text, window = _second(seconds)
    return Moment(f"{text}.{_THREE_DIGITS[milliseconds]}", uuid7_head(unix_ms), window)


@lru_cache(maxsize=2)
def _second(seconds: int) -> tuple[str, Window]:
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat()[:19], Window(moment)
