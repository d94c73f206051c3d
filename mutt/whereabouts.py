"""Where in Redis an event may be, and what an entry that was found there tells."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from mutt.envelope import Envelope, split_entry
from mutt.errors import EntryError
from mutt.events import UNREADABLE, DecidedEvent, QueuedEvent, decode_decided, decode_entry

# What stands in place of an event's fields where they could not be read.
RAW = frozenset({"raw", "raw_base64"})
UUID_LENGTH = 36  # characters, which stand in front of each member of the retry set


class Place(StrEnum):
    """A stage of an event's way, or where it fell out of it."""

    INGEST = "ingest_queue"
    MATCHING = "alerter"
    ALERTS = "alert_queue"
    SENDING = "forwarder"
    RETRY = "retry"
    ALERTER_DEAD = "dlq_alerter"
    MOOG_DEAD = "dlq_moog"
    PENDING = "audit_pending"
    AUDITING = "audit_processing"
    POISON = "poison"
    QUARANTINE = "quarantine"


# In what order they say most about where the event is.
TELLING = (
    Place.POISON,
    Place.MOOG_DEAD,
    Place.ALERTER_DEAD,
    Place.QUARANTINE,
    Place.SENDING,
    Place.RETRY,
    Place.ALERTS,
    Place.MATCHING,
    Place.INGEST,
    Place.AUDITING,
    Place.PENDING,
)


@dataclass(frozen=True, slots=True)
class Find:
    """An entry of the event; `ahead` counts what leaves before it, `due` is when a retry is."""

    place: Place
    key: str
    entry: bytes
    ahead: int | None = None
    due: datetime | None = None
    envelope: Envelope | None = None
    decided: DecidedEvent | None = None
    queued: QueuedEvent | None = None

    @property
    def event_id(self) -> str:
        """Return the event's id."""
        return self.envelope.event_id if self.envelope else ""

    @property
    def event(self) -> QueuedEvent | None:
        """Return the event as far as the entry can be read."""
        return self.decided.event if self.decided else self.queued


class _Front(msgspec.Struct):
    mutt: Envelope = msgspec.field(name="_mutt")


_front = msgspec.json.Decoder(_Front)


def read_find(
    wanted: str, place: Place, key: str, entry: bytes, *, ahead: int | None = None, due: datetime | None = None
) -> Find | None:
    """Return what an entry that holds the id `wanted` somewhere is; None when it is another event's."""
    if place is Place.RETRY:
        entry = entry[UUID_LENGTH:]
    decided: DecidedEvent | None = None
    queued: QueuedEvent | None = None
    envelope: Envelope | None = None
    try:
        decided = decode_decided(entry)
        envelope = decided.envelope
    except EntryError:
        try:
            queued = decode_entry(entry)
            envelope = queued.envelope
            if "message" not in queued.fields and not RAW.isdisjoint(queued.fields):
                queued = None
        except EntryError:
            try:
                envelope = _front.decode(entry).mutt
            except UNREADABLE:
                return None
    event = decided.event if decided else queued
    if wanted not in {envelope.event_id.lower(), event.correlation_id.lower() if event else ""}:
        return None
    return Find(place, key, entry, ahead, due, envelope, decided, queued)


def most_telling(finds: list[Find]) -> Find | None:
    """Return the find that says most about where the event is."""
    return min(finds, key=lambda find: TELLING.index(find.place), default=None)


def windows(length: int, most: int, chunk: int) -> Iterator[tuple[int, int]]:
    """Yield index ranges (both ends included) of a list: whole up to `most` entries, else as much of both ends."""
    ranges = [(0, length)] if length <= most else [(length - most // 2, length), (0, most - most // 2)]
    for start, end in ranges:
        for at in range(start, end, chunk):
            yield at, min(at + chunk, end) - 1


def as_received(find: Find) -> bytes:
    """Return the event's own JSON, as it lies in the entry, without what MUTT added to it."""
    if find.decided is not None:
        return find.decided.raw_event
    try:
        return split_entry(find.entry)[1]
    except EntryError:
        return find.entry


def error_of(find: Find) -> dict[str, Any] | None:
    """Return why the entry failed last."""
    envelope = find.envelope
    if envelope is None:
        return None
    if envelope.last_error is not None:
        error = envelope.last_error
        return {"type": error.type, "message": error.message, "at": error.at}
    if envelope.error is not None:
        return {"type": "validation", "message": envelope.error, "at": envelope.received_at}
    return None
