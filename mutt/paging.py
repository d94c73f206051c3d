"""Pages of the audit log: where one ends, and the range of time that is looked through."""

import base64
import binascii
import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from mutt.fields import iso, parse_timestamp
from mutt.ids import is_uuid

DAY = timedelta(days=1)
_LAST = datetime.max.replace(tzinfo=UTC)
_DATE = re.compile(r"\s*\d{4}-\d{2}-\d{2}\s*")


class Position(NamedTuple):
    """A row's place in the order newest first."""

    event_timestamp: datetime
    event_id: str


def encode_cursor(position: Position) -> str:
    """Return a position as text that stands in a URL unescaped."""
    text = f"{iso(position.event_timestamp)}|{position.event_id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> Position:
    """Return the position; raises ValueError for what encode_cursor did not make."""
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except (binascii.Error, ValueError):
        text = ""
    at, _, event_id = text.partition("|")
    moment = parse_timestamp(at)
    if moment is None or not is_uuid(event_id):
        raise ValueError("is not a cursor of this API; take next_cursor of the page before")
    return Position(moment, event_id)


def start_of(text: str) -> datetime:
    """Return the moment from which to look: a time, or the beginning of a day. Raises ValueError."""
    moment = parse_timestamp(text)
    if moment is None:
        raise ValueError("is no date or time; write it as 2026-11-24 or 2026-11-24T22:10:00Z")
    return moment.astimezone(UTC)


def end_of(text: str) -> datetime:
    """Return the moment before which to look: a time, or the end of a day. Raises ValueError."""
    moment = start_of(text)
    if not _DATE.fullmatch(text):
        return moment
    return moment + DAY if moment < _LAST - DAY else _LAST
