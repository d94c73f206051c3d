"""Load by senders that repeat, while kill -9 hits services and Redis at random: nothing lost, nothing doubled.

MUTT_CHAOS_SEED repeats a run's blows and events (their interleaving is the machine's); MUTT_CHAOS_SECONDS lengthens it.
"""

import os
import random
import threading
import time
from collections import Counter

import psycopg
import pytest
import redis

from scripts.devtools.embedded import RedisServer
from tests.chaos.books import faults, left_over
from tests.chaos.load import Ledger, load
from tests.harness.moogsoft import MoogStandIn
from tests.harness.processes import ServiceProcess, StartService
from tests.harness.waiting import wait_for

SECONDS = float(os.environ.get("MUTT_CHAOS_SECONDS", "20"))
SENDERS = 4
RECOVERY_SECONDS = 90.0
BETWEEN_BLOWS = (0.2, 1.0)  # seconds
DOWN = (0.0, 0.6)  # seconds that a victim stays dead

RULES = (("PAGE", "Page_and_ticket"), ("MAIL", "Email_only"), ("LOG", "Log_only"))
QUICK_HEARTBEATS = {
    "ALERTER_HEARTBEAT_INTERVAL": "1",
    "ALERTER_JANITOR_TIMEOUT": "3",
    "MOOG_HEARTBEAT_INTERVAL": "1",
    "MOOG_JANITOR_TIMEOUT": "3",
    "BRPOPLPUSH_TIMEOUT": "1",
}
SERVICES: dict[str, dict[str, str]] = {
    "ingestor": {},
    "alerter": {"UNHANDLED_THRESHOLD": "20", **QUICK_HEARTBEATS},
    "moog-forwarder": {
        "MOOG_RATE_LIMIT": "1000",
        "MOOG_RETRY_BASE_DELAY": "0.2",
        "MOOG_CIRCUIT_OPEN_SECONDS": "1",
        **QUICK_HEARTBEATS,
    },
    "remediation": {
        "REMEDIATION_SCAN_INTERVAL": "0.2",
        "REMEDIATION_BACKOFF_BASE": "0.5",
        "REMEDIATION_LEASE_SECONDS": "1",
        "MOOG_CIRCUIT_OPEN_SECONDS": "1",
    },
}


@pytest.fixture
def rules(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        for priority, (words, handling) in enumerate(RULES, start=1):
            connection.execute(
                "INSERT INTO alert_rules (match_string, match_type, priority, prod_handling, dev_handling,"
                " team_assignment) VALUES (%s, 'contains', %s, %s, 'Log_only', 'NETO')",
                (words, priority, handling),
            )


class Blows:
    """Strikes at random, one victim at a time, and lets each come back as a supervisor would."""

    def __init__(
        self, seed: int, services: dict[str, ServiceProcess], server: RedisServer, moogsoft: MoogStandIn
    ) -> None:
        self._random = random.Random(seed)
        self._services = services
        self._redis = server
        self._moogsoft = moogsoft
        self.struck: list[str] = []

    def strike_for(self, seconds: float) -> None:
        """Strike until the time is over; everything runs again afterwards."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._wait(BETWEEN_BLOWS)
            victim = self._random.choice([*self._services, "redis", "moogsoft"])
            self.struck.append(victim)
            if victim == "redis":
                self._redis.kill()
                self._wait(DOWN)
                self._redis.start()
            elif victim == "moogsoft":
                status = self._random.choice((400, 429, 500, 503))
                self._moogsoft.behave(status=status, retry_after=1, times=self._random.randint(1, 8))
            else:
                self._services[victim].kill()
                self._wait(DOWN)
                self._services[victim].start(wait=False)
        self._moogsoft.behave()

    def _wait(self, bounds: tuple[float, float]) -> None:
        threading.Event().wait(self._random.uniform(*bounds))


@pytest.mark.timeout(60 + 2 * SECONDS + 2 * RECOVERY_SECONDS)
@pytest.mark.usefixtures("rules")
def test_killed_at_random_under_load_nothing_is_lost_and_nothing_doubled(
    own_redis: RedisServer, database_url: str, moog_stand_in: MoogStandIn, start_service: StartService
) -> None:
    seed = int(os.environ.get("MUTT_CHAOS_SEED") or random.SystemRandom().randrange(10**9))
    print(f"MUTT_CHAOS_SEED={seed}")  # noqa: T201  # pytest shows it when the test fails
    services = {name: start_service(name, wait=False, **settings) for name, settings in SERVICES.items()}
    for service in services.values():
        service.wait_healthy()
    blows = Blows(seed, services, own_redis, moog_stand_in)
    with load(SENDERS, seed, f"{services['ingestor'].url}/api/v2/ingest") as ledger:
        blows.strike_for(SECONDS)
    print(summary(ledger, blows))  # noqa: T201  # likewise
    with redis.Redis.from_url(own_redis.url) as client:
        wait_settled(client, services)
        assert faults(ledger, client, database_url, moog_stand_in.alerts()) == []
    expect_work(ledger)
    assert {name: service.terminate() for name, service in services.items()} == dict.fromkeys(services, 0)


def wait_settled(client: redis.Redis, services: dict[str, ServiceProcess]) -> None:
    """Wait until all services are well and nothing waits anywhere: no orphan list either."""
    for service in services.values():
        service.wait_healthy(RECOVERY_SECONDS)
    seen: list[dict[str, int]] = []

    def settled() -> bool:
        seen.append(left_over(client))
        return not any(seen[-2:])

    try:
        wait_for(settled, "empty queues and processing lists", RECOVERY_SECONDS)
    except AssertionError as error:
        logs = "\n".join(f"--- {name}\n{service.log()[-3000:]}" for name, service in services.items())
        raise AssertionError(f"{error}; left: {seen[-1]}\n{logs}") from None


def expect_work(ledger: Ledger) -> None:
    """Refuse a run that proves nothing because hardly anything got through."""
    assert len(ledger.acknowledged) > 20 * SECONDS


def summary(ledger: Ledger, blows: Blows) -> str:
    """Return what a reader of a failure wants to know first."""
    counts = ", ".join(f"{victim} {times}" for victim, times in Counter(blows.struck).items())
    return f"{len(ledger.acknowledged)} events, {ledger.repeated} repetitions, blows: {counts}"
