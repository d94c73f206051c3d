"""Splunk's HTTP Event Collector as MUTT speaks it: its events as MUTT's, its reply codes, its query."""

import re
from collections.abc import Callable, Mapping
from enum import IntEnum
from itertools import islice
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from mutt.bodies import inflate, split_body
from mutt.fields import DEBUG, parse_timestamp
from mutt.foreign import PLAIN, collect, first_text, host_of, put, put_oid, put_severity, put_source, put_text, put_time
from mutt.intake import Intake, Receipt, Taken
from mutt.records import Record, RecordError, decode_record, made_record

QUERY_MOST = 16  # parameters
METADATA_CHARACTERS = 255  # of a parameter: it is repeated in each event of the request
# Members of a request that have a meaning of their own; any other one is kept as a field of the event.
MEANT = frozenset({"event", "fields", "host", "source", "time", "channel", "token"})
OF_REQUEST = frozenset({"channel", "token"})  # these say nothing of an event: it may be sent again with others
_LINE = re.compile(rb"[^\r\n]+")
_PRIORITY = re.compile(rb"<([0-9]{1,3})>")
_PRIORITY_MOST = 191  # RFC 5424: 23 facilities of 8 severities


class Code(IntEnum):
    """Splunk's codes, of which each reply has one."""

    SUCCESS = 0
    TOKEN_REQUIRED = 2
    INVALID_AUTHORIZATION = 3
    INVALID_TOKEN = 4
    NO_DATA = 5
    INVALID_DATA = 6
    INTERNAL = 8
    BUSY = 9
    EVENT_REQUIRED = 12
    EVENT_BLANK = 13
    ACK_DISABLED = 14
    INVALID_FIELDS = 15
    QUERY_TOKEN = 16
    HEALTHY = 17
    UNHEALTHY = 18
    TOO_LARGE = 27


# code -> HTTP status and Splunk's own words
REPLIES: dict[Code, tuple[int, str]] = {
    Code.SUCCESS: (200, "Success"),
    Code.TOKEN_REQUIRED: (401, "Token is required"),
    Code.INVALID_AUTHORIZATION: (401, "Invalid authorization"),
    Code.INVALID_TOKEN: (403, "Invalid token"),
    Code.NO_DATA: (400, "No data"),
    Code.INVALID_DATA: (400, "Invalid data format"),
    Code.INTERNAL: (500, "Internal server error"),
    Code.BUSY: (503, "Server is busy"),
    Code.EVENT_REQUIRED: (400, "Event field is required"),
    Code.EVENT_BLANK: (400, "Event field cannot be blank"),
    Code.ACK_DISABLED: (400, "ACK is disabled"),
    Code.INVALID_FIELDS: (400, "Error in handling indexed fields"),
    Code.QUERY_TOKEN: (400, "Query string authorization is not enabled"),
    Code.HEALTHY: (200, "HEC is healthy"),
    Code.UNHEALTHY: (503, "HEC is unhealthy, queues are full"),
    Code.TOO_LARGE: (413, "Request entity too large"),
}


class HecError(RecordError):
    """A request or an event that is not taken, with Splunk's code for it."""

    def __init__(self, code: Code, message: str, reason: str = "validation", records: int = 1) -> None:
        self.code = code
        super().__init__(reason, message, records)


class Origin(NamedTuple):
    """What a request says of all its events: the query's metadata, and the address that it came from."""

    metadata: Mapping[str, str]
    sender: str


def code_of(error: RecordError) -> Code:
    """Return Splunk's code for an error."""
    if isinstance(error, HecError):
        return error.code
    return Code.TOO_LARGE if error.reason == "too_large" else Code.INVALID_DATA


def read_query(query: bytes) -> dict[str, str]:
    """Return the parameters of a request; raises HecError for what no sender means."""
    try:
        found = dict(parse_qsl(query.decode("latin-1"), max_num_fields=QUERY_MOST))
    except ValueError:
        raise HecError(Code.INVALID_DATA, f"the query has over {QUERY_MOST} parameters") from None
    for name, value in found.items():
        if len(value) > METADATA_CHARACTERS:
            raise HecError(Code.INVALID_DATA, f"the query's {name} has over {METADATA_CHARACTERS} characters")
    return found


def read_events(intake: Intake, body: bytes, coding: str, origin: Origin, receipt: Receipt) -> Taken:
    """Take the objects of a request to /event, of which each has a member `event`; raises RecordError."""
    limits = intake.limits
    body = inflate(body, coding, limits.body_bytes)
    records = split_body(body, "", limits.records, limits.depth).records if body.strip() else []
    if not records:
        raise HecError(Code.NO_DATA, "the body is empty", "json")

    metadata = repr(sorted(item for item in origin.metadata.items() if item[0] not in OF_REQUEST)).encode()

    def read(raw: bytes) -> tuple[bytes, Record]:
        if len(raw) > limits.event_bytes:
            return raw, made_record({})  # (the intake refuses it by its size)
        record = decode_record(raw, limits.depth)
        fields = event_fields(record.fields, origin, receipt)
        return raw, made_record(fields, sanitized=record.sanitized, origin=host_of(fields) + metadata)

    return _taken(intake, records, receipt, read)


def read_lines(intake: Intake, body: bytes, coding: str, origin: Origin, receipt: Receipt) -> Taken:
    """Take each line of a request to /raw as the text of an event; raises RecordError."""
    limits = intake.limits
    body = inflate(body, coding, limits.body_bytes)
    lines = [found[0] for found in islice(_LINE.finditer(body), limits.records + 1)]
    if len(lines) > limits.records:
        message = f"over {limits.records} lines: send no more than that in one body"
        raise RecordError("too_large", message, len(lines))
    lines = [line for line in lines if not line.isspace()]
    if not lines:
        raise HecError(Code.NO_DATA, "the body is empty", "json")

    def read(line: bytes) -> tuple[bytes, Record]:
        text = line.decode("utf-8", "replace")
        fields = event_fields({"event": text}, origin, receipt)
        priority = _PRIORITY.match(line)
        if priority is not None and int(priority[1]) <= _PRIORITY_MOST:
            fields["syslog_severity"] = int(priority[1]) & DEBUG
        return line, made_record(fields, sanitized=text.encode() != line, origin=host_of(fields))

    return _taken(intake, lines, receipt, read)


def event_fields(sent: dict[str, Any], origin: Origin, receipt: Receipt) -> dict[str, Any]:
    """Return what one of Splunk's events means as an event of MUTT's; raises HecError."""
    fields = _own_fields(sent)
    metadata = {**origin.metadata, **{name: value for name, value in sent.items() if value not in PLAIN}}
    for name, value in metadata.items():
        if name not in MEANT:
            put(fields, name, value)
    time = metadata.get("time")
    if time is not None:
        if parse_timestamp(time) is None:
            raise HecError(Code.INVALID_DATA, f"its time has to be epoch seconds, not {time!r:.60}")
        put(fields, "timestamp", time)
    put_time(fields, receipt)
    put_source(fields, metadata.get("source"))
    _put_host(fields, metadata.get("host"), origin.sender)
    put_severity(fields)
    put_oid(fields)
    return fields


def _own_fields(sent: dict[str, Any]) -> dict[str, Any]:
    """Return the indexed fields, the members of the event where it is an object, and its text."""
    event, indexed = sent.get("event"), sent.get("fields")
    if event is None:
        raise HecError(Code.EVENT_REQUIRED, 'there is no event in it: {"event": …} is needed')
    if event in ("", {}, []) or (isinstance(event, str) and event.isspace()):
        raise HecError(Code.EVENT_BLANK, "its event is empty")
    if indexed is not None and not isinstance(indexed, dict):
        raise HecError(Code.INVALID_FIELDS, "its fields are no object")
    fields: dict[str, Any] = dict(indexed or {})
    if isinstance(event, dict):
        for name, value in event.items():
            put(fields, name, value)
    put_text(fields, event)
    return fields


def _put_host(fields: dict[str, Any], host: Any, sender: str) -> None:
    if host is None:
        host = first_text(fields, "hostname")
    if host is None:
        host = first_text(fields, "host")
        if host is not None:
            del fields["host"]
    put(fields, "hostname", sender if host is None else host)


def _taken(
    intake: Intake, records: list[bytes], receipt: Receipt, read: Callable[[bytes], tuple[bytes, Record]]
) -> Taken:
    if len(records) > 1:
        return collect(intake, records, receipt, read, bytes)
    own, record = read(records[0])
    return Taken(single=False, accepted=[intake.accept_carefully(own, receipt, record=record)], rejected=[])
