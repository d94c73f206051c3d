"""OpenTelemetry's log records as events of MUTT's, whichever encoding they came in."""

import math
import re
from base64 import b64encode
from datetime import timedelta
from typing import Any, NamedTuple

import msgspec

from mutt.fields import EPOCH, iso
from mutt.foreign import PLAIN, BodyError, first_text, put_oid, put_severity, put_source, put_text
from mutt.ids import is_uuid
from mutt.intake import Limits, Receipt
from mutt.records import RecordError

# severity_number -> syslog's, by the table of the logs data model (its appendix on syslog) read backwards
SEVERITIES = (
    dict.fromkeys(range(1, 9), 7)  # TRACE, DEBUG
    | {9: 6}  # INFO
    | dict.fromkeys(range(10, 13), 5)  # INFO2 to INFO4: notice
    | dict.fromkeys(range(13, 17), 4)  # WARN
    | {17: 3, 18: 2, 19: 1, 20: 1}  # ERROR, ERROR2: critical, ERROR3: alert
    | dict.fromkeys(range(21, 25), 0)  # FATAL
)
# Attributes that are a field of MUTT's where the sender gave them that name; they are moved.
MOVED = ("correlation_id", "trap_oid", "syslog_severity", "source")
# The semantic conventions' name for a record's own id.
RECORD_ID = "log.record.uid"
# Of the record first: a collector that takes syslog names itself in the resource and the device in the record.
HOSTS_OF_RECORD = ("hostname", "host.name")
HOSTS_OF_RESOURCE = ("host.name", "k8s.node.name", "host.id")
NANOSECONDS_MOST = 2**64 - 1
# Values are few where a body of the largest size has one in so many of its bytes: a number in JSON takes more.
VALUE_BYTES = 12
_TRACE, _SPAN = re.compile(r"[0-9a-f]{32}"), re.compile(r"[0-9a-f]{16}")


class LogRecord(msgspec.Struct):
    """A log record, its values plain; times in nanoseconds of the epoch, 0 for unknown; ids in hexadecimal."""

    time: int = 0
    observed_time: int = 0
    severity_number: int = 0
    severity_text: str = ""
    body: Any = None
    attributes: dict[str, Any] = {}
    trace_id: str = ""
    span_id: str = ""
    flags: int = 0
    event_name: str = ""


class Context(NamedTuple):
    """What records share: attributes of their resource, and their scope as the event will show it.

    `replaced` says that some text in it was other than UTF-8.
    """

    resource: dict[str, Any]
    scope: dict[str, Any]
    replaced: bool = False


class Allowance:
    """The values that may still be read of one request: an empty one is two bytes, and costs as much as any other."""

    def __init__(self, limits: Limits) -> None:
        self._left = self._most = limits.body_bytes // VALUE_BYTES

    def spend(self, values: int) -> None:
        """Take values out; raises BodyError when nothing is left."""
        self._left -= values
        if self._left < 0:
            raise BodyError(f"over {self._most} attributes and values: send fewer in one request")


class SentContext(msgspec.Struct):
    """The bytes of a resource and a scope; decoded when their records are, since all of them at once may be large."""

    resource: bytes
    scope: bytes


class SentLog(msgspec.Struct):
    """A log record's bytes as they were sent, and what it shares with others."""

    raw: bytes
    context: SentContext


def event_fields(log: LogRecord, context: Context, sender: str, receipt: Receipt) -> dict[str, Any]:
    """Return what a log record means as an event."""
    attributes = dict(log.attributes)
    nanoseconds = log.time or log.observed_time
    host = first_text(attributes, *HOSTS_OF_RECORD) or first_text(context.resource, *HOSTS_OF_RESOURCE)
    fields: dict[str, Any] = {
        "timestamp": _time_text(nanoseconds) if nanoseconds else receipt.text,
        "hostname": host or sender,
    }
    for name in MOVED:
        if name in attributes:
            fields[name] = attributes.pop(name)
    if "correlation_id" not in fields and is_uuid(attributes.get(RECORD_ID)):
        fields["correlation_id"] = attributes[RECORD_ID]
    _put_body(fields, log)
    put_source(fields, fields.get("source") or context.resource.get("service.name"))
    put_oid(fields)
    level = SEVERITIES.get(log.severity_number)
    if level is not None and fields.get("syslog_severity") in PLAIN:
        fields["syslog_severity"] = level
    put_severity(fields, {"severity_text": log.severity_text}, attributes, log.body)
    fields |= {
        name: value
        for name, value in (
            ("severity_number", log.severity_number),
            ("severity_text", log.severity_text),
            ("event_name", log.event_name),
            ("trace_id", log.trace_id),
            ("span_id", log.span_id),
            ("attributes", attributes),
            ("resource", context.resource),
            ("scope", context.scope),
        )
        if value
    }
    return fields


def traceparent(log: LogRecord) -> str | None:
    """Return the W3C trace context of a record that has one."""
    if not (_TRACE.fullmatch(log.trace_id) and _SPAN.fullmatch(log.span_id)):
        return None
    if not (log.trace_id.strip("0") and log.span_id.strip("0")):
        return None
    return f"00-{log.trace_id}-{log.span_id}-{log.flags & 0xFF:02x}"


def shown_scope(name: Any, version: Any, attributes: dict[str, Any]) -> dict[str, Any]:
    """Return a scope as an event shows it, without what says nothing."""
    return {key: value for key, value in (("name", name), ("version", version), ("attributes", attributes)) if value}


def check_count(records: int, limits: Limits) -> None:
    """Raise RecordError where a request has too many log records."""
    if records > limits.records:
        message = f"over {limits.records} log records: send no more than that in one request"
        raise RecordError("too_large", message, records)


def plain_float(value: float) -> float | str:
    """Return a number that JSON can write, or its name."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def plain_bytes(value: bytes) -> str:
    """Return bytes as JSON has them."""
    return b64encode(value).decode()


def too_deep(levels: int) -> RecordError:
    """Return the refusal of a value that is nested too deeply."""
    return RecordError("json", f"nested more than {levels} levels deep")


def _time_text(nanoseconds: int) -> str:
    if not 0 < nanoseconds <= NANOSECONDS_MOST:
        raise RecordError("json", f"{nanoseconds!r:.40} is no time in nanoseconds")
    return iso(EPOCH + timedelta(microseconds=nanoseconds // 1000))


def _put_body(fields: dict[str, Any], log: LogRecord) -> None:
    if log.body is None or log.body == "":
        put_text(fields, log.event_name)
        return
    put_text(fields, log.body)
    if not isinstance(log.body, str):
        fields["body"] = log.body
