"""The events that most senders write, read in one pass; any other is left to the careful reading of `mutt.intake`.

What is taken here becomes byte for byte what the careful reading makes of it.
"""

from collections.abc import Callable, Sequence

import msgspec
from msgspec import UNSET

from mutt.envelope import VERSION
from mutt.fields import DEBUG, MAX_HOSTNAME, MAX_SOURCE, SEVERITIES, is_oid
from mutt.ids import Tails, is_uuid, uuid5_event
from mutt.members import Event, Members
from mutt.receipts import Receipt
from mutt.records import UNREADABLE

_TEXTS = ("timestamp", "message", "hostname")  # a plain event has these, whether they are required or not
_LEVELS = frozenset({*range(DEBUG + 1), *SEVERITIES})
_START = f'{{"_mutt":{{"v":{VERSION},"event_id":"'
# A byte is found by its number in a tenth of the time that it takes as bytes.
_BACKSLASH, _BRACKET = b"\\["

_encode = msgspec.json.Encoder().encode


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """An event's queue entry and both of its ids."""

    entry: bytes
    event_id: str
    correlation_id: str


class Plain:
    """Reads events that are in order and hold nothing that would have to be replaced or renamed."""

    def __init__(self, required: tuple[str, ...], event_bytes: int, depth: int, tails: Tails) -> None:
        self._members = Members(tuple(name for name in required if name not in _TEXTS))
        self._event_bytes = event_bytes
        self._depth = depth
        self._tails = tails

    def accept(
        self, records: Sequence[bytes], receipt: Receipt, default_id: str | None, *, nested: bool
    ) -> list[Accepted | None]:
        """Return each record's queue entry, None for one that is not plain.

        `default_id` is the correlation id of a record that brings none; without it that is the event id. Records that
        are not `nested` have no bracket but their own.
        """
        _, id_head, window = receipt.moment
        event_bytes, depth, members = self._event_bytes, self._depth, self._members
        decode: Callable[[bytes], Event] = members.decode
        required = members.attributes
        middle = f'","received_at":"{receipt.text}","event_timestamp":"'
        end = f'","traceparent":{_encode(receipt.traceparent).decode()}}},' if receipt.traceparent else '"},'
        made: list[Accepted | None] = []
        add = made.append
        for raw, new_id in zip(records, self._tails.ids(id_head, len(records)), strict=True):
            if len(raw) > event_bytes:
                add(None)  # decoded, it may be dozens of times as large
                continue
            try:
                event = decode(raw)
            except msgspec.ValidationError as error:
                new = members.decode_new(raw, error)
                if new is None:
                    add(None)
                    continue
                event = new
                # What came with an event of names that are not learned has them too, and an error costs most.
                decode = members.decode_any if members.is_full else members.decode
            except UNREADABLE:
                add(None)
                continue
            message, hostname, level = event.message, event.hostname, event.syslog_severity
            # One condition: this is most of what an event costs the ingestor.
            if not (
                message
                and not message.isspace()
                and hostname
                and not hostname.isspace()
                and len(hostname) <= MAX_HOSTNAME
                and len(event.source) <= MAX_SOURCE
                and (type(level) is int or type(level) is str)
                and level in _LEVELS
                and event.mutt is UNSET
                and (event.trap_oid is UNSET or is_oid(event.trap_oid))
                and (_BACKSLASH not in raw or b"\\u0000" not in raw)
                and not (nested and (_BRACKET in raw or raw.find(b"{", 1) > 0) and _brackets(raw) > depth)
                and not (required and _lacks_text(event, required))
                and (stamp := window[event.timestamp])
            ):
                add(None)
                continue
            correlation_id = event.correlation_id
            if correlation_id is UNSET:
                event_id, correlation_id = new_id, default_id or new_id
                head = f'{_START}{event_id}{middle}{stamp}{end}"correlation_id":"{correlation_id}",'
            elif _may_stay(correlation_id, raw):
                event_id = uuid5_event(correlation_id, raw)
                head = f"{_START}{event_id}{middle}{stamp}{end}"
            else:
                add(None)
                continue
            add(Accepted(head.encode() + raw[1:], event_id, correlation_id))
        return made


def _brackets(raw: bytes) -> int:
    """Count opening brackets: no record is deeper than it has of them."""
    return raw.count(b"{") + raw.count(b"[")


def _lacks_text(event: Event, attributes: Sequence[str]) -> bool:
    for attribute in attributes:
        value = getattr(event, attribute)
        if not isinstance(value, str) or not value or value.isspace():
            return True
    return False


def _may_stay(correlation_id: object, raw: bytes) -> bool:
    """Say whether a record's correlation id is one, the only one and written as MUTT writes it."""
    return (
        is_uuid(correlation_id)
        and correlation_id == correlation_id.lower()
        and raw.count(b'"correlation_id"') == 1
        and (_BACKSLASH not in raw or b"\\u" not in raw)
    )
