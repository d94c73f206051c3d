"""What the chaos tests share: settings that make recovery quick, the rules, and the wait for calm."""

import os
import random
import time
from collections.abc import Iterable
from typing import Any

import psycopg

from mutt import keys
from tests.chaos.blows import Blows
from tests.chaos.books import left_over
from tests.chaos.load import Ledger
from tests.harness.processes import ServiceProcess
from tests.harness.waiting import wait_for

SECONDS = float(os.environ.get("MUTT_CHAOS_SECONDS", "12"))
RECOVERY_SECONDS = 90.0
TIMEOUT = 60 + 2 * SECONDS + 2 * RECOVERY_SECONDS
SENDERS = 4

RULES = (("PAGE", "Page_and_ticket"), ("MAIL", "Email_only"), ("LOG", "Log_only"))
QUICK_HEARTBEATS = {
    "ALERTER_HEARTBEAT_INTERVAL": "1",
    "ALERTER_JANITOR_TIMEOUT": "3",
    "MOOG_HEARTBEAT_INTERVAL": "1",
    "MOOG_JANITOR_TIMEOUT": "3",
    "BRPOPLPUSH_TIMEOUT": "1",
}
SETTINGS: dict[str, dict[str, str]] = {
    "ingestor": {},
    "alerter": {"UNHANDLED_THRESHOLD": "20", "ALERTER_DATABASE_GRACE": "0.3", **QUICK_HEARTBEATS},
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


def make_rules(database_url: str) -> None:
    """Make a rule for each word that the senders' messages begin with, but for the unmatched ones."""
    with psycopg.connect(database_url) as connection:
        for priority, (words, handling) in enumerate(RULES, start=1):
            connection.execute(
                "INSERT INTO alert_rules (match_string, match_type, priority, prod_handling, dev_handling,"
                " team_assignment) VALUES (%s, 'contains', %s, %s, 'Log_only', 'NETO')",
                (words, priority, handling),
            )


def chosen_seed() -> int:
    """Return MUTT_CHAOS_SEED, or a fresh seed, and print it: pytest shows it when the test fails."""
    seed = int(os.environ.get("MUTT_CHAOS_SEED") or random.SystemRandom().randrange(10**9))
    print(f"MUTT_CHAOS_SEED={seed}")  # noqa: T201
    return seed


def tell(ledger: Ledger, blows: Blows) -> None:
    """Print what a reader of a failure wants to know first; refuse a run that proves nothing."""
    blows_told = ", ".join(f"{victim} {times}" for victim, times in blows.struck.items())
    print(f"{len(ledger.acknowledged)} events, {ledger.repeated} repetitions, blows: {blows_told}")  # noqa: T201
    assert len(ledger.acknowledged) > 10 * SECONDS


def wait_settled(client: Any, services: Iterable[ServiceProcess]) -> None:
    """Wait until all services are well and nothing waits anywhere: no orphan list either."""
    for service in services:
        service.wait_healthy(RECOVERY_SECONDS)
    seen: list[dict[str, int]] = []
    least, until = float("inf"), time.monotonic() + RECOVERY_SECONDS

    def ended() -> bool:
        # Twice in a row, since an entry may move from a list not yet counted to one that was.
        nonlocal least, until
        seen[:] = [*seen[-1:], left_over(client)]
        left = sum(seen[-1].values())
        if left < least:  # it goes on, however slow the machine is
            least, until = left, time.monotonic() + RECOVERY_SECONDS
        return (len(seen) > 1 and not any(seen)) or time.monotonic() > until

    wait_for(ended, "empty queues and processing lists", 20 * RECOVERY_SECONDS)
    if any(seen):
        logs = "\n".join(f"--- {service.log_file.name}\n{service.log()[-3000:]}" for service in services)
        raise AssertionError(f"nothing became shorter for {RECOVERY_SECONDS:g} s; left: {seen[-1]}\n{logs}")
    print(f"{client.llen(keys.POISON)} given up")  # noqa: T201
