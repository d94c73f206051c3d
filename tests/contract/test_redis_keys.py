"""Every Redis key appears under its name, with its type, when its time comes."""

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import pytest
import redis

from tests.contract.sheet import Row, params
from tests.contract.sheet import redis_keys as key_rows
from tests.contract.stack import KEYS, LOG, PAGE, POD, SHORT, UNMATCHED, Stack, event, running
from tests.harness.credentials import INGEST_API_KEY
from tests.harness.processes import ServiceProcess
from tests.harness.servers import Databases
from tests.harness.waiting import wait_for

STEP_TIMEOUT = 60.0  # seconds; what does not come by then is told by the row's own test


class Watch:
    """What was seen of each key: its type, and the longest lifetime it had (-1: for ever)."""

    def __init__(self, client: "redis.Redis") -> None:
        self.client: Any = client
        self.seen: dict[str, tuple[str, int]] = {}

    def look(self) -> set[str]:
        """Note all keys that are there now and return their names."""
        names = [name.decode() for name in self.client.scan_iter(match="mutt:*", count=1000)]
        for name in names:
            kind, ttl = self.client.type(name).decode(), self.client.ttl(name)
            if kind != "none":
                self.seen[name] = (kind, max(ttl, self.seen.get(name, ("", -2))[1]))
        for name in self.client.pubsub_channels("mutt:*"):
            self.seen[name.decode()] = ("pubsub", -1)
        return set(names)

    def until(self, *names: str) -> None:
        """Look until the keys are there at once; gives up quietly, since their own tests tell."""
        with suppress(AssertionError):
            wait_for(lambda: set(names) <= self.look(), ", ".join(names), STEP_TIMEOUT)

    def until_gone(self, *names: str) -> None:
        """Look until none of the keys is left; gives up quietly."""
        with suppress(AssertionError):
            wait_for(lambda: not set(names) & self.look(), f"the end of {', '.join(names)}", STEP_TIMEOUT)


@contextmanager
def stopped(service: ServiceProcess) -> Iterator[None]:
    """Let a service stand still, so that its input queue can be looked at."""
    service.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        service.signal(signal.SIGCONT)


def queues(stack: Stack, watch: Watch) -> None:
    """Hold each step of an event's way for long enough to be seen."""
    alerter, forwarder = stack.services["alerter"], stack.services["moog-forwarder"]
    with stopped(alerter):
        stack.post(LOG, LOG)  # the first goes to the claim that waits in Redis, whoever holds it
        watch.until("mutt:ingest_queue")
    with stopped(forwarder):
        stack.post(PAGE, PAGE, LOG, UNMATCHED)
        watch.until("mutt:alert_queue")
    with psycopg.connect(stack.database_url) as connection:
        connection.execute("LOCK TABLE event_audit_log IN ACCESS EXCLUSIVE MODE")
        stack.post(PAGE)
        watch.until(f"mutt:processing:alerter:{POD}")
    stack.moogsoft.behave(slow=5, times=1)
    stack.post(PAGE)
    watch.until(f"mutt:processing:moog:{POD}", "mutt:rate_limit:moog")
    broken = [event(LOG), {"hostname": "no message"}]
    stack.request("ingestor", "http", "POST", "/api/v2/ingest", broken, INGEST_API_KEY)
    stack.request("webui", "http", "GET", "/api/v2/metrics", None, KEYS["webui"])
    watch.until("mutt:quarantine:ingest")


def audit_apart(stack: Stack, watch: Watch) -> None:
    """Take PostgreSQL away from the alerter, give it back, and hold the writing of what waited."""
    stack.database_proxy.cut()
    stack.post(PAGE)
    watch.until("mutt:audit:pending")
    with psycopg.connect(stack.database_url) as connection:
        connection.execute("LOCK TABLE event_audit_log IN ACCESS EXCLUSIVE MODE")
        stack.database_proxy.mend()
        watch.until(f"mutt:processing:audit:{POD}")
    watch.until_gone("mutt:audit:pending", f"mutt:processing:audit:{POD}")


def failures(stack: Stack, watch: Watch) -> None:
    """Let Moogsoft refuse, fail and hang, and feed the alerter what is no entry."""
    remediation = stack.services["remediation"]
    with stopped(remediation):
        stack.moogsoft.behave(status=422, times=1)
        stack.post(PAGE)
        stack.redis.lpush("mutt:ingest_queue", b"no entry")
        watch.until("mutt:dlq:moog", "mutt:dlq:alerter")
    watch.until("mutt:poison:permanent")
    stack.moogsoft.behave(status=503)
    stack.post(PAGE, PAGE, PAGE, PAGE, PAGE, PAGE)
    watch.until("mutt:retry:moog", "mutt:circuit:moog:failures")
    watch.until("mutt:circuit:moog:state", "mutt:circuit:moog:opened_at")
    stack.moogsoft.behave(slow=5)
    watch.until("mutt:circuit:moog:probe")
    stack.moogsoft.behave()


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory, databases: Databases) -> Iterator[dict[str, tuple[str, int]]]:
    """Run traffic through a stack of its own and return what was seen."""
    with running(tmp_path_factory.mktemp("keys"), databases, SHORT) as stack:
        watch = Watch(stack.redis)
        watch.until(f"mutt:heartbeat:alerter:{POD}", f"mutt:heartbeat:moog:{POD}")
        stack.redis.set("mutt:config:alerter_defer_sleep_ms", "200")
        for step in (queues, audit_apart, failures):
            step(stack, watch)
        watch.look()
        yield watch.seen


@params(key_rows())
def test_a_key_appears_with_its_type_and_lifetime(row: Row, seen: dict[str, tuple[str, int]]) -> None:
    facts = row.facts
    pattern = re.sub(r"\\\{\w+\\\}", "[^:]+(:[0-9]+)?", re.escape(facts["key"]))
    is_channel = facts["type"] == "pubsub"  # a channel is no key: both may bear one pattern
    found = {
        name: (kind, ttl)
        for name, (kind, ttl) in seen.items()
        if re.fullmatch(pattern, name) and (kind == "pubsub") == is_channel
    }
    assert found, f"{facts['key']} was never there; seen: {sorted(seen)}"
    for name, (kind, ttl) in found.items():
        assert kind == facts["type"], name
        assert ("ttl" not in facts) or (0 < ttl <= facts["ttl"]), f"{name} lives for {ttl} s"
