"""OTLP's protobuf: a request cut into its log records by its bytes, each decoded by itself.

A request decoded whole can be gigabytes (an empty message costs two bytes and becomes an object), so that only what the
limits allow is. Texts are decoded as bytes: collectors pass on what is not UTF-8, and one byte must not cost an event.
"""

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.resource.v1 import resource_pb2

from mutt.intake import Limits
from mutt.otlp import (
    Allowance,
    LogRecord,
    SentContext,
    SentLog,
    check_count,
    plain_bytes,
    plain_float,
    shown_scope,
    too_deep,
)
from mutt.records import RecordError

# Numbers of fields in the messages that are cut.
RESOURCE_LOGS = 1
RESOURCE, SCOPE_LOGS = 1, 2
SCOPE, LOG_RECORDS = 1, 2
# Fields that are stepped over for one log record that is allowed: groups, schema addresses, what a newer version adds.
FIELDS_FOR_EACH = 8
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
VARINT_BYTES = 10
CONTINUED = 0x80  # the bit of a number's byte that says that another follows


def _lenient() -> DescriptorPool:
    """Return the messages with bytes wherever they have text."""
    pool = DescriptorPool()
    for module in (common_pb2, resource_pb2, logs_pb2):
        file = FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        for message in file.message_type:
            for field in message.field:
                if field.type == FieldDescriptorProto.TYPE_STRING:
                    field.type = FieldDescriptorProto.TYPE_BYTES
        pool.Add(file)
    return pool


_pool = _lenient()
_log_record, _resource, _scope = (
    GetMessageClass(_pool.FindMessageTypeByName(f"opentelemetry.proto.{name}"))
    for name in ("logs.v1.LogRecord", "resource.v1.Resource", "common.v1.InstrumentationScope")
)


class _Cutter:
    """Steps over a request's fields without decoding them, and not over more than `most`."""

    def __init__(self, body: bytes, most: int) -> None:
        self._body = body
        self._left = self._most = most

    def fields(self, at: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Yield number, begin and end of each field that has a length, between two places; raises RecordError."""
        while at < end:
            self._left -= 1
            if self._left < 0:
                raise RecordError("too_large", f"over {self._most} fields around the log records")
            tag, at = self._varint(at, end)
            kind = tag & 7
            if kind == LENGTH:
                length, at = self._varint(at, end)
                if length > end - at:
                    raise _cut_off()
                yield tag >> 3, at, at + length
                at += length
            elif kind == VARINT:
                _, at = self._varint(at, end)
            elif kind in {FIXED64, FIXED32}:
                at += 8 if kind == FIXED64 else 4
            else:
                raise RecordError("json", f"not a request of OTLP in protobuf: there is no wire type {kind}")
        if at > end:
            raise _cut_off()

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        number = 0
        for place in range(VARINT_BYTES):
            if at >= end:
                raise _cut_off()
            byte = self._body[at]
            at += 1
            number |= (byte & ~CONTINUED) << (7 * place)
            if byte < CONTINUED:
                return number, at
        raise RecordError("json", "not a request of OTLP in protobuf: a number of over 10 bytes")


class _Reader:
    """Turns messages into plain values; `replaced` tells whether some text was other than UTF-8."""

    def __init__(self, depth: int, allowance: Allowance) -> None:
        self._depth = depth
        self._allowance = allowance
        self.replaced = False

    def text(self, sent: bytes) -> str:
        """Return a text."""
        try:
            return sent.decode()
        except UnicodeDecodeError:
            self.replaced = True
            return sent.decode("utf-8", "replace")

    def attributes(self, sent: Any, level: int = 0) -> dict[str, Any]:
        """Return a list of keys and values as an object; raises RecordError, and BodyError when there are too many."""
        self._allowance.spend(len(sent))
        return {self.text(item.key): self.value(item.value, level) for item in sent}

    def value(self, sent: Any, level: int = 0) -> Any:
        """Return one of OTLP's values as JSON has it; raises RecordError."""
        kind = sent.WhichOneof("value")
        if kind is None:
            return None
        value = getattr(sent, kind)
        match kind:
            case "string_value":
                value = self.text(value)
            case "double_value":
                value = plain_float(value)
            case "bytes_value":
                value = plain_bytes(value)
            case "array_value" | "kvlist_value":
                if level >= self._depth:
                    raise too_deep(self._depth)
                if kind == "kvlist_value":
                    return self.attributes(value.values, level + 1)
                self._allowance.spend(len(value.values))
                return [self.value(item, level + 1) for item in value.values]
        return value


def split(body: bytes, limits: Limits, _allowance: Allowance) -> list[SentLog]:
    """Cut a request into log records; raises RecordError where it is none, or has too many."""
    logs: list[SentLog] = []
    cutter = _Cutter(body, FIELDS_FOR_EACH * limits.records)
    for number, begin, end in cutter.fields(0, len(body)):
        if number != RESOURCE_LOGS:
            continue
        groups = list(cutter.fields(begin, end))
        resource = _joined(body, groups, RESOURCE)
        for number_in_group, first, last in groups:
            if number_in_group != SCOPE_LOGS:
                continue
            parts = list(cutter.fields(first, last))
            context = SentContext(resource, _joined(body, parts, SCOPE))
            records = [(a, b) for part, a, b in parts if part == LOG_RECORDS]
            check_count(len(logs) + len(records), limits)
            logs += (SentLog(body[a:b], context) for a, b in records)
    return logs


def resource(raw: bytes, depth: int, allowance: Allowance) -> tuple[dict[str, Any], bool]:
    """Read a resource's attributes, and say whether some text was other than UTF-8; raises RecordError."""
    reader = _Reader(depth, allowance)
    return reader.attributes(_decode(_resource, raw).attributes), reader.replaced


def scope(raw: bytes, depth: int, allowance: Allowance) -> tuple[dict[str, Any], bool]:
    """Read a scope as an event shows it, and say the same; raises RecordError."""
    reader = _Reader(depth, allowance)
    sent = _decode(_scope, raw)
    attributes = reader.attributes(sent.attributes)
    return shown_scope(reader.text(sent.name), reader.text(sent.version), attributes), reader.replaced


def read(raw: bytes, depth: int, allowance: Allowance) -> tuple[LogRecord, bool]:
    """Read one log record, and say whether some text was other than UTF-8; raises RecordError."""
    sent = _decode(_log_record, raw)
    reader = _Reader(depth, allowance)
    log = LogRecord(
        time=sent.time_unix_nano,
        observed_time=sent.observed_time_unix_nano,
        severity_number=sent.severity_number,
        severity_text=reader.text(sent.severity_text),
        body=reader.value(sent.body),
        attributes=reader.attributes(sent.attributes),
        trace_id=sent.trace_id.hex(),
        span_id=sent.span_id.hex(),
        flags=sent.flags,
        event_name=reader.text(sent.event_name),
    )
    return log, reader.replaced


def _joined(body: bytes, fields: list[tuple[int, int, int]], wanted: int) -> bytes:
    """Return a message whose field was sent in pieces, which protobuf reads as one behind the other."""
    return b"".join(body[begin:end] for number, begin, end in fields if number == wanted)


def _decode(kind: Any, sent: bytes) -> Any:
    try:
        return kind.FromString(sent)
    except (DecodeError, RecursionError) as error:
        raise RecordError("json", f"not a message of OTLP in protobuf: {error}") from error


def _cut_off() -> RecordError:
    return RecordError("json", "not a request of OTLP in protobuf: it is cut off")
