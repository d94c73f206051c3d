"""What other protocols' records mean as an event of MUTT's: the few rules that Splunk HEC and OTLP share."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from mutt.fields import DEBUG, MAX_SOURCE, SEVERITIES, is_oid, parse_timestamp
from mutt.intake import Accepted, Intake, Receipt, Sent, Taken
from mutt.records import Record, RecordError

# Where the text of an event that is an object is looked for, in this order; then the whole object is its text.
TEXT_NAMES = ("message", "msg", "log", "_raw", "short_message")
# Members whose words mean a severity, in this order. Their numbers do not: 4 is Windows's information.
LEVEL_NAMES = ("severity", "level", "loglevel", "log_level", "severity_text")
LEVEL_WORDS = {name: level for name, level in SEVERITIES.items() if not name.isdigit()} | {
    "fatal": 2,
    "trace": DEBUG,
    "verbose": DEBUG,
}
PLAIN = ("", None)  # what says nothing
# The most that a body's entries may take in all: what a request says once is repeated in each of its events.
GROWTH, ENTRY_BYTES = 4, 512

_encode = msgspec.json.Encoder().encode


def json_text(value: Any) -> str:
    """Return a value as JSON text."""
    return _encode(value).decode()


def put(fields: dict[str, Any], name: str, value: Any) -> None:
    """Set a field; another value that had its name before is kept under `client_{name}`."""
    if name in fields and fields[name] != value:
        put_aside(fields, name)
    fields[name] = value


def put_aside(fields: dict[str, Any], name: str) -> None:
    """Move a field to `client_{name}`, or further where that is taken; an empty one is dropped."""
    value = fields.pop(name)
    while (name := f"client_{name}") in fields:
        pass
    if value is not None and value != "":
        fields[name] = value


def put_text(fields: dict[str, Any], value: Any) -> None:
    """Make a value the message: text as it is, of an object its own text (TEXT_NAMES), anything else as JSON."""
    if isinstance(value, str):
        put(fields, "message", value)
        return
    if isinstance(value, dict):
        for name in TEXT_NAMES:
            text = value.get(name)
            if isinstance(text, str) and text and not text.isspace():
                if fields.get(name) == text:
                    del fields[name]
                put(fields, "message", text)
                return
    put(fields, "message", json_text(value))


def put_source(fields: dict[str, Any], source: Any) -> None:
    """Set the source; of one that is too long its end, and the whole of it under `client_source`."""
    if isinstance(source, str) and source:
        put(fields, "source", source)
    value = fields.get("source")
    if value is not None and not isinstance(value, str):
        put_aside(fields, "source")
    elif value is not None and len(value) > MAX_SOURCE:
        put_aside(fields, "source")
        fields["source"] = value[-MAX_SOURCE:]


def put_time(fields: dict[str, Any], receipt: Receipt) -> None:
    """Make sure that the event has a time: its own where that can be read, else that of its receipt."""
    sent = fields.get("timestamp")
    if parse_timestamp(sent) is None:
        if sent is not None:
            put_aside(fields, "timestamp")
        fields["timestamp"] = receipt.text


def put_severity(fields: dict[str, Any], *others: Any) -> None:
    """Set syslog_severity, unless the sender did, by the first word for one in the fields or in the other objects."""
    if fields.get("syslog_severity") not in PLAIN:
        return
    for place in (fields, *others):
        for name in LEVEL_NAMES if isinstance(place, dict) else ():
            level = level_of(place.get(name), digits=name == "severity")
            if level is not None:
                fields["syslog_severity"] = level
                return


def level_of(value: Any, *, digits: bool = False) -> int | None:
    """Return the syslog severity that a word means; a number only with `digits`."""
    if digits and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        return None
    word = value.strip().lower()
    return SEVERITIES.get(word) if digits and word.isdigit() else LEVEL_WORDS.get(word)


def host_of(fields: Mapping[str, Any]) -> bytes:
    """Return the host as bytes: it may be the sender's address, which the record's own bytes do not hold."""
    return str(fields.get("hostname")).encode("utf-8", "replace")


def put_oid(fields: dict[str, Any]) -> None:
    """Keep a trap_oid only where it is one: to other products the name may mean something else."""
    value = fields.get("trap_oid")
    if value is not None and not is_oid(value):
        put_aside(fields, "trap_oid")


class Purse:
    """What the entries of one body may take in all."""

    def __init__(self, intake: Intake, records: int) -> None:
        self._left = GROWTH * intake.limits.body_bytes + ENTRY_BYTES * records

    def pay(self, size: int) -> None:
        """Take an entry's size out; raises BodyError when nothing is left."""
        self._left -= size
        if self._left < 0:
            raise BodyError("what the request says once for all its records is too large for so many of them")


class BodyError(Exception):
    """A body costs much more than its bytes: all of it is refused, not the one record where that was seen."""


def collect(
    intake: Intake,
    records: Sequence[Sent],
    receipt: Receipt,
    read: Callable[[Sent], tuple[bytes, Record]],
    raw: Callable[[Sent], bytes],
) -> Taken:
    """Take the records of another protocol, each by itself; `read` gives a record's bytes and its meaning.

    Raises RecordError where nothing is taken. What is refused is quarantined as the event that it means, so that a
    person can mend it there.
    """
    purse = Purse(intake, len(records))

    def accept(sent: Sent) -> Accepted:
        own, record = read(sent)
        try:
            accepted = intake.accept_carefully(own, receipt, record=record)
        except RecordError as error:
            if record.fields:
                error.kept = _encode(record.fields)
                # The quarantine holds it as text in JSON, where each quote of it takes two bytes.
                purse.pay(2 * min(len(error.kept), intake.limits.event_bytes))
            raise
        purse.pay(len(accepted.entry))
        return accepted

    try:
        return intake.collect(records, receipt, accept, raw)
    except BodyError as error:
        raise RecordError("too_large", str(error), len(records)) from error


def first_text(fields: Mapping[str, Any], *names: str) -> str | None:
    """Return the first of the named values that is text and not empty."""
    for name in names:
        value = fields.get(name)
        if isinstance(value, str) and value and not value.isspace():
            return value
    return None
