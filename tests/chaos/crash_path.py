"""A path of MUTT's as a workload that a process dies in: what is there before, what happens, what must hold after."""

import json
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import msgspec

from mutt import keys
from mutt.events import Envelope, decided_entry, iso
from mutt.ids import uuid7
from mutt.settings import QueueNames
from tests.chaos.crash_stage import Stage, Victim
from tests.chaos.points import STEPS
from tests.chaos.stage import RULES

NAMES = QueueNames()
HOST = "host1.example"


class Path(ABC):
    """One workload. `victim` is the service or script that dies, `name` is what points.py calls the path."""

    name: ClassVar[str]
    victim: ClassVar[str]
    arguments: ClassVar[tuple[str, ...]] = ()
    environment: ClassVar[dict[str, str]] = {}
    has_two_runs: ClassVar[bool] = False  # though nothing dies: the first run leaves something to the next

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    @property
    def steps(self) -> set[str]:
        """The steps that this workload has to come to."""
        return {step.name for step in STEPS if self.name in step.paths}

    def prepare(self) -> None:  # noqa: B027  (a workload may need nothing)
        """Put there what the first run finds."""

    @abstractmethod
    def live(self, victim: Victim) -> bool:
        """Let the first run work; False when it was killed at its point, True when the workload was over."""

    def revive(self) -> None:  # noqa: B027  (or break nothing)
        """Mend what the workload broke, before the next run."""

    def live_on(self, victim: Victim) -> bool:
        """Let the next run come to the end; False when it died, which it must not."""
        return self.live(victim)

    @abstractmethod
    def faults(self) -> Iterable[str]:
        """Tell what is not as promised."""

    def start(self, point: str = "") -> Victim:
        """Start the victim."""
        return self.stage.start(self.victim, point, *self.arguments, **self.environment)

    def seen(self) -> set[str]:
        """Return the steps that were come to since the point was prepared."""
        return set(self.stage.trace.read_text(encoding="utf-8").split()) if self.stage.trace.exists() else set()

    def all_seen(self) -> bool:
        """Tell whether the workload came to all of its steps."""
        return self.steps <= self.seen()


class Worker(Path):
    """A service that runs until nothing waits any more and all of its steps were come to."""

    again = False  # in the next run, which need not come to every step once more

    def live(self, victim: Victim) -> bool:
        """Act, then wait until it is over."""
        return self.act(victim) and self.stage.wait(self.is_over_and_seen, victim)

    def live_on(self, victim: Victim) -> bool:
        """Only wait until it is over."""
        self.again = True
        return self.stage.wait(self.is_over_and_seen, victim)

    def act(self, victim: Victim) -> bool:
        """Do what the workload does while the first run lives; False when it died meanwhile."""
        return victim is not None

    def is_over(self) -> bool:
        """Tell whether nothing waits and nothing is held."""
        return not waiting(self.stage.left_over())

    def is_over_and_seen(self) -> bool:
        """Tell whether it is over, and every step was come to where it has to be."""
        return self.is_over() and (self.again or self.all_seen())


def waiting(lists: dict[str, int]) -> set[str]:
    """Return those lists of which nothing may be left: not where dead letters and the like lie visibly."""
    at_rest = {NAMES.alerter_dlq, NAMES.moog_dlq, keys.POISON, keys.QUARANTINE, NAMES.alert_queue}
    return {key for key in lists if key not in at_rest and key.startswith(BUSY)}


BUSY = (NAMES.ingest_queue, "mutt:processing:", keys.AUDIT_PENDING, keys.RETRY_MOOG)


def event(message: str, *, age: timedelta = timedelta(), hostname: str = HOST) -> tuple[str, bytes]:
    """Return `(event_id, entry)` of an event as the ingestor queues it, received so long ago."""
    at = datetime.now(UTC) - age
    event_id = uuid7(int(at.timestamp() * 1000), os.urandom(10))
    fields = {"correlation_id": event_id, "timestamp": iso(at), "message": message, "hostname": hostname}
    return event_id, msgspec.json.encode({"_mutt": Envelope(event_id, iso(at), iso(at)), **fields})


def decided(entry: bytes, handling: str = "Page_and_ticket") -> bytes:
    """Return an event with a decision, as alerts and rows that wait have it."""
    return decided_entry(entry, handling=handling, team="NETO", rule_id=1, rule_version=1, environment="prod")


def make_rules(stage: Stage) -> None:
    """Make a rule for each word that messages begin with."""
    for priority, (words, handling) in enumerate(RULES, start=1):
        stage.sql(
            "INSERT INTO alert_rules (match_string, match_type, priority, prod_handling, dev_handling,"
            " team_assignment) VALUES (%s, 'contains', %s, %s, 'Log_only', 'NETO')",
            (words, priority, handling),
        )


def entries(stage: Stage, key: str) -> list[dict[str, Any]]:
    """Return what a list or a set of retries holds."""
    is_set = stage.redis.type(key) == b"zset"
    raw: Any = stage.redis.zrange(key, 0, -1) if is_set else stage.redis.lrange(key, 0, -1)
    return [json.loads(entry[36:] if is_set else entry) for entry in raw]


def ids(found: Iterable[dict[str, Any]]) -> Counter[str]:
    """Count entries by event id."""
    return Counter(entry["_mutt"]["event_id"] for entry in found)


def audited(stage: Stage) -> Counter[str]:
    """Count audit rows by event id, but for the meta-alerts'."""
    rows = stage.sql("SELECT event_id::text FROM event_audit_log WHERE source IS DISTINCT FROM 'mutt'")
    return Counter(event_id for (event_id,) in rows)


def compare(what: str, found: Counter[str], wanted: Iterable[str]) -> list[str]:
    """Tell where things are not there once each: what is missing, what is there twice, what should not be there."""
    expected = Counter(dict.fromkeys(wanted, 1))
    faults = [("missing", expected - found), ("too many", found - expected)]
    return [f"{what}: {len(some)} {how}: {sorted(some.elements())[:4]}" for how, some in faults if some]


def orphans(stage: Stage) -> list[str]:
    """Tell of lists and leases that nobody will look after."""
    left = stage.left_over()
    faults = [f"{left[key]} entries are left in {key}" for key in sorted(waiting(left))]
    counts: Any = stage.redis.scan_iter(f"{keys.RECOVERIES_PREFIX}:*")
    faults += [f"recovery counts are left in {key.decode()}" for key in counts]
    if stage.redis.exists(keys.CIRCUIT_PROBE):
        faults.append("the probe's lease is left")
    return faults
