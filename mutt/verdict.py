"""Whether all is well, in one sentence, and at most three things to do, worst first. The first rule that holds wins."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import NamedTuple

from mutt import words
from mutt.slo import Standing, State

TODOS = 3
FULL_WARN = 0.8  # of the ingest queue's cap
LATE = 0.5  # of a heartbeat's lifetime
SERVICES = ("ingestor", "alerter", "moog-forwarder", "remediation")  # of which one each is needed


class Todo(NamedTuple):
    """One thing to do: what is wrong, more of it, and where to go."""

    kind: str
    lead: str
    rest: str
    action: str
    href: str


class Verdict(NamedTuple):
    """What a page opens with; kind is ok, warn, critical or nodata."""

    kind: str
    title: str
    sentence: str
    todos: tuple[Todo, ...] = ()


class Worker(NamedTuple):
    """An instance of a service: its heartbeat's age and lifetime, how many entries it holds, the age of the oldest."""

    service: str
    name: str
    age: float
    timeout: float
    held: int | None = None
    lag: float | None = None

    @property
    def is_late(self) -> bool:
        """Tell whether refreshes of its heartbeat failed to come."""
        return self.age > self.timeout * LATE


class Level(NamedTuple):
    """A component's service level as the verdict needs it."""

    words: str
    standing: Standing
    is_spent_by_senders: bool = False  # it would hold without what senders got wrong


class Trouble(NamedTuple):
    """Trouble that is over."""

    title: str
    ended: datetime


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known; None is unknown, and never counts as zero or as well."""

    redis_silent: datetime | None = None
    redis_elsewhere: bool = False  # a service reaches the Redis that is silent here
    redis_refuses: str = ""  # Redis answers, and why what it answers cannot be read
    redis_witnessed: bool = False  # a service says that it does not reach Redis either
    postgres_silent: datetime | None = None
    postgres_busy: datetime | None = None  # it answers, and every connection of this console is in use
    circuit: str | None = None
    circuit_since: datetime | None = None
    ingest_depth: int | None = None
    ingest_cap: int = 1
    alert_depth: int | None = None
    retries: int | None = None
    warn: int = 1
    shed: int = 1
    shed_mode: str = "dlq"
    dead: int | None = None
    dead_since: datetime | None = None
    dead_error: str = ""
    pending: int | None = None
    rate: float | None = None
    oldest: float | None = None
    ever: bool = True
    secrets_problem: str | None = None
    levels: tuple[Level, ...] = ()
    workers: tuple[Worker, ...] = ()
    trouble: Trouble | None = None
    missing: tuple[str, ...] = field(default=())


class _Finding(NamedTuple):
    kind: str
    title: str
    sentence: str
    todo: Todo | None = None


def judge(facts: Facts, now: datetime, zone: tzinfo) -> Verdict:
    """Return the verdict; times in its words are in the reader's zone."""
    findings = [*_critical(facts, now, zone), *_warnings(facts, now, zone)]
    todos = tuple(finding.todo for finding in findings if finding.todo is not None)[:TODOS]
    if findings:
        first = findings[0]
        return Verdict(first.kind, first.title, first.sentence, todos)
    if facts.rate is None and facts.ingest_depth is None:
        return Verdict("nodata", "How things stand is not known yet", _flow(facts))
    if not facts.ever:
        return Verdict("nodata", "Ready, and nothing has arrived yet", _ready(facts))
    return Verdict("ok", "All well", " ".join([_flow(facts), *_last_trouble(facts, now, zone)]))


def _critical(facts: Facts, now: datetime, zone: tzinfo) -> Iterator[_Finding]:
    if facts.redis_silent:
        since = f"Noticed at {words.clock(facts.redis_silent, zone, now)}, {_since(facts.redis_silent, now)} ago."
        if facts.redis_refuses:
            title, more = "What Redis holds cannot be read here", f"Redis answers, but: {facts.redis_refuses}."
        elif facts.redis_elsewhere:
            title = "This console does not reach Redis, services do"
            more = "Look at the network between this console and Redis."
        elif not facts.redis_witnessed:
            title, more = "Redis does not answer this console", "No service has said yet whether it reaches Redis."
        else:
            title = "Redis does not answer: no event moves, no page goes out"
            more = "Senders get 503 and should send again. Workers resume by themselves."
        unknown = "" if ":" in title else ": what moves is unknown"
        yield _Finding("critical", title + unknown, f"{since} {more}")
        return
    # What keeps pages from going out comes first: PostgreSQL alone keeps none.
    yield from _stopped(facts, now, zone)
    if facts.postgres_silent:
        noticed = f"Noticed at {words.clock(facts.postgres_silent, zone, now)}."
        waits = "" if facts.pending is None else f" {words.count(facts.pending)} audit rows wait in Redis."
        yield _Finding(
            "critical",
            f"PostgreSQL does not answer: {'pages go out, their' if _pages_go_out(facts) else 'the'} audit waits",
            f"{noticed}{waits} Rules, hosts and teams cannot be changed.",
            Todo("critical", "PostgreSQL is silent:", "nothing is lost while Redis holds", "Runbook", "/help#postgres"),
        )
    yield from _full(facts)


def _stopped(facts: Facts, now: datetime, zone: tzinfo) -> Iterator[_Finding]:
    if facts.circuit == "OPEN":
        waiting = (facts.alert_depth or 0) + (facts.retries or 0)
        since = f"since {words.clock(facts.circuit_since, zone, now)}" if facts.circuit_since else ""
        yield _Finding(
            "critical",
            f"Moogsoft does not take alerts: {_plural(waiting, 'alert')} {'waits' if waiting == 1 else 'wait'}",
            "The circuit is OPEN: nothing is sent, one try follows. Nothing is lost, no page goes out.",
            Todo("critical", "The circuit is OPEN", since, "Runbook", "/help#circuit"),
        )
    for service in facts.missing:
        if service in _STANDS:
            yield _Finding(
                "critical",
                f"No {service} is alive: {_STANDS[service]}",
                "Nothing is lost; the work waits for it in Redis.",
                Todo("critical", f"No {service} is alive.", "Start one, or read its log", "Runbook", "/help#services"),
            )


def _pages_go_out(facts: Facts) -> bool:
    return facts.circuit != "OPEN" and not {"alerter", "moog-forwarder"} & set(facts.missing)


def _full(facts: Facts) -> Iterator[_Finding]:
    waiting = (facts.alert_depth or 0) + (facts.retries or 0)
    if facts.alert_depth is not None and waiting >= facts.shed:
        sheds = facts.shed_mode == "dlq"
        yield _Finding(
            "critical",
            f"{words.count(waiting)} alerts wait: {'the least urgent are shed' if sheds else 'the alerter waits'}",
            f"More alerts come than Moogsoft takes; the queue is past {words.count(facts.shed)}.",
            Todo(
                "critical", f"{words.count(waiting)} alerts wait", f"past {words.count(facts.shed)}", "See", "/events"
            ),
        )
    if facts.ingest_depth is not None and facts.ingest_depth >= facts.ingest_cap:
        yield _Finding(
            "critical",
            "The ingest queue is full: senders get 503",
            f"{words.count(facts.ingest_depth)} events wait, at a cap of {words.count(facts.ingest_cap)}.",
            Todo("critical", "The ingest queue is full", "alerters are too few or too slow", "Runbook", "/help#queues"),
        )


def _warnings(facts: Facts, now: datetime, zone: tzinfo) -> Iterator[_Finding]:
    if facts.redis_silent:
        return
    flows = "Events flow, but " if facts.rate else ""
    if facts.dead:
        alerts = _plural(facts.dead, "alert")
        since = f" since {words.clock(facts.dead_since, zone, now)}" if facts.dead_since else ""
        yield _warning(
            f"{flows}{alerts} never reached Moogsoft",
            _flow(facts),
            Todo(
                "warn",
                f"{_plural(facts.dead, 'dead letter')}{since}",
                facts.dead_error[:90],
                f"Browse {words.count(facts.dead)}",
                "/dead-letters",
            ),
        )
    # Before the first event a share of refused tries says nothing of a service; the first steps name the last one.
    for level in facts.levels if facts.ever else ():
        left = level.standing.remaining
        if left is not None and level.standing.state is not State.OK:
            over = f"{words.share(-left, 0)} over its error budget"
            why = "what senders got wrong spent it" if level.is_spent_by_senders else ""
            todo = Todo("warn", f"{level.words} is {over}", why, "See why", "/slo")
            over += f": {why}" if why else ""
            yield _warning(f"{flows}{level.words.lower()} is {over}", _flow(facts), todo)
    yield from _slow(facts, flows)
    if "remediation" in facts.missing:
        todo = Todo("warn", "No remediation is alive.", "Start one, or read its log", "Runbook", "/help#services")
        yield _warning(f"{flows}no remediation is alive: dead letters get no further try", _flow(facts), todo)
    if facts.postgres_busy:
        since = f"since {words.clock(facts.postgres_busy, zone, now)}"
        todo = Todo("warn", "No connection of this console to PostgreSQL is free", since, "Runbook", "/help#postgres")
        yield _warning("This console waits for its own searches", "PostgreSQL itself takes connections.", todo)
    if facts.secrets_problem:
        todo = Todo("warn", "Secrets are not current", facts.secrets_problem[:90], "Runbook", "/help#secrets")
        yield _warning("Secrets could not be read again", "MUTT goes on with those that it holds.", todo)


def _slow(facts: Facts, flows: str) -> Iterator[_Finding]:
    waiting = (facts.alert_depth or 0) + (facts.retries or 0)
    if facts.alert_depth is not None and facts.warn <= waiting < facts.shed:
        lead = f"{words.count(waiting)} alerts wait for Moogsoft"
        todo = Todo(
            "warn", lead, f"warns at {words.count(facts.warn)}, sheds at {words.count(facts.shed)}", "Why", "/slo"
        )
        yield _warning(f"{flows}{lead}", _flow(facts), todo)
    if facts.ingest_depth is not None and FULL_WARN * facts.ingest_cap <= facts.ingest_depth < facts.ingest_cap:
        lead = f"{words.count(facts.ingest_depth)} events wait to be matched"
        todo = Todo("warn", lead, f"senders get 503 at {words.count(facts.ingest_cap)}", "Runbook", "/help#queues")
        yield _warning(f"{flows}{lead}", _flow(facts), todo)
    if late := [worker for worker in facts.workers if worker.is_late]:
        names = ", ".join(worker.name for worker in late[:3])
        todo = Todo(
            "warn", f"The heartbeat of {names} is late", f"{words.age(late[0].age)} old", "Runbook", "/help#services"
        )
        yield _warning(f"{flows}{_plural(len(late), 'instance')} may be dead", _flow(facts), todo)
    if facts.pending:
        rows = _plural(facts.pending, "audit row")
        todo = Todo("warn", f"{rows} wait for PostgreSQL", "their alerts have gone out", "Runbook", "/help#postgres")
        yield _warning(f"{flows}{rows} wait for PostgreSQL", _flow(facts), todo)


def _warning(title: str, sentence: str, todo: Todo) -> _Finding:
    return _Finding("warn", title[:1].upper() + title[1:], sentence, todo)


def _flow(facts: Facts) -> str:
    if facts.rate is None:
        coming = "How many events come is unknown."
    elif not facts.rate:
        coming = "No event in the last full minute."
    else:
        figure, unit = words.rate(facts.rate)
        coming = f"{figure} a {'second' if unit == '/s' else 'minute'} in."
    if facts.oldest is None:
        return coming
    return f"{coming} Nothing waits longer than {words.age(max(facts.oldest, 0.1))}."


def _ready(facts: Facts) -> str:
    alive = {worker.service for worker in facts.workers}
    said = f"{_plural(len(alive), 'service')} {'answers' if len(alive) == 1 else 'answer'}." if alive else ""
    return f"{said} The first event turns this page into the dashboard by itself.".strip()


def _last_trouble(facts: Facts, now: datetime, zone: tzinfo) -> list[str]:
    if facts.trouble is None:
        return []
    title, ended = facts.trouble
    return [f"Last trouble: {title}, over at {words.clock(ended, zone, now)}."]


def _since(then: datetime, now: datetime) -> str:
    return words.age((now - then).total_seconds())


def _plural(number: int, noun: str) -> str:
    return f"{words.count(number)} {noun}{'' if number == 1 else 's'}"


_STANDS = {
    "ingestor": "senders are refused",
    "alerter": "events wait unmatched",
    "moog-forwarder": "alerts wait unsent",
}
