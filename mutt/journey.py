"""An event's way from the door to Moogsoft's answer, told from what is on record of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from mutt.rules import FORWARDED, Handling
from mutt.whereabouts import Find, Place, error_of, most_telling

OK, WARN, CRITICAL, RUNNING, WAITING, NOTHING, NO_DATA = (
    "ok", "warn", "critical", "running", "waiting", "nothing", "nodata",
)  # fmt: skip
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")
FRESH = 10.0  # seconds after the audit within which a first attempt may still be under way
DEAD = frozenset({Place.POISON, Place.MOOG_DEAD, Place.ALERTER_DEAD, Place.QUARANTINE})
QUEUED = frozenset({Place.ALERTS, Place.SENDING, Place.RETRY})


class Attempt(NamedTuple):
    """A row of delivery_log: one answer of Moogsoft, or none."""

    at: datetime
    attempt: int
    status: int | None
    outcome: str

    @property
    def verdict(self) -> str:
        """Return the outcome's first word: success, retry, throttled, misconfigured or rejected."""
        return self.outcome.partition(":")[0].strip()

    @property
    def words(self) -> str:
        """Return what was said."""
        return self.outcome.partition(":")[2].strip() or (f"HTTP {self.status}" if self.status else "no answer")


class Touch(NamedTuple):
    """What somebody did to this event by hand, from config_audit_log."""

    at: datetime
    by: str
    operation: str
    reason: str | None
    successor: str | None = None  # the event_id under which an edited entry goes on


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is known; times are UTC, None where the event has not got that far (or nobody recorded it)."""

    received_at: datetime
    event_timestamp: datetime
    now: datetime
    handling: str | None = None
    team: str | None = None
    rule_id: int | None = None
    environment: str | None = None
    audited_at: datetime | None = None
    table: str | None = None
    sender_time: str | None = None
    sanitized: bool = False
    attempts: Sequence[Attempt] = ()
    finds: Sequence[Find] = ()
    touches: Sequence[Touch] = ()
    looked: bool = False  # whether the queues were looked through
    complete: bool = True  # and to their ends

    @property
    def is_forwarded(self) -> bool:
        """Whether Moogsoft is owed an alert."""
        return self.handling in FORWARDED

    @property
    def success(self) -> Attempt | None:
        """Return the answer by which Moogsoft took it."""
        return next((attempt for attempt in self.attempts if attempt.verdict == "success"), None)


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


# What a person can do that ends the way of an event.
ENDINGS = {
    "DELETE": ("Deleted", "it goes no further"),
    "EDIT": ("Edited", "it goes on under another id"),
}
AUDIT_ONLY = frozenset({Place.PENDING, Place.AUDITING})


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
    elif facts.is_forwarded and facts.success is None and not _is_ended(facts):
        steps.append(_nowhere(facts, under_way=under_way))
    elif facts.handling is not None and not facts.is_forwarded:
        steps.append(Step("end", NOTHING, "Not forwarded", f"{_word(facts.handling)} stays in MUTT."))
    return steps


def _is_ended(facts: Facts) -> bool:
    return bool(facts.touches) and facts.touches[-1].operation in ENDINGS


def _received(facts: Facts) -> Step:
    ahead = (facts.received_at - facts.event_timestamp).total_seconds()
    if facts.sender_time is None or ahead == 0:
        text = "It brought no time that can hold, so the receipt counts as the event's time." if ahead == 0 else ""
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
    text = f"{_word(facts.handling)}, since the host is {host}. Team {facts.team}."
    return Step("matched", OK, title, text, None, latest)


def _audited(facts: Facts) -> Step | None:
    if facts.audited_at is not None:
        text = f"Row in {facts.table}." if facts.table else "Row in event_audit_log."
        if facts.attempts and facts.attempts[0].at < facts.audited_at:
            text += " PostgreSQL was away: the alert went first."
        return Step("audited", OK, "Audited", text, facts.audited_at)
    if any(find.place in AUDIT_ONLY for find in facts.finds):
        return Step("audited", WAITING, "Not audited yet", "Its row waits in Redis for PostgreSQL.")
    return None


def _attempt(attempt: Attempt) -> Step:
    number = f"Attempt {attempt.attempt}"
    match attempt.verdict:
        case "success":
            folds = " It folds repeats by external_id, so a late answer makes no second alert."
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
