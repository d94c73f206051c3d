"""An event's way from the door to Moogsoft's answer, told from what is on record of it."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from mutt.fields import parse_timestamp
from mutt.journey_facts import (
    AUDIT_ONLY,
    CRITICAL,
    DEAD,
    NO_DATA,
    NOTHING,
    OK,
    WAITING,
    WARN,
    Attempt,
    Facts,
    Touch,
)
from mutt.journey_verdict import duration, offset, ordinal, verdict
from mutt.receipts import NEWEST, OLDEST
from mutt.rules import Handling
from mutt.whereabouts import Find, Place, error_of, most_telling

__all__ = [
    "Attempt",
    "Facts",
    "Journey",
    "Span",
    "Step",
    "Touch",
    "as_json",
    "duration",
    "journey",
    "offset",
    "ordinal",
]


class Step(NamedTuple):
    """One station; `at` is None where its time is on no record, `by` is the latest that it can have been."""

    kind: str
    state: str
    title: str
    text: str
    at: datetime | None = None
    by: datetime | None = None
    link: str | None = None  # another event


class Span(NamedTuple):
    """A stretch of the bar, in seconds from the receipt."""

    start: float
    end: float
    words: str
    state: str


@dataclass(frozen=True, slots=True)
class Journey:
    """What became of an event: a title that says it, its stations, and where its time went."""

    state: str
    title: str
    under_way: bool
    steps: list[Step]
    spans: list[Span] = field(default_factory=list)


def journey(facts: Facts) -> Journey:
    """Tell an event's way."""
    state, title, under_way = verdict(facts)
    return Journey(state, title, under_way, _steps(facts, under_way=under_way), _spans(facts, under_way=under_way))


def _steps(facts: Facts, *, under_way: bool) -> list[Step]:
    steps = [_received(facts)]
    if facts.handling is not None:
        steps.append(_matched(facts))
    audited = _audited(facts)
    if audited is not None:
        steps.append(audited)
    timed = [_attempt(attempt) for attempt in facts.attempts] + [_touched(touch) for touch in facts.touches]
    steps += sorted(timed, key=lambda step: step.at or facts.now)
    found = most_telling([find for find in facts.finds if find.place not in AUDIT_ONLY])
    if found is not None and facts.success is None:
        steps.append(_there(found))
    elif facts.is_forwarded and facts.success is None and not facts.is_ended:
        steps.append(_nowhere(facts, under_way=under_way))
    elif facts.handling is not None and not facts.is_forwarded:
        steps.append(Step("end", NOTHING, "Not forwarded", f"{_word(facts.handling)} stays in MUTT."))
    return steps


def _received(facts: Facts) -> Step:
    ahead = (facts.received_at - facts.event_timestamp).total_seconds()
    oldest, newest = duration(OLDEST.total_seconds()), duration(NEWEST.total_seconds())
    limits = f"more than {oldest} before the receipt or {newest} after it"
    # Where a sender gave none, MUTT itself writes the receipt's into the events of some protocols.
    if not facts.sender_time or parse_timestamp(facts.sender_time) == facts.received_at:
        text = f"It brought no time, or one {limits}: the receipt counts as the event's time." if ahead == 0 else ""
    elif ahead == 0:
        text = f"The sender's clock said {facts.sender_time[:40]}, {limits}: the receipt counts as the event's time."
    else:
        gap = f"{duration(abs(ahead))} {'earlier' if ahead > 0 else 'later'}"
        text = f"The sender's clock said {facts.sender_time[:40]}, {gap}: kept as the event's time."
    if facts.sanitized:
        text += " Bytes that are not text were replaced."
    return Step("received", OK, "Received", text.strip(), facts.received_at)


def _matched(facts: Facts) -> Step:
    latest = facts.audited_at or (facts.attempts[0].at if facts.attempts else None)
    if facts.rule_id is not None:
        title = f"Matched by rule {facts.rule_id}"
    elif facts.handling == Handling.UNHANDLED:
        title = "No rule matched"
    else:
        title = "Made by MUTT itself, without a rule"
    host = "a development host" if facts.environment == "dev" else "not a development host"
    since = f"{_word(facts.handling)}, since the host is {host}" if facts.rule_id is not None else _word(facts.handling)
    text = f"{since}. Team {facts.team}."
    return Step("matched", OK, title, text, None, latest)


def _audited(facts: Facts) -> Step | None:
    if facts.audited_at is not None:
        text = f"Row in {facts.table}." if facts.table else "Row in event_audit_log."
        if facts.attempts and facts.attempts[0].at < facts.audited_at:
            text += " The alert went first: its row was written only later."
        return Step("audited", OK, "Audited", text, facts.audited_at)
    if any(find.place in AUDIT_ONLY for find in facts.finds):
        return Step("audited", WAITING, "Not audited yet", "Its row waits in Redis for PostgreSQL.")
    return None


def _attempt(attempt: Attempt) -> Step:
    number = f"Attempt {attempt.attempt}"
    match attempt.verdict:
        case "success":
            folds = " Moogsoft folds repeats by external_id, so a late answer makes no second alert."
            text = "Nothing of this event is left in the queues." + (folds if attempt.attempt > 1 else "")
            return Step("attempt", OK, f"{number}: Moogsoft answered {attempt.status}", text, attempt.at)
        case "throttled":
            text = f"{attempt.words}. It costs no attempt."
            return Step("attempt", WARN, f"{number}: Moogsoft asked to wait", text, attempt.at)
        case "rejected":
            return Step("attempt", CRITICAL, f"{number}: Moogsoft refused it", attempt.words, attempt.at)
        case "misconfigured":
            text = f"{attempt.words}. Not the alert's fault: it costs no attempt, and the circuit opens."
            return Step("attempt", CRITICAL, f"{number}: Moogsoft does not let MUTT in", text, attempt.at)
        case _:
            title = (
                f"{number}: no answer" if attempt.status is None else f"{number}: Moogsoft answered {attempt.status}"
            )
            return Step("attempt", WARN, title, f"{attempt.words}. Tried again under the same id.", attempt.at)


def _touched(touch: Touch) -> Step:
    words = {"REPLAY": "Replayed", "DELETE": "Deleted", "EDIT": "Edited and replayed"}
    title = f"{words.get(touch.operation, touch.operation.capitalize())} by {touch.by}"
    on = "" if touch.successor is None else " It goes on as another event:"
    text = (touch.reason or "No reason was given.") + on
    return Step("touched", NOTHING, title, text, touch.at, link=touch.successor)


def _there(found: Find) -> Step:
    error = error_of(found)
    text = f"Lies in {found.key}."
    if found.ahead is not None and found.place not in DEAD:
        text += f" {found.ahead:,} leave before it."
    if error:
        text += f" {error['message'][:500]}"
    replaced = found.envelope.replaces if found.envelope else None
    if replaced is not None:
        text += " It replaces another event:"
    state = CRITICAL if found.place in DEAD else WARN if found.place is Place.RETRY else WAITING
    kind = "dead" if found.place in DEAD else "waiting"
    return Step(kind, state, PLACES[found.place], text, found.due, link=replaced)


PLACES = {
    Place.INGEST: "Waits to be matched",
    Place.MATCHING: "An alerter has it in hand",
    Place.ALERTS: "Waits in the alert queue",
    Place.SENDING: "A forwarder has it in hand",
    Place.RETRY: "Waits for its next try",
    Place.ALERTER_DEAD: "Dead letter of the alerter",
    Place.MOOG_DEAD: "Dead letter of the forwarder",
    Place.POISON: "In poison: nothing tries it again by itself",
    Place.QUARANTINE: "In quarantine",
}


def _nowhere(facts: Facts, *, under_way: bool) -> Step:
    if not facts.looked:
        return Step("waiting", NO_DATA, "Where it is now is not known", "Redis did not answer when it was asked.")
    cut = (
        "The queues were too long to look through whole." if not facts.complete else "It lies in none of MUTT's lists."
    )
    title = "Not seen in the queues at this moment" if under_way else "Lies in no queue"
    return Step("waiting", NO_DATA, title, cut)


def _word(handling: str | None) -> str:
    return (handling or "").replace("_", " ")


def _spans(facts: Facts, *, under_way: bool) -> list[Span]:
    """Where the time went: each stretch ends with what is on record, and has that record's state."""
    marks: list[tuple[datetime, str, str]] = []
    if facts.audited_at is not None:
        marks.append((facts.audited_at, "matched and audited", "data"))
    for attempt in facts.attempts:
        state = {"success": OK, "rejected": CRITICAL, "misconfigured": CRITICAL}.get(attempt.verdict, WARN)
        before = "back-off and" if attempt.attempt > 1 else "queue and"
        marks.append((attempt.at, f"{before} attempt {attempt.attempt}: {_brief(attempt)}", state))
    marks.sort(key=lambda mark: mark[0])
    if under_way:
        marks.append((facts.now, "waits", WAITING))
    spans: list[Span] = []
    at = 0.0
    for moment, words, state in marks:
        end = max(at, (moment - facts.received_at).total_seconds())
        if end > at:
            spans.append(Span(at, end, f"{words}, {duration(end - at)}", state))
        at = end
    return spans


def _brief(attempt: Attempt) -> str:
    return f"HTTP {attempt.status}" if attempt.status is not None else "no answer"


def as_json(told: Journey, received_at: datetime) -> dict[str, Any]:
    """Return a journey as the API shows it, times as datetimes."""

    def since(moment: datetime | None) -> int | None:
        return None if moment is None else round((moment - received_at).total_seconds() * 1000)

    return {
        "state": told.state,
        "title": told.title,
        "under_way": told.under_way,
        "steps": [
            {
                "kind": step.kind,
                "state": step.state,
                "title": step.title,
                "text": step.text,
                "at": step.at,
                "at_latest": step.by,
                "offset_ms": since(step.at),
                "event_id": step.link,
            }
            for step in told.steps
        ],
        "spans": [
            {"from_ms": round(s.start * 1000), "to_ms": round(s.end * 1000), "what": s.words, "state": s.state}
            for s in told.spans
        ],
    }
