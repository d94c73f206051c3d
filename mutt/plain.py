"""The events that most senders write, read in one pass; any other is left to the careful reading of `mutt.intake`.

What is taken here becomes byte for byte what the careful reading makes of it.
"""

from collections.abc import Sequence

import msgspec

from mutt.envelope import VERSION
from mutt.fields import DEBUG, MAX_HOSTNAME, MAX_SOURCE, SEVERITIES, is_oid
from mutt.ids import Tails, is_uuid, uuid5_event
from mutt.receipts import Receipt
from mutt.records import UNREADABLE, decode_object

_TEXTS = ("timestamp", "message", "hostname")  # a plain event has these, whether they are required or not
_NOT_PLAIN = (*UNREADABLE, KeyError)
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
        self._required = tuple(name for name in required if name not in _TEXTS)
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
        event_bytes, required, next_tail = self._event_bytes, self._required, self._tails.pop
        middle = f'","received_at":"{receipt.text}","event_timestamp":"'
        end = f'","traceparent":{_encode(receipt.traceparent).decode()}}},' if receipt.traceparent else '"},'
        made: list[Accepted | None] = []
        for raw in records:
            made.append(None)
            if len(raw) > event_bytes:
                continue  # decoded, it may be dozens of times as large
            try:
                fields = decode_object(raw)
                sent, message, hostname = fields["timestamp"], fields["message"], fields["hostname"]
            except _NOT_PLAIN:
                continue
            source, level = fields.get("source", ""), fields.get("syslog_severity", DEBUG)
            # One condition, and each type asked for by its class: this is most of what an event costs the ingestor.
            if not (
                sent.__class__ is str
                and message.__class__ is str
                and message
                and not message.isspace()
                and hostname.__class__ is str
                and hostname
                and not hostname.isspace()
                and len(hostname) <= MAX_HOSTNAME
                and source.__class__ is str
                and len(source) <= MAX_SOURCE
                and (level.__class__ is int or level.__class__ is str)
                and level in _LEVELS
                and "_mutt" not in fields
                and ("trap_oid" not in fields or is_oid(fields["trap_oid"]))
                and (_BACKSLASH not in raw or b"\\u0000" not in raw)
                and not (nested and self._may_be_deep(raw))
                and not (required and _lacks_text(fields, required))
                and (stamp := window[sent])
            ):
                continue
            if "correlation_id" in fields:
                correlation_id = fields["correlation_id"]
                if not _may_stay(correlation_id, raw):
                    continue
                event_id = uuid5_event(correlation_id, raw)
                head = f"{_START}{event_id}{middle}{stamp}{end}"
            else:
                try:
                    event_id = id_head + next_tail()
                except IndexError:
                    event_id = id_head + self._tails.make()
                correlation_id = default_id or event_id
                head = f'{_START}{event_id}{middle}{stamp}{end}"correlation_id":"{correlation_id}",'
            made[-1] = Accepted(head.encode() + raw[1:], event_id, correlation_id)
        return made

    def _may_be_deep(self, raw: bytes) -> bool:
        """Say whether a record has more opening brackets than levels are allowed."""
        return (_BRACKET in raw or raw.find(b"{", 1) > 0) and raw.count(b"{") + raw.count(b"[") > self._depth


def _lacks_text(fields: dict[str, object], names: tuple[str, ...]) -> bool:
    for name in names:
        value = fields.get(name)
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
