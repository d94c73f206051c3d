"""Judges entries: what each event becomes, and the bytes that follow from it."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import msgspec

from mutt.audit_row import pack_decision, pack_row
from mutt.envelope import amend
from mutt.errors import EntryError
from mutt.events import Envelope, LastError, QueuedEvent, decided_entry, decode_entry, iso
from mutt.handling import Decision, Hosts, decide
from mutt.ids import uuid7
from mutt.matching import RuleBook
from mutt.pairs import Problem, problem_of
from mutt.rules import FORWARDED

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Judged:
    """An event that was read and decided; `row` is its packed audit row."""

    entry: bytes
    event: QueuedEvent
    decision: Decision
    row: bytes

    @property
    def is_forwarded(self) -> bool:
        """Whether Moogsoft is owed an alert."""
        return self.decision.handling in FORWARDED

    def standing(self, decision: Decision) -> "Judged":
        """Return the event as it was decided before: what the audit says of it stands."""
        return Judged(self.entry, self.event, decision, self.row)

    def decided(self) -> bytes:
        """Return the entry of the alert queue, or of the pending audit.

        The event's retries and replays end with its audit: the alert has all of its own.
        """
        decision, envelope, entry = self.decision, self.event.envelope, self.entry
        if envelope.retry_count or envelope.remediation_attempts:
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
    event = decode_entry(entry)
    decision = decide_event(event, book, hosts, default_team)
    row = pack_row(
        event,
        pack_decision(decision.handling, decision.team, decision.rule_id, decision.rule_version, decision.environment),
    )
    return Judged(entry, event, decision, row)


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
        "hostname": judged.event.hostname,
        "source": "mutt",
        "message": f"{threshold} events that no rule matches: {pattern.template}",
        "unhandled_pattern": pattern.hash,
        "unhandled_sample_event_id": judged.event.envelope.event_id,
    }
    entry = _encode({"_mutt": Envelope(event_id, at, at), **event})
    decision = judged.decision
    return decided_entry(
        entry,
        handling="Ticket_only",
        team=decision.team,
        rule_id=None,
        rule_version=None,
        environment=decision.environment,
    )


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
    for severity in problem.severities:
        opened = decide(problem.message, event.hostname, severity, problem.trap_oid, book, hosts, default_team)
        if opened.handling in FORWARDED:
            return opened
    return decision
