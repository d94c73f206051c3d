"""The sentence that says what became of an event, and times in words."""

from mutt.journey_facts import (
    AUDIT_ONLY,
    CRITICAL,
    DEAD,
    ENDINGS,
    NO_DATA,
    NOTHING,
    OK,
    RUNNING,
    WAITING,
    WARN,
    Facts,
)
from mutt.rules import Handling
from mutt.whereabouts import Find, Place, error_of, most_telling

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")
FRESH = 10.0  # seconds after the audit within which a first attempt may still be under way


def verdict(facts: Facts) -> tuple[str, str, bool]:
    """Return the state, the sentence, and whether more is to come."""
    taken = facts.success
    if taken is not None:
        seconds = duration((taken.at - facts.received_at).total_seconds())
        tries = "" if taken.attempt == 1 else f", on the {ordinal(taken.attempt)} attempt"
        return OK, f"{_sent(facts)}: Moogsoft took it after {seconds}{tries}", False
    found = most_telling(list(facts.finds))
    if found is not None and found.place in DEAD:
        return _dead(found)
    if found is not None and (facts.is_forwarded or facts.handling is None) and found.place not in AUDIT_ONLY:
        return _waiting(facts, found)
    last = facts.touches[-1] if facts.touches else None
    if last is not None and found is None and last.operation in ENDINGS:
        return NOTHING, f"{ENDINGS[last.operation][0]} by {last.by}: {ENDINGS[last.operation][1]}", False
    if facts.handling is not None and not facts.is_forwarded:
        return NOTHING, _kept(facts), False
    return _lost_sight(facts)


def duration(seconds: float) -> str:
    """Return a short time with its unit: `35 ms`, `11.42 s`, `3 min 5 s`."""
    if abs(seconds) < 0.9995:  # noqa: PLR2004
        return f"{round(seconds * 1000)} ms"
    if abs(seconds) < 60:  # noqa: PLR2004
        return f"{seconds:.2f} s"
    whole = round(seconds)
    for unit, name, part, part_name in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= unit:
            rest = whole % unit // part
            return f"{whole // unit} {name} {rest} {part_name}" if rest else f"{whole // unit} {name}"
    return f"{whole} s"


def offset(seconds: float) -> str:
    """Return a time since the receipt: `+0`, `+35 ms`."""
    return "+0" if seconds == 0 else ("+" if seconds > 0 else "\u2212") + duration(abs(seconds))


def ordinal(number: int) -> str:
    """Return `second`, `7th`."""
    if 1 <= number <= len(ORDINALS):
        return ORDINALS[number - 1]
    ending = "th" if 10 < number % 100 < 14 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")  # noqa: PLR2004
    return f"{number}{ending}"


def _sent(facts: Facts) -> str:
    team = facts.team or "nobody"
    return {
        Handling.PAGE_AND_TICKET: f"Paged {team}",
        Handling.TICKET_ONLY: f"Ticket for {team}",
        Handling.EMAIL_ONLY: f"Email to {team}",
    }.get(Handling(facts.handling) if facts.handling in set(Handling) else Handling.LOG_ONLY, f"Sent for {team}")


def _kept(facts: Facts) -> str:
    by = f", by rule {facts.rule_id}" if facts.rule_id is not None else ""
    if facts.handling == Handling.UNHANDLED:
        return "No rule matched: kept in the log and counted by its pattern"
    if facts.handling == Handling.SUPPRESS:
        return f"Suppressed{by}: kept in the log alone"
    return f"Logged only{by}"


def _dead(found: Find) -> tuple[str, str, bool]:
    error = error_of(found)
    why = (error["message"] if error else "no reason is on record")[:300]
    if found.place is Place.QUARANTINE:
        return CRITICAL, f"Refused at the door: {why}", False
    envelope = found.envelope
    if found.place is Place.ALERTER_DEAD and envelope is not None and envelope.shedding_reason:
        return WARN, "Held back while the alert queue was too long; it will be replayed", True
    tail = ""
    if found.place is Place.POISON and envelope is not None and envelope.remediation_attempts:
        tail = f", after {envelope.remediation_attempts} replays"
    if found.place is Place.ALERTER_DEAD or found.decided is None:
        return CRITICAL, f"Dead before it was matched: {why}{tail}", False
    status = error is not None and error["type"] == "4xx"
    return CRITICAL, f"Dead: Moogsoft {'refused it' if status else 'did not take it'}, {why}{tail}", False


def _waiting(facts: Facts, found: Find) -> tuple[str, str, bool]:
    front = "" if found.ahead is None else f", {found.ahead:,} in front of it"
    if found.place is Place.INGEST:
        return WAITING, f"Waits to be matched{front}", True
    if found.place is Place.MATCHING:
        return RUNNING, "An alerter has it in hand", True
    if found.place is Place.ALERTS:
        return WAITING, f"On its way to Moogsoft: waits in the alert queue{front}", True
    if found.place is Place.SENDING:
        return RUNNING, "On its way to Moogsoft: a forwarder has it in hand", True
    tries = len(facts.attempts) or (found.envelope.retry_count if found.envelope else 0)
    said = f" after {tries} {'attempt' if tries == 1 else 'attempts'}" if tries else ""
    return WARN, f"Not at Moogsoft yet{said}: waits for its next try", True


def _lost_sight(facts: Facts) -> tuple[str, str, bool]:
    if any(find.place in AUDIT_ONLY for find in facts.finds) and not facts.is_forwarded:
        return WAITING, "Matched; its audit row waits for PostgreSQL", True
    last = facts.attempts[-1] if facts.attempts else None
    cut = "" if facts.complete else "; the look through the queues was cut off"
    if last is not None and last.verdict == "rejected":
        return CRITICAL, f"Moogsoft refused it, {last.words[:300]}; it lies in no list now{cut}", False
    if last is not None:
        return WARN, f"Moogsoft has not taken it: {last.words[:300]}{cut}", True
    if facts.audited_at is not None and (facts.now - facts.audited_at).total_seconds() < FRESH:
        return RUNNING, f"{_owed(facts)}, on its way to Moogsoft", True
    return NO_DATA, f"{_owed(facts)}; no attempt to deliver it is on record{cut}", False


def _owed(facts: Facts) -> str:
    words = {Handling.PAGE_AND_TICKET: "A page", Handling.TICKET_ONLY: "A ticket", Handling.EMAIL_ONLY: "An email"}
    return next((f"{text} for {facts.team}" for kind, text in words.items() if kind == facts.handling), "An alert")
