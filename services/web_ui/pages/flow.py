"""The flow strip: the same stages in the same order everywhere, each with one figure, and what fell out below it."""

from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import NamedTuple

from mutt import figures, words
from mutt.verdict import FULL_WARN
from services.web_ui.board import Board
from services.web_ui.board_redis import RedisBoard
from services.web_ui.testimony import answering

UNKNOWN, NO_DATA = "unknown", "no data"


class Gauge(NamedTuple):
    """A level against its thresholds."""

    value: float | None
    most: float
    marks: list[tuple[float, str]]
    kind: str


class Fell(NamedTuple):
    """What fell out at a stage."""

    icon: str
    kind: str
    parts: list[tuple[str, str]]  # words and figure
    href: str


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage; in `lines` what stands between two stars is bold."""

    icon: str
    name: str
    figure: str
    unit: str
    lines: list[str] = field(default_factory=list)
    gauge: Gauge | None = None
    fell: Fell | None = None
    href: str = ""


def stages(board: Board, now: datetime, zone: tzinfo) -> list[Stage]:
    """Return the six stages from the ingestor to Moogsoft."""
    seen = board.redis
    if seen is None or board.redis_silent is not None:
        return _silent(board, board.redis_silent or now, now, zone)
    return [
        _ingestor(board, seen),
        _ingest_queue(seen),
        _alerter(board, seen, now, zone),
        _alert_queue(seen),
        _forwarder(board, seen),
        _moogsoft(seen, now, zone),
    ]


def _ingestor(board: Board, seen: RedisBoard) -> Stage:
    figure, unit = words.rate(seen.counters.rate)
    alive = _alive(seen, "ingestor")
    took = _took(seen, "ingestor", 0.99)
    share = next((each for each in board.levels if each.component.name == "ingestor"), None)
    lines = [f"{took}, {_instances(alive, 'instance')}" if took else _instances(alive, "instance")]
    if share is not None and share.standing.availability is not None:
        lines.insert(0, f"*{words.share(share.standing.availability)}* accepted, {board.window_hours} h")
    count = seen.depths["quarantine"]
    fell = Fell("fell" if count else "nothing", "", [("quarantine", words.count(count))], "/dead-letters/quarantine")
    return Stage("ok" if alive else "critical", "Ingestor", figure, f"events{unit}", lines, None, fell)


def _ingest_queue(seen: RedisBoard) -> Stage:
    depth, cap = seen.depths["ingest"], int(seen.settings["max_ingest_queue_size"])
    kind = "critical" if depth >= cap else "warn" if depth >= FULL_WARN * cap else ""
    gauge = Gauge(depth, cap * 1.15, [(cap, f"cap {words.count(cap)}")], kind)
    return Stage("queue", "Ingest queue", words.count(depth), "waiting", [_oldest(seen, "ingest")], gauge)


def _alerter(board: Board, seen: RedisBoard, now: datetime, zone: tzinfo) -> Stage:
    alive = _alive(seen, "alerter")
    held = sum(worker.held or 0 for worker in seen.workers if worker.service == "alerter")
    per_second = figures.rate(seen.of("alerter"))
    figure, unit = (NO_DATA, "") if per_second is None else words.rate(per_second)
    took = _took(seen, "alerter", 0.95)
    lines = [f"*{words.count(alive)}* {'worker' if alive == 1 else 'workers'}{f', {took}' if took else ''}"]
    rules = ""
    if board.database is not None:
        rules = f"*{words.count(board.database.rules)}* active rules" if board.database.rules else "no rules yet"
        if then := board.database_as_of(now):
            rules += f" at {words.clock(then, zone, now)}"
    lines.append(", ".join(filter(None, [rules, f"holding *{words.count(held)}*" if held else ""])))
    pending, dead = seen.depths["audit_pending"], seen.depths["dlq_alerter"]
    parts = [("audit pending", words.count(pending)), ("dead", words.count(dead))]
    kind = "warn" if pending or dead else ""
    fell = Fell(kind or "nothing", kind, parts, "/dead-letters/alerter")
    late = any(worker.is_late for worker in seen.workers if worker.service == "alerter")
    icon = "critical" if not alive else "warn" if late else "ok"
    return Stage(icon, "Alerter", figure, f"events{unit}" if unit else "", lines, None, fell)


def _alert_queue(seen: RedisBoard) -> Stage:
    depth = seen.depths["alerts"]
    waiting = depth + seen.depths["retries"]
    warn, shed = (int(seen.settings[f"alerter_queue_{name}_threshold"]) for name in ("warn", "shed"))
    kind = "critical" if waiting >= shed else "warn" if waiting >= warn else ""
    marks = [(float(warn), f"warn {words.count(warn)}"), (float(shed), f"shed {words.count(shed)}")]
    gauge = Gauge(waiting, shed * 1.25, marks, kind)
    return Stage("queue", "Alert queue", words.count(depth), "waiting", [_oldest(seen, "alerts")], gauge)


def _forwarder(board: Board, seen: RedisBoard) -> Stage:
    alive = _alive(seen, "moog-forwarder")
    limit = int(seen.settings["moog_rate_limit"])
    unit = "/s" if board.rate_period == 1 else f"/{board.rate_period:g} s"
    lines = [
        f"limiter: *{words.count(seen.limiter_free)} of {words.count(limit)}*{unit} free",
        "" if alive else _instances(alive, "worker"),
    ]
    gauge = Gauge(limit - seen.limiter_free, limit * 1.15, [(float(limit), f"{words.count(limit)}{unit}")], "")
    per_second = figures.rate(seen.of("moog-forwarder"))
    figure = NO_DATA if per_second is None else _each_minute(per_second)
    retries, dead = seen.depths["retries"], seen.depths["dlq_moog"]
    parts = [("retry", words.count(retries)), ("dead", words.count(dead))]
    fell = Fell("warn" if dead else "nothing", "warn" if dead else "", parts, "/dead-letters/moog")
    unit = "" if per_second is None else "alerts/min"
    return Stage("ok" if alive else "critical", "Forwarder", figure, unit, lines, gauge, fell)


def _moogsoft(seen: RedisBoard, now: datetime, zone: tzinfo) -> Stage:
    poison = seen.depths["poison"]
    parts = [("poison", words.count(poison))]
    if poison and (then := seen.oldest["poison"]):
        parts.append(("oldest", words.age((seen.at - then).total_seconds())))
    fell = Fell("warn" if poison else "nothing", "warn" if poison else "", parts, "/dead-letters/poison")
    meaning = {"CLOSED": "alerts flow", "OPEN": "stopped, one try follows", "HALF_OPEN": "one probe is out"}
    state = seen.circuit.state
    lines = [f"circuit *{state}*: {meaning.get(state, 'unknown')}"]
    if seen.circuit.opened_at and state != "CLOSED":
        lines.append(f"opened *{words.clock(seen.circuit.opened_at, zone, now)}*")
    elif seen.circuit.failures:
        lines.append(f"*{words.count(seen.circuit.failures)}* failures in a row")
    if took := _took(seen, "moog-forwarder", 0.95):
        lines.append(took)
    figure, unit = "not asked yet", ""
    if seen.answer is not None and (at := seen.answered_at):
        ago = words.ago((seen.at - at).total_seconds())
        figure, unit = _status(seen), ago if seen.answer.status is None else f"answered {ago}"
    icon = {"OPEN": "open", "HALF_OPEN": "half"}.get(state, "closed")
    return Stage(icon, "Moogsoft", figure, unit, lines, None, fell)


def _status(seen: RedisBoard) -> str:
    return "no answer" if seen.answer is None or seen.answer.status is None else str(seen.answer.status)


def _each_minute(per_second: float) -> str:
    each = per_second * 60
    return f"{each:.1f}".removesuffix(".0") if each < 10 else words.count(each)  # noqa: PLR2004


def _took(seen: RedisBoard, service: str, share: float) -> str:
    """Say how long nearly all of what a service did in the last minutes took, nothing where it did nothing."""
    seconds = figures.percentile(seen.of(service), share)
    return "" if seconds is None else f"p{share * 100:.0f} *{words.duration(seconds)}*"


def _silent(board: Board, since: datetime, now: datetime, zone: tzinfo) -> list[Stage]:
    """Return what can be said while Redis is away: what was seen last with its time, and what services answer."""
    seen = board.redis
    at = f" at *{words.clock(seen.at, zone, now)}*" if seen else ""

    def last(*names: str) -> str:
        if seen is None:
            return "never seen by this console"
        depths = [seen.depths[name] for name in names]
        return f"last seen *{', '.join(map(words.count, depths if any(depths) else depths[:1]))}*{at}"

    def fell(name: str, *queues: str) -> Fell:
        return Fell("nodata", "", [(f"{name} {last(*queues).removesuffix(at).replace('*', '')}", "")], "/dead-letters")

    def waiting(name: str, service: str, lost: Fell) -> Stage:
        lines = [_up(board, service, "worker"), f"noticed at *{words.clock(since, zone, now)}*, resumes by itself"]
        if board.is_cut_off or not board.is_witnessed:
            return Stage("nodata", name, UNKNOWN, "", lines[:1], None, lost)
        return Stage("waiting", name, "waiting", "", lines, None, lost)

    unknown = Gauge(None, 1, [], "")
    accepted, lost = [_up(board, "ingestor", "instance")], fell("quarantine", "quarantine")
    if board.is_cut_off or not any(each.service == "ingestor" and each.reaches_redis is False for each in board.said):
        ingestor = Stage("nodata", "Ingestor", UNKNOWN, "", accepted, None, lost)
    else:
        lines = [*accepted, "they should send again"]
        ingestor = Stage("critical", "Ingestor", "503", "to every sender", lines, None, lost)
    moogsoft = ["circuit state is kept in Redis"]
    if seen is not None and (then := seen.answered_at):
        moogsoft.append(f"last answer *{_status(seen)}* at *{words.clock(then, zone, now)}*")
    return [
        ingestor,
        Stage("nodata", "Ingest queue", UNKNOWN, "", [last("ingest")], unknown),
        waiting("Alerter", "alerter", fell("pending, dead", "audit_pending", "dlq_alerter")),
        Stage("nodata", "Alert queue", UNKNOWN, "", [last("alerts")], unknown),
        waiting("Forwarder", "moog-forwarder", fell("retry, dead", "retries", "dlq_moog")),
        Stage("nodata", "Moogsoft", UNKNOWN, "", moogsoft, None, fell("poison", "poison")),
    ]


def _up(board: Board, service: str, noun: str) -> str:
    """Say how many of a service answer over HTTP, and what the last look at Redis saw them hold."""
    if board.redis is None:
        return ""
    asked = sum(each.service == service for each in board.said)
    if not asked:
        return f"last seen {_instances(_alive(board.redis, service), noun)}"
    up = answering(board.said, service)
    held = sum(worker.held or 0 for worker in board.redis.workers if worker.service == service)
    holding = f", held *{words.count(held)}*" if service != "ingestor" else ""
    return f"*{up}* of {asked} {noun}{'' if asked == 1 else 's'} up{holding}"


def _alive(seen: RedisBoard, service: str) -> int:
    return sum(worker.service == service for worker in seen.workers)


def _instances(number: int, noun: str) -> str:
    return f"*{words.count(number)}* {noun}{'' if number == 1 else 's'} alive" if number else f"no {noun} alive"


def _oldest(seen: RedisBoard, queue: str) -> str:
    if not seen.depths[queue]:
        return "empty"
    return f"oldest *{words.age(seen.age(queue))}*"
