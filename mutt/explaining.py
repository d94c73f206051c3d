"""Why an event is handled as it is: every rule in order, the winner, the host, the team, and what Moogsoft gets."""

from typing import Any, NamedTuple

import re2

from mutt.envelope import join_entry, split_entry
from mutt.errors import EntryError
from mutt.events import QueuedEvent, decided_entry, decode_decided, decode_entry
from mutt.handling import DEV, Decision, Hosts, normalise_host
from mutt.judge import decide_event
from mutt.matching import RuleBook, Verdict
from mutt.moogsoft import body_of
from mutt.rules import FORWARDED, MatchType, Rule

CONDITIONS = {"syslog_severity": "severity", "trap_oid": "trap OID", "match_string": "text"}


class Sending(NamedTuple):
    """How the forwarder speaks to Moogsoft."""

    profile: str
    batch: bool


def read_pasted(entry: bytes) -> QueuedEvent:
    """Return the event of a queue entry or of a dead letter as it lies in Redis; raises EntryError."""
    try:
        decided = decode_decided(entry)
    except EntryError:
        return decode_entry(entry)
    return decode_entry(join_entry(split_entry(entry)[0], decided.raw_event))


def explain(event: QueuedEvent, book: RuleBook, hosts: Hosts, default_team: str, sending: Sending) -> dict[str, Any]:
    """Return every rule's verdict and what follows, as JSON can hold it."""
    verdicts = book.explain(event.message, event.severity, event.trap_oid)
    decision = decide_event(event, book, hosts, default_team)
    winner = next((verdict.rule for verdict in verdicts if verdict.matched), None)
    host = normalise_host(event.hostname)
    own_team = hosts.team(host)
    decider = winner if winner is not None and winner.id == decision.rule_id else _rule(verdicts, decision.rule_id)
    return {
        "rules": [_verdict(verdict, event) for verdict in verdicts],
        "winner": None if decider is None else _brief(decider),
        "matched_text": None if decider is None else matched_span(decider, event.message),
        # A clear that its own rule would keep here goes where its problem would.
        "as_problem": decider is not None and (winner is None or winner.id != decider.id),
        "environment": decision.environment,
        "environment_from": "listed as a development host"
        if decision.environment == DEV
        else "not listed as a development host",
        "handling": decision.handling,
        "team": decision.team,
        "team_from": _team_origin(own_team, decider),
        "pattern": None if decision.pattern is None else decision.pattern._asdict(),
        "forwarded": decision.handling in FORWARDED,
        "moogsoft": _body(event, decision, sending) if decision.handling in FORWARDED else None,
    }


def matched_span(rule: Rule, message: str) -> tuple[int, int] | None:
    """Return from which to which character a rule's text is in a message; None where it asks for none."""
    if rule.match_string is None:
        return None
    if rule.match_type != MatchType.REGEX:
        folded = message.casefold()
        start = folded.find(rule.match_string.casefold())
        # Folding may lengthen a text; then the place in it is not the place in the message.
        return (start, start + len(rule.match_string)) if start >= 0 and len(folded) == len(message) else None
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    try:
        found = re2.compile(rule.match_string, options).search(message)
    except (re2.error, UnicodeEncodeError):
        return None
    return None if found is None else (found.start(), found.end())


def _verdict(verdict: Verdict, event: QueuedEvent) -> dict[str, Any]:
    failed = verdict.reason if verdict.reason in CONDITIONS else None
    found: dict[str, Any] = {
        **_brief(verdict.rule),
        "matched": verdict.matched,
        "failed": failed,
        "reason": verdict.reason if failed is None else _why(failed, verdict.rule, event),
    }
    if verdict.matched:
        found["matched_text"] = matched_span(verdict.rule, event.message)
    return found


def _why(failed: str, rule: Rule, event: QueuedEvent) -> str:
    if failed == "syslog_severity":
        return f"severity is {_or_none(event.severity)}, not {rule.syslog_severity}"
    if failed == "trap_oid":
        return f"trap OID is {_or_none(event.trap_oid)}, not below {rule.trap_oid}"
    return f"the message does not {'match' if rule.match_type == MatchType.REGEX else 'contain'} {rule.match_string}"


def _or_none(value: object) -> object:
    return "absent" if value is None else value


def _brief(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "name": rule.name,
        "version": rule.version,
        "priority": rule.priority,
        "prod_handling": rule.prod_handling,
        "dev_handling": rule.dev_handling,
        "team_assignment": rule.team_assignment,
    }


def _rule(verdicts: list[Verdict], rule_id: int | None) -> Rule | None:
    return next((verdict.rule for verdict in verdicts if verdict.rule.id == rule_id), None)


def _team_origin(own: str | None, rule: Rule | None) -> str:
    if own is not None:
        return "the host's own team"
    return "UNHANDLED_DEFAULT_TEAM, since no rule matched" if rule is None else f"rule {rule.id}"


def _body(event: QueuedEvent, decision: Decision, sending: Sending) -> str:
    entry = decided_entry(
        event.entry,
        handling=decision.handling,
        team=decision.team,
        rule_id=decision.rule_id,
        rule_version=decision.rule_version,
        environment=decision.environment,
    )
    return body_of([decode_decided(entry)], sending.profile, batch=sending.batch).decode()
