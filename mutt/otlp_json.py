"""OTLP's JSON: a request cut into its log records, each read by itself."""

from typing import Any

import msgspec

from mutt.intake import Limits
from mutt.otlp import Allowance, LogRecord, SentContext, SentLog, check_count, plain_float, shown_scope
from mutt.records import Record, RecordError, decode_record, made_record

JSON_LEVELS = 4  # of JSON for one of a value: {"kvlistValue": {"values": [{"key": …, "value": …}]}}
DIGITS_MOST = 20  # of an integer, which is a string in this encoding


NOTHING, NULL = msgspec.Raw(b"{}"), b"null"


class _ScopeLogs(msgspec.Struct, rename="camel"):
    scope: msgspec.Raw = NOTHING
    log_records: list[msgspec.Raw] | None = None


class _ResourceLogs(msgspec.Struct, rename="camel"):
    resource: msgspec.Raw = NOTHING
    scope_logs: list[_ScopeLogs] | None = None


class _Request(msgspec.Struct, rename="camel"):
    resource_logs: list[_ResourceLogs] | None = None


_decoder = msgspec.json.Decoder(_Request)


def split(body: bytes, limits: Limits, allowance: Allowance) -> list[SentLog]:
    """Cut a request into log records; raises RecordError where it is none, BodyError where it has too many values."""
    # Each value, record and group is an object: counted before millions of them are made.
    allowance.spend(body.count(b"{"))
    try:
        request = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError("json", f"not a request of OTLP in JSON: {error}") from error
    logs: list[SentLog] = []
    for group in request.resource_logs or ():
        resource = bytes(group.resource)
        for part in group.scope_logs or ():
            context = SentContext(resource, bytes(part.scope))
            records = part.log_records or ()
            check_count(len(logs) + len(records), limits)
            logs += (SentLog(bytes(raw), context) for raw in records)
    return logs


def resource(raw: bytes, depth: int, _allowance: Allowance) -> tuple[dict[str, Any], bool]:
    """Read a resource's attributes, and say whether something in them had to be replaced; raises RecordError."""
    found = _shared(raw, depth)
    return attributes(found.fields.get("attributes"), depth), found.sanitized


def scope(raw: bytes, depth: int, _allowance: Allowance) -> tuple[dict[str, Any], bool]:
    """Read a scope as an event shows it, and say the same; raises RecordError."""
    found = _shared(raw, depth)
    name, version, more = (found.fields.get(member) for member in ("name", "version", "attributes"))
    return shown_scope(name, version, attributes(more, depth)), found.sanitized


def read(raw: bytes, depth: int, _allowance: Allowance) -> tuple[LogRecord, bool]:
    """Read one log record, and say whether something in it had to be replaced; raises RecordError."""
    record = decode_record(raw, JSON_LEVELS * depth)
    sent = record.fields
    log = LogRecord(
        time=_integer(sent, "timeUnixNano"),
        observed_time=_integer(sent, "observedTimeUnixNano"),
        severity_number=_integer(sent, "severityNumber"),
        severity_text=_text(sent, "severityText"),
        body=value(sent.get("body"), depth),
        attributes=attributes(sent.get("attributes"), depth),
        trace_id=_text(sent, "traceId").lower(),
        span_id=_text(sent, "spanId").lower(),
        flags=_integer(sent, "flags"),
        event_name=_text(sent, "eventName"),
    )
    return log, record.sanitized


def attributes(sent: Any, levels: int) -> dict[str, Any]:
    """Return a list of keys and values as an object; raises RecordError."""
    if sent is None:
        return {}
    if not isinstance(sent, list):
        raise RecordError("json", f"attributes have to be a list of keys and values, not {sent!r:.60}")
    made = {}
    for item in sent:
        if not isinstance(item, dict) or not isinstance(key := item.get("key", ""), str):
            raise RecordError("json", f"an attribute has to be a key and a value, not {item!r:.60}")
        made[key] = value(item.get("value"), levels)
    return made


def value(sent: Any, levels: int) -> Any:
    """Return one of OTLP's values as JSON has it; raises RecordError."""
    if sent is None or sent == {}:
        return None
    if not isinstance(sent, dict) or len(sent) != 1:
        raise RecordError("json", f'a value has to be an object like {{"stringValue": "…"}}, not {sent!r:.60}')
    if levels < 0:
        raise RecordError("json", "a value is nested too deeply")
    [(kind, content)] = sent.items()
    if kind == "arrayValue":
        return [value(item, levels - 1) for item in _values(content)]
    if kind == "kvlistValue":
        return attributes(_values(content), levels - 1)
    if kind == "intValue":
        return _whole(content, kind)
    if kind in {"stringValue", "bytesValue", "boolValue", "doubleValue"} and not isinstance(content, dict | list):
        return plain_float(content) if isinstance(content, float) else content
    raise RecordError("json", f"{kind} is no value of OTLP's")


def _shared(raw: bytes, depth: int) -> Record:
    return made_record({}) if raw == NULL else decode_record(raw, JSON_LEVELS * depth)


def _values(content: Any) -> list[Any]:
    values = content.get("values") if isinstance(content, dict) else content
    if values is None:
        return []
    if not isinstance(values, list):
        raise RecordError("json", f"values have to be a list, not {values!r:.60}")
    return values


def _text(sent: dict[str, Any], name: str) -> str:
    text = sent.get(name)
    if text is None:
        return ""
    if not isinstance(text, str):
        raise RecordError("json", f"{name} has to be a string, not {text!r:.60}")
    return text


def _integer(sent: dict[str, Any], name: str) -> int:
    number = sent.get(name)
    return 0 if number is None else _whole(number, name)


def _whole(number: Any, name: str) -> int:
    if isinstance(number, str) and len(number) <= DIGITS_MOST:
        try:
            return int(number)
        except ValueError:
            pass
    if isinstance(number, int) and not isinstance(number, bool):
        return number
    raise RecordError("json", f"{name} has to be a whole number, not {number!r:.60}")
