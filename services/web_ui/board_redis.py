"""What Redis knows of the whole of MUTT, in three round trips: queues, counters, circuit, limiter, heartbeats."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import msgspec
from redis.exceptions import ResponseError

from mutt import keys
from mutt.dynamic_keys import ALL
from mutt.envelope import Envelope, split_entry
from mutt.errors import EntryError
from mutt.figures import MoogAnswer, Refused, Report
from mutt.verdict import Worker
from services.web_ui.context import Context
from services.web_ui.stored_config import StoredConfig

MINUTES, HOURS, DAYS = 121, 48, 30
SCANNED = 1000
SETTINGS = (
    "max_ingest_queue_size",
    "alerter_queue_warn_threshold",
    "alerter_queue_shed_threshold",
    "alerter_shed_mode",
    "moog_rate_limit",
)

Record = TypeVar("Record")

_envelope = msgspec.json.Decoder(Envelope)
_report = msgspec.json.Decoder(Report)
_answer = msgspec.json.Decoder(MoogAnswer)
_refused = msgspec.json.Decoder(Refused)


@dataclass(frozen=True, slots=True)
class Counters:
    """Events accepted by minute and by hour, newest first, the one under way first; whether any ever came."""

    minutes: list[int]
    hours: list[int]
    ever: bool

    @property
    def rate(self) -> float:
        """Return events a second in the last full minute."""
        return self.minutes[1] / 60


@dataclass(frozen=True, slots=True)
class Circuit:
    """The circuit breaker in front of Moogsoft."""

    state: str
    failures: int
    opened_at: datetime | None


@dataclass(frozen=True, slots=True)
class RedisBoard:
    """One look at Redis."""

    at: datetime
    depths: dict[str, int]
    oldest: dict[str, datetime | None]
    dead_error: str
    counters: Counters
    circuit: Circuit
    limiter_free: int
    settings: dict[str, Any]
    workers: tuple[Worker, ...]
    reports: dict[tuple[str, str], Report] = field(default_factory=dict)
    answer: MoogAnswer | None = None
    refused: Refused | None = None

    def of(self, service: str) -> list[Report]:
        """Return what the living instances of a service report of their work."""
        return [report for (name, _), report in self.reports.items() if name == service]

    @property
    def refused_at(self) -> datetime | None:
        """Return when an ingestor refused a request last, None where none did."""
        return _moment(self.refused.at) if self.refused is not None else None

    @property
    def ingest_ports(self) -> list[int]:
        """Return the ports that ingestors listen on, as they report them."""
        return sorted({port for each in self.of("ingestor") if (port := urlsplit(each.health).port)})

    @property
    def answered_at(self) -> datetime | None:
        """Return when Moogsoft answered last, None where it never did."""
        return _moment(self.answer.at) if self.answer is not None else None

    @property
    def dead(self) -> int:
        """Return how many alerts and events were given up."""
        return self.depths["dlq_alerter"] + self.depths["dlq_moog"] + self.depths["poison"]

    def age(self, queue: str) -> float | None:
        """Return how long the next entry of a queue has waited, None where none waits or it cannot be read."""
        then = self.oldest.get(queue)
        return None if then is None else max(0.0, (self.at - then).total_seconds())


async def look(parts: Context) -> RedisBoard:
    """Return what Redis holds now; raises RedisError."""
    redis, names, settings = parts.redis, parts.settings.names, await _settings(parts)
    seconds, microseconds = await redis.time()
    at = datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=microseconds)
    lists = {
        "ingest": names.ingest_queue,
        "alerts": names.alert_queue,
        "audit_pending": keys.AUDIT_PENDING,
        "dlq_alerter": names.alerter_dlq,
        "dlq_moog": names.moog_dlq,
        "poison": keys.POISON,
        "quarantine": keys.QUARANTINE,
    }
    since = (seconds - parts.settings.beating.rate_period) * 1_000_000 + microseconds
    async with redis.pipeline(transaction=False) as pipe:
        for key in lists.values():
            pipe.llen(key)
            pipe.lindex(key, -1)
        pipe.zcard(keys.RETRY_MOOG)
        pipe.zcount(names.rate_limit, f"({since:.0f}", "+inf")
        pipe.mget([keys.CIRCUIT_STATE, keys.CIRCUIT_FAILURES, keys.CIRCUIT_OPENED_AT])
        pipe.mget(_counters(at))
        pipe.mget([keys.MOOG_ANSWER, keys.INGEST_REFUSED])
        answers: list[Any] = await pipe.execute()
    depths = {name: int(answers[index * 2]) for index, name in enumerate(lists)}
    entries = {name: _opened(answers[index * 2 + 1]) for index, name in enumerate(lists)}
    retries, used, circuit, counts, (answer, refused) = answers[len(lists) * 2 :]
    workers, reports = await _workers(parts, at)
    numbers = [whole(key, value) for key, value in zip(_counters(at), counts, strict=True)]
    limit = int(settings["moog_rate_limit"])
    return RedisBoard(
        at=at,
        depths={**depths, "retries": int(retries)},
        oldest={name: _moment(entry.received_at) if entry else None for name, entry in entries.items()},
        dead_error=next(
            (text for name in ("poison", "dlq_moog", "dlq_alerter") if (text := _error(entries[name]))), ""
        ),
        counters=Counters(numbers[:MINUTES], numbers[MINUTES : MINUTES + HOURS], any(numbers)),
        circuit=_circuit(circuit),
        limiter_free=max(0, limit - int(used)),
        settings=settings,
        workers=workers,
        reports=reports,
        answer=_read(_answer, answer),
        refused=_read(_refused, refused),
    )


async def _settings(parts: Context) -> dict[str, Any]:
    wanted = [ALL[name] for name in SETTINGS]
    return {each["key"]: each["effective"] for each in await StoredConfig(parts).show(*wanted)}


def _counters(at: datetime) -> list[str]:
    return [
        *(keys.metrics_minute(at - timedelta(minutes=back)) for back in range(MINUTES)),
        *(keys.metrics_hour(at - timedelta(hours=back)) for back in range(HOURS)),
        *(keys.metrics_day(at - timedelta(days=back)) for back in range(DAYS)),
    ]


class _Instance(NamedTuple):
    service: str
    pod: str
    heartbeat: str
    timeout: float
    processing: str | None


async def _workers(parts: Context, at: datetime) -> tuple[tuple[Worker, ...], dict[tuple[str, str], Report]]:
    """Return every instance that beats, by service and name, and what these report."""
    found = await _beating(parts)
    async with parts.redis.pipeline(transaction=False) as pipe:
        for each in found:
            held = keys.per_pod(each.processing, each.pod) if each.processing else ""
            pipe.pttl(each.heartbeat)
            pipe.llen(held)
            pipe.lindex(held, -1)
            pipe.get(keys.figures(each.service, each.pod))
        pipe.pttl(keys.REMEDIATION_LEASE)
        pipe.get(keys.REMEDIATION_LEASE)
        *answers, lease, holder = await pipe.execute()
    workers: list[Worker] = []
    reports: dict[tuple[str, str], Report] = {}
    for each, (left, held, oldest, told) in zip(found, _fours(answers), strict=True):
        if left <= 0:
            continue
        age = each.timeout - left / 1000
        lag = _lag(oldest, at)
        workers.append(Worker(each.service, each.pod, age, each.timeout, held if each.processing else None, lag))
        if (report := _read(_report, told)) is not None:
            reports[each.service, each.pod] = report
    if holder is not None and lease > 0:
        name, timeout = holder.decode("utf-8", "replace").rpartition(":")[0], parts.settings.beating.remediation_timeout
        workers.append(Worker("remediation", name or "remediation", timeout - lease / 1000, timeout))
    return tuple(workers), reports


async def _beating(parts: Context) -> list[_Instance]:
    names, beating = parts.settings.names, parts.settings.beating
    services: list[tuple[str, str, float, str | None]] = [
        ("ingestor", keys.INGESTOR_HEARTBEAT_PREFIX, keys.INGESTOR_TIMEOUT, None),
        ("alerter", names.alerter_heartbeat, beating.alerter_timeout, names.alerter_processing),
        ("moog-forwarder", names.moog_heartbeat, beating.moog_timeout, names.moog_processing),
    ]
    started = time.perf_counter()
    found: list[_Instance] = []
    for service, prefix, timeout, processing in services:
        async for key in parts.redis.scan_iter(match=f"{prefix}:*", count=SCANNED):
            heartbeat = key.decode("utf-8", "replace")
            found.append(_Instance(service, heartbeat.removeprefix(f"{prefix}:"), heartbeat, timeout, processing))
    parts.instruments.redis_scan.observe(time.perf_counter() - started)
    return sorted(found, key=lambda each: each[:2])


def _fours(answers: list[Any]) -> Iterable[tuple[Any, ...]]:
    return zip(*[iter(answers)] * 4, strict=True)


def _lag(entry: bytes | None, at: datetime) -> float | None:
    """Return how long ago the oldest entry that an instance holds was received, None where it holds none."""
    envelope = _opened(entry)
    then = _moment(envelope.received_at) if envelope is not None else None
    return None if then is None else max(0.0, (at - then).total_seconds())


def _read(decoder: msgspec.json.Decoder[Record], data: bytes | None) -> Record | None:
    """Return a record; what another version wrote in a way that this one cannot read counts as none."""
    try:
        return None if data is None else decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _circuit(values: list[bytes | None]) -> Circuit:
    state, _, opened = (None if value is None else value.decode("ascii", "replace") for value in values)
    try:
        opened_at = datetime.fromtimestamp(float(opened), UTC) if opened else None
    except ValueError:
        opened_at = None
    return Circuit(state or "CLOSED", whole(keys.CIRCUIT_FAILURES, values[1]), opened_at)


def whole(key: str, value: bytes | None) -> int:
    """Return a counter; raises ResponseError, which names its key, where it holds something else."""
    try:
        return int(value or 0)
    except ValueError:
        raise ResponseError(f"{key} holds {value!r:.60}, which is no whole number") from None


def _opened(entry: bytes | None) -> Envelope | None:
    if entry is None:
        return None
    try:
        return _envelope.decode(split_entry(entry)[0])
    except (EntryError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _error(entry: Envelope | None) -> str:
    return entry.last_error.message if entry is not None and entry.last_error is not None else ""
