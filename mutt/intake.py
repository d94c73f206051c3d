"""From a request's body to queue entries: what is taken, what is refused and why, each record by itself."""

from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar, cast

import msgspec

from mutt.bodies import inflate, is_batch_type, is_one_line, is_one_object, split_body
from mutt.envelope import VERSION
from mutt.fields import MAX_HOSTNAME, MAX_SOURCE, is_oid, parse_timestamp, severity
from mutt.ids import Entropy, Tails, is_uuid, uuid5_event
from mutt.plain import Accepted, Plain
from mutt.receipts import Receipt
from mutt.records import Record, RecordError, decode_record

__all__ = ["Accepted", "Entropy", "Intake", "Limits", "Receipt", "Rejected", "Sent", "Taken"]

Sent = TypeVar("Sent")

[_BRACKET] = b"["  # a byte is found by its number in a tenth of the time that it takes as bytes

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Limits:
    """What a body may be; sizes in bytes, the body's after unpacking."""

    body_bytes: int = 16 * 1024 * 1024
    records: int = 50_000
    event_bytes: int = 64 * 1024
    depth: int = 32


class Rejected(NamedTuple):
    """A record that is not taken: its place in the batch, why, and its entry of the quarantine."""

    place: int
    error: str
    quarantine: bytes


class Taken(msgspec.Struct, frozen=True):
    """What became of a body; `single` asks for the reply of a single event."""

    single: bool
    accepted: list[Accepted]
    rejected: list[Rejected]


class Intake:
    """The rules of ingest, made once; `entropy(n)` gives n random bytes."""

    def __init__(self, required: tuple[str, ...], limits: Limits, entropy: Entropy) -> None:
        self.limits = limits
        self._required = required
        self._tails = Tails(entropy)
        self._plain = Plain(required, limits.event_bytes, limits.depth, self._tails)

    def read(self, body: bytes, coding: str, content_type: str, receipt: Receipt) -> Taken:
        """Turn a body into queue entries; raises RecordError where nothing of it is taken."""
        is_flat = is_one_object(body)
        if (is_flat or is_one_line(body)) and not coding and not is_batch_type(content_type):
            return self._read_single(body, receipt, nested=not is_flat or _BRACKET in body)
        limits = self.limits
        body = inflate(body, coding, limits.body_bytes)
        records, single, nested = split_body(body, content_type, limits.records, limits.depth)
        if single:
            return self._read_single(records[0], receipt, nested=nested)
        made = self._plain.accept(records, receipt, None, nested=nested)
        if all(made):
            return Taken(single=False, accepted=cast("list[Accepted]", made), rejected=[])
        return self.collect(
            list(zip(records, made, strict=True)),
            receipt,
            lambda sent: sent[1] or self.accept_carefully(sent[0], receipt),
            lambda sent: sent[0],
        )

    def read_alone(self, bodies: Sequence[bytes], receipt: Receipt) -> list[Accepted | None]:
        """Read bodies that came together, for each of which `is_one_object` holds and no media type promises a batch.

        None stands for one that has to be read by itself.
        """
        return self._plain.accept(bodies, receipt, None, nested=any(_BRACKET in body for body in bodies))

    def _read_single(self, raw: bytes, receipt: Receipt, *, nested: bool) -> Taken:
        made = self._plain.accept((raw,), receipt, receipt.correlation_id, nested=nested)
        if made[0] is None:
            made[0] = self.accept_carefully(raw, receipt, receipt.correlation_id)
        return Taken(True, cast("list[Accepted]", made), [])

    def count(self, body: bytes, content_type: str) -> int:
        """Return how many records an unpacked body holds, without reading any of them; raises RecordError."""
        if is_one_object(body):
            return 1
        records = split_body(body, content_type, self.limits.records, self.limits.depth).records
        return max(1, len(records))

    def collect(
        self,
        records: Sequence[Sent],
        receipt: Receipt,
        accept: Callable[[Sent], Accepted],
        raw: Callable[[Sent], bytes],
    ) -> Taken:
        """Take a batch, each record by itself, what is refused into the quarantine; raises RecordError if all is."""
        taken = Taken(single=False, accepted=[], rejected=[])
        unreadable = 0
        for place, sent in enumerate(records):
            try:
                taken.accepted.append(accept(sent))
            except RecordError as error:
                unreadable += error.reason == "json"
                kept = self._quarantine(error.kept or raw(sent), receipt, str(error))
                taken.rejected.append(Rejected(place, str(error), kept))
        if records and unreadable == len(records):
            first = taken.rejected[0].error
            raise RecordError("json", f"none of {len(records)} records can be read; the first: {first}", len(records))
        return taken

    def accept(self, raw: bytes, receipt: Receipt, default_id: str | None = None) -> Accepted:
        """Turn one record's bytes into a queue entry; raises RecordError.

        `default_id` is the correlation id of a record that brings none; without it that is the event id.
        """
        [made] = self._plain.accept((raw,), receipt, default_id, nested=True)
        return made or self.accept_carefully(raw, receipt, default_id)

    def accept_carefully(
        self, raw: bytes, receipt: Receipt, default_id: str | None = None, record: Record | None = None
    ) -> Accepted:
        """Do the same with any record; `record` is what the bytes mean where they are another protocol's."""
        if len(raw) > self.limits.event_bytes:
            raise RecordError("too_large", f"an event of {len(raw)} bytes, at most {self.limits.event_bytes} are taken")
        if record is None:
            record = decode_record(raw, self.limits.depth)
        event_timestamp = self._check(record.fields, receipt)
        sent_id = record.fields.get("correlation_id")
        if is_uuid(sent_id):
            correlation_id = sent_id.lower()
            event_id = uuid5_event(correlation_id, raw + record.origin)
        else:
            event_id = receipt.moment.id_head + self._tails.take()
            correlation_id = default_id or event_id
        trace = record.traceparent or receipt.traceparent
        optional = _optional_members(trace, record) if trace or record.sanitized else ""
        head = (
            f'{{"_mutt":{{"v":{VERSION},"event_id":"{event_id}","received_at":"{receipt.text}",'
            f'"event_timestamp":"{event_timestamp}"{optional}}}'
        )
        return Accepted(_join(head, raw, record, correlation_id), event_id, correlation_id)

    def _check(self, fields: dict[str, Any], receipt: Receipt) -> str:
        """Return the event_timestamp; raises RecordError (validation) naming every field at fault."""
        problems = []
        for name in self._required:
            value = fields.get(name)
            if (not value and value != 0) or (value.__class__ is str and value.isspace()):
                problems.append(f"{name} is missing or empty")
        problems += _faults(fields)
        sent = fields.get("timestamp")
        moment = parse_timestamp(sent)
        if moment is None and sent is not None and sent != "":
            problems.append(
                f"timestamp has to be ISO 8601 / RFC 3339, or epoch seconds or milliseconds, not {sent!r:.60}"
            )
        if problems:
            raise RecordError("validation", "; ".join(problems))
        return (receipt.moment.window.text(moment) if moment else "") or receipt.text

    def _quarantine(self, raw: bytes, receipt: Receipt, error: str) -> bytes:
        """Return the quarantine's entry; of an oversized record it keeps as much as an event may have."""
        envelope = {
            "v": VERSION,
            "event_id": receipt.moment.id_head + self._tails.take(),
            "received_at": receipt.text,
            "error": error,
        }
        kept = raw[: self.limits.event_bytes]
        try:
            return _encode({"_mutt": envelope, "raw": kept.decode()})
        except UnicodeDecodeError:
            return _encode({"_mutt": envelope, "raw_base64": b64encode(kept).decode()})


def _faults(fields: dict[str, Any]) -> list[str]:
    faults = []
    for name, longest in (("message", None), ("hostname", MAX_HOSTNAME), ("source", MAX_SOURCE), ("trap_oid", None)):
        value = fields.get(name)
        if value is None:
            continue
        if not isinstance(value, str):
            faults.append(f"{name} has to be a string, not {value!r:.60}")
        elif longest is not None and len(value) > longest:
            faults.append(f"{name} has {len(value)} characters, at most {longest} are taken")
        elif name == "trap_oid" and value and not is_oid(value):
            faults.append(f"trap_oid has to be numbers with dots between them, not {value!r:.60}")
    level = fields.get("syslog_severity")
    if level is not None and level != "" and severity(level) is None:
        faults.append(f"syslog_severity has to be 0 to 7 or a name such as err, not {level!r:.60}")
    return faults


def _optional_members(traceparent: str | None, record: Record) -> str:
    members: dict[str, Any] = {}
    if record.sanitized:
        members["sanitized"] = True
    if traceparent:
        members["traceparent"] = traceparent
    return "," + _encode(members)[1:-1].decode()


def _join(head: str, raw: bytes, record: Record, correlation_id: str) -> bytes:
    """Return the entry: the record's own bytes behind the head where they may stand as they are."""
    fields = record.fields
    if record.clean and fields and "_mutt" not in fields:
        if "correlation_id" not in fields:
            return f'{head},"correlation_id":"{correlation_id}",'.encode() + raw[1:]
        if fields["correlation_id"] == correlation_id and raw.count(b'"correlation_id"') == 1 and b"\\u" not in raw:
            return head.encode() + b"," + raw[1:]
    if "_mutt" in fields:
        _rename(fields, "_mutt", "client__mutt")
    if not is_uuid(fields.get("correlation_id", correlation_id)):
        _rename(fields, "correlation_id", "client_correlation_id")
    return head.encode() + b"," + _encode({**fields, "correlation_id": correlation_id})[1:]


def _rename(fields: dict[str, Any], name: str, free: str) -> None:
    """Move a field of the sender's to a name that MUTT does not use; an empty one is dropped."""
    value = fields.pop(name)
    while free in fields:
        free = "client_" + free
    if value is not None and value != "":
        fields[free] = value
