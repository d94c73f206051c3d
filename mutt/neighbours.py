"""Audit rows compared with each other: which of a host's events tell of one problem."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from mutt.events import DecidedEvent, QueuedEvent
from mutt.moogsoft import CLEAR, severity, signature
from mutt.past_events import COLUMNS, from_audit, with_entry
from mutt.rules import FORWARDED

_NAMES = tuple(column.removesuffix("::text") for column in COLUMNS)


def event_of_row(row: Mapping[str, Any]) -> QueuedEvent:
    """Return the event of an audit row by its columns' names, times being datetimes."""
    return with_entry(from_audit(tuple(row[name] for name in _NAMES)))


def same_signature(event_id: str, rows: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return how many forwarded rows have the signature of one among them, and when it was cleared last.

    None where the event is not among them.
    """
    found = [(row["event_id"], row["event_timestamp"], _decided(row)) for row in rows if row["handling"] in FORWARDED]
    own = next((signature(decided) for each, _, decided in found if each == event_id), None)
    if own is None:
        return None
    same = [(at, decided) for _, at, decided in found if signature(decided) == own]
    cleared: list[datetime] = [at for at, decided in same if severity(decided) == CLEAR]
    return {"signature": own, "events": len(same), "cleared_at": max(cleared, default=None)}


def _decided(row: Mapping[str, Any]) -> DecidedEvent:
    event = event_of_row(row)
    return DecidedEvent(
        event.envelope,
        event,
        row["handling"],
        row["team"],
        row["rule_id"],
        row["rule_version"],
        row["environment"],
        b"{}",
    )
