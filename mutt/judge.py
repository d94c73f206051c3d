"""Judges entries: what each event becomes, and the bytes that follow from it."""

import base64
import re
import struct
from binascii import unhexlify
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec

from mutt.audit_row import ID_BYTES, microseconds, pack, pack_decision, pack_row
from mutt.envelope import amend
from mutt.errors import EntryError
from mutt.events import (
    UNREADABLE,
    Envelope,
    LastError,
    QueuedEvent,
    decided_entry,
    decision_members,
    decode_entry,
    event_severity,
    iso,
    joined,
    parse_timestamp,
)
from mutt.fields import DEBUG
from mutt.handling import Decision, Hosts, decide, decision_of
from mutt.ids import is_uuid, uuid7
from mutt.matching import RuleBook
from mutt.pairs import CLEAR_OIDS, Problem, problem_of
from mutt.rules import FORWARDED

_fields = msgspec.json.Decoder(dict[str, Any])
_encode = msgspec.json.Encoder().encode
# How the ingestor begins an entry that is new and belongs to no trace: the same bytes at the same places.
_MEMBERS = (b'{"_mutt":{"v":1,"event_id":"', b'","received_at":"', b'Z","event_timestamp":"', b'Z"},')
_FORM = struct.Struct("{}s36s{}s20s6s{}s20s6s{}s".format(*map(len, _MEMBERS)))
_ID = slice(len(_MEMBERS[0]), len(_MEMBERS[0]) + 36)
_SECOND = re.compile(rb"\d{4}-\d\d-\d\dT(?!24)\d\d:\d\d:\d\d\.")  # newer Pythons read 24:00:00, but nothing after it
_ODD = (ValueError, struct.error, *UNREADABLE)


class Judged(msgspec.Struct, frozen=True, gc=False):
    """An event that was read and decided; `row` is its packed audit row, `received` in microseconds since EPOCH."""

    entry: bytes
    decision: Decision
    row: bytes
    hostname: str
    message: str
    received: int
    known_envelope: Envelope | None  # None where the entry has the ingestor's own form

    @property
    def envelope(self) -> Envelope:
        """What MUTT noted of the event."""
        return self.known_envelope or decode_entry(self.entry).envelope

    @property
    def event_id(self) -> str:
        """The event's identity."""
        return self.entry[_ID].decode() if self.known_envelope is None else self.known_envelope.event_id

    @property
    def traceparent(self) -> str | None:
        """The trace that the event belongs to."""
        return None if self.known_envelope is None else self.known_envelope.traceparent

    def standing(self, decision: Decision) -> "Judged":
        """Return the event as it was decided before: what the audit says of it stands."""
        return msgspec.structs.replace(self, decision=decision)

    def decided(self) -> bytes:
        """Return the entry of the alert queue, or of the pending audit.

        The event's retries and replays end with its audit: the alert has all of its own.
        """
        decision, envelope, entry = self.decision, self.known_envelope, self.entry
        if envelope is not None and (envelope.retry_count or envelope.remediation_attempts):
            entry = amend(entry, retry_count=0, remediation_attempts=None)
        return decided_entry(
            entry,
            handling=decision.handling,
            team=decision.team,
            rule_id=decision.rule_id,
            rule_version=decision.rule_version,
            environment=decision.environment,
        )


def judge(entry: bytes, book: RuleBook, hosts: Hosts, default_team: str) -> Judged:
    """Read one entry and decide it; raises EntryError where no retry can make it readable."""
    try:
        judged = _straight(entry, book, hosts, default_team)
    except _ODD:
        judged = None
    return judged or carefully(entry, book, hosts, default_team)


def carefully(entry: bytes, book: RuleBook, hosts: Hosts, default_team: str) -> Judged:
    """Judge an entry of whatever form; `judge` does no other, only quicker."""
    event = decode_entry(entry)
    decision = decide_event(event, book, hosts, default_team)
    row = pack_row(event, pack_decision(*decision[:5]))
    return Judged(entry, decision, row, event.hostname, event.message, microseconds(event.received_at), event.envelope)


def _straight(entry: bytes, book: RuleBook, hosts: Hosts, default_team: str) -> Judged | None:
    """Judge an entry of the form that the ingestor gives to what is new; None, or one of _ODD, for any other."""
    begin, text_id, middle, second, micros, between, own_second, own_micros, end = _FORM.unpack_from(entry)
    if (begin, middle, between, end) != _MEMBERS or not (micros.isdigit() and own_micros.isdigit()):
        return None
    fields = _fields.decode(b"{" + entry[_FORM.size :])
    pop = fields.pop
    message, hostname, source, oid = pop("message", ""), pop("hostname", ""), pop("source", None), pop("trap_oid", None)
    correlation, level = pop("correlation_id", None), pop("syslog_severity", None)
    if not (message.__class__ is hostname.__class__ is correlation.__class__ is str) or "_mutt" in fields:
        return None
    if not (source is None or source.__class__ is str) or not (oid is None or (oid.__class__ is str and oid)):
        return None
    event_id = unhexlify(text_id.replace(b"-", b""))
    if len(event_id) != ID_BYTES or text_id[8:24:5] != b"----":
        return None
    if level.__class__ is not int or not 0 <= level <= DEBUG:
        level = event_severity(fields, level)
    if oid is not None:
        oid = oid.removeprefix(".")
    text = message.encode()
    rule, may_clear = book.look(message, text, level, oid)
    if may_clear or oid in CLEAR_OIDS:
        decision = decide_event(decode_entry(entry), book, hosts, default_team)
    else:
        decision = decision_of(rule, message, hostname, hosts, default_team)
    received = _seconds(second) + int(micros)
    row = pack(
        _seconds(own_second) + int(own_micros),
        event_id,
        event_id if correlation.encode() == text_id else _id_of(correlation),
        received,
        level,
        hostname,
        text,
        source,
        oid,
        _encode(fields),
        pack_decision(*decision[:5]),
    )
    return Judged(entry, decision, row, hostname, message, received, None)


@lru_cache(maxsize=64)
def _seconds(text: bytes) -> int:
    """Return a second of the form `2026-11-30T22:10:30.` as microseconds since EPOCH."""
    moment = parse_timestamp(f"{text.decode()}000000Z")
    if moment is None or not _SECOND.fullmatch(text):
        raise ValueError("not of the ingestor's own form")
    return microseconds(moment)


def _id_of(text: str) -> bytes:
    if not is_uuid(text):
        raise ValueError("not a UUID")
    return bytes.fromhex(text.replace("-", ""))


def undecodable(entry: bytes, error: EntryError, event_id: str, now: datetime) -> bytes:
    """Return the dead letter of bytes that are no entry: kept as Base64 under a new id, with the reason."""
    at = iso(now)
    envelope = Envelope(event_id, at, last_error=LastError("undecodable", str(error), at), first_failed_at=at)
    return _encode({"_mutt": envelope, "raw_base64": base64.b64encode(entry).decode()})


def meta_alert(judged: Judged, threshold: int, now: datetime, random: bytes) -> bytes:
    """Return the decided entry that tells of a pattern at its threshold; `random` is 10 bytes for its id."""
    pattern = judged.decision.pattern
    if pattern is None:
        raise ValueError("only an unmatched event has a pattern")
    event_id = uuid7(int(now.timestamp() * 1000), random)
    at = iso(now)
    event = {
        "correlation_id": event_id,
        "timestamp": at,
        "hostname": judged.hostname,
        "source": "mutt",
        "message": f"{threshold} events that no rule matches: {pattern.template}",
        "unhandled_pattern": pattern.hash,
        "unhandled_sample_event_id": judged.event_id,
    }
    decision = judged.decision
    members = decision_members("Ticket_only", decision.team, None, None, decision.environment)
    return joined(_encode(Envelope(event_id, at, at)), _encode(event), members)


def decide_event(
    event: QueuedEvent,
    book: RuleBook,
    hosts: Hosts,
    default_team: str,
    problem_of: Callable[[QueuedEvent], Problem | None] = problem_of,
) -> Decision:
    """Return what becomes of an event; a clear goes where its problem would, lest it stay open for ever.

    Whoever decides an event with several books gives what it knows already of the event's problem.
    """
    decision = decide(event.message, event.hostname, event.severity, event.trap_oid, book, hosts, default_team)
    if decision.handling in FORWARDED:
        return decision
    problem = problem_of(event)
    if problem is None:
        return decision
    for severity in dict.fromkeys(level if level in book.severities else None for level in problem.severities):
        rule = book.first_match(problem.message, severity, problem.trap_oid)
        if rule is not None:
            opened = decision_of(rule, problem.message, event.hostname, hosts, default_team)
            if opened.handling in FORWARDED:
                return opened
    return decision
