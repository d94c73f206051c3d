"""The remediation service on a real Redis: what comes back, when, and when not."""

import json
import time
from typing import Any

import pytest
import redis

from mutt import keys
from mutt.envelope import amend
from tests.harness.processes import ServiceProcess, StartService
from tests.harness.waiting import wait_for
from tests.service.dead_letters import dead, dead_alert, event, message_of, mutt_of, shed

INGEST, ALERTS = "mutt:ingest_queue", "mutt:alert_queue"
ALERTER_DLQ, MOOG_DLQ = "mutt:dlq:alerter", "mutt:dlq:moog"
QUICK = {"REMEDIATION_SCAN_INTERVAL": "0.1", "REMEDIATION_LEASE_SECONDS": "1", "REMEDIATION_BACKOFF_BASE": "0.5"}
NAME = "mutt_remediation_replayed_total"


@pytest.fixture
def client(redis_url: str) -> Any:
    return redis.Redis.from_url(redis_url)


def start_quick(start_service: StartService, *, wait: bool = True, **environment: str) -> ServiceProcess:
    """Start a remediation that scans ten times a second."""
    return start_service("remediation", wait=wait, **(QUICK | environment))


def wait_scans(service: ServiceProcess, scans: int = 3) -> None:
    """Wait until so many scans have begun and ended after now."""

    def done() -> float:
        return service.metric("mutt_remediation_dlq_scan_duration_seconds_count") or 0

    wanted = done() + scans + 1  # one may be under way
    wait_for(lambda: done() >= wanted, f"{scans} scans")


def entries(client: Any, key: str) -> list[bytes]:
    """Return a list, what a claim takes first in front."""
    listed: list[bytes] = client.lrange(key, 0, -1)
    return listed[::-1]


def wait_length(client: Any, key: str, length: int) -> list[bytes]:
    wait_for(lambda: client.llen(key) == length, f"{length} entries in {key}")
    return entries(client, key)


def test_dead_letters_come_back_when_their_time_is_over_the_oldest_first(
    client: Any, start_service: StartService
) -> None:
    base = 6
    service = start_quick(start_service, REMEDIATION_BACKOFF_BASE=str(base))
    waiting_long = [dead(f"old {number}", age=600) for number in range(3)]
    died = time.monotonic()
    client.lpush(MOOG_DLQ, dead_alert("alert", age=600, remediation_attempts=1))
    client.lpush(ALERTER_DLQ, *waiting_long, dead("fresh"))
    first = wait_length(client, INGEST, 3)
    assert [message_of(entry) for entry in first] == ["old 0", "old 1", "old 2"]
    assert client.llen(ALERTER_DLQ) == 1
    back = wait_length(client, INGEST, 4)
    assert time.monotonic() - died >= base - 0.1
    assert message_of(back[3]) == "fresh"
    assert {(mutt_of(entry)["remediation_attempts"], mutt_of(entry)["retry_count"]) for entry in back} == {(1, 0)}
    (alert,) = wait_length(client, ALERTS, 1)
    assert mutt_of(alert)["remediation_attempts"] == 2
    wait_for(lambda: service.metric(NAME, source="alerter", status="success") == 4, "4 counted")
    wait_for(lambda: service.metric(NAME, source="moog", status="success") == 1, "1 counted")
    assert client.llen(ALERTER_DLQ) == client.llen(MOOG_DLQ) == 0


def test_a_letter_whose_attempts_are_spent_is_given_up_visibly(client: Any, start_service: StartService) -> None:
    spent, spent_alert = dead("spent", remediation_attempts=3), dead_alert("spent too", remediation_attempts=3)
    client.lpush(ALERTER_DLQ, spent, b"\xffnot an entry")
    client.lpush(MOOG_DLQ, spent_alert)
    service = start_quick(start_service)
    assert set(wait_length(client, keys.POISON, 3)) == {
        amend(spent, kind="alerter"),
        amend(spent_alert, kind="moog"),
        b"\xffnot an entry",
    }
    wait_for(lambda: service.metric(NAME, source="alerter", status="fail") == 2, "2 counted")
    wait_for(lambda: service.metric(NAME, source="moog", status="fail") == 1, "1 counted")
    wait_for(lambda: service.metric("mutt_remediation_poison_depth") == 3, "the depth of the poison list")
    assert client.llen(INGEST) == client.llen(ALERTS) == 0


def test_bytes_that_nobody_can_read_end_in_the_poison_list_after_their_attempts(
    client: Any, start_service: StartService
) -> None:
    mutt = json.loads(dead("x", age=600))["_mutt"]
    client.lpush(ALERTER_DLQ, json.dumps({"_mutt": mutt, "raw_base64": "/w=="}, separators=(",", ":")))
    start_quick(start_service, REMEDIATION_BACKOFF_BASE="0.1")
    (given_up,) = wait_length(client, keys.POISON, 1)
    assert mutt_of(given_up)["remediation_attempts"] == 3
    assert json.loads(given_up)["raw_base64"] == "/w=="
    assert client.llen(INGEST) == client.llen(ALERTER_DLQ) == 0


def test_what_was_shed_comes_back_at_once_without_spending_an_attempt(client: Any, start_service: StartService) -> None:
    client.lpush(ALERTER_DLQ, shed("shed"))
    start_quick(start_service, REMEDIATION_BACKOFF_BASE="600")
    (back,) = wait_length(client, INGEST, 1)
    assert "shedding_reason" not in mutt_of(back)
    assert "remediation_attempts" not in mutt_of(back)


def test_the_alerters_letters_wait_while_alerts_or_retries_pile_up(client: Any, start_service: StartService) -> None:
    client.set(keys.config("alerter_queue_warn_threshold"), 10)
    client.lpush(ALERTS, *(b"alert %d" % number for number in range(6)))
    client.zadd(keys.RETRY_MOOG, {f"retry {number}": 0 for number in range(4)})
    client.lpush(ALERTER_DLQ, *(shed(str(number)) for number in range(5)))
    service = start_quick(start_service, DYNAMIC_CONFIG_ENABLED="true")
    wait_scans(service)
    assert client.llen(INGEST) == 0
    client.set(keys.config("alerter_queue_warn_threshold"), 11)
    # One more alert has room; each scan finds that room anew, since nobody claims.
    wait_length(client, INGEST, 5)
    assert [message_of(entry) for entry in entries(client, INGEST)] == ["0", "1", "2", "3", "4"]


def test_the_ingest_queue_is_filled_to_half_its_cap_at_most(client: Any, start_service: StartService) -> None:
    client.lpush(INGEST, *(event("new") for _ in range(40)))
    client.lpush(ALERTER_DLQ, *(shed(str(number)) for number in range(300)))
    service = start_quick(start_service, MAX_INGEST_QUEUE_SIZE="400")
    wait_length(client, INGEST, 200)
    wait_scans(service)
    assert client.llen(INGEST) == 200
    assert [message_of(entry) for entry in entries(client, INGEST)[40:]] == [str(number) for number in range(160)]
    assert client.llen(ALERTER_DLQ) == 140


def test_the_forwarders_letters_move_only_while_the_circuit_is_closed(client: Any, start_service: StartService) -> None:
    client.set(keys.CIRCUIT_STATE, "OPEN")
    client.set(keys.CIRCUIT_OPENED_AT, time.time())
    client.lpush(MOOG_DLQ, dead_alert("spent", remediation_attempts=3), dead_alert("due", age=600))
    client.lpush(ALERTER_DLQ, shed("not held up by Moogsoft"))
    service = start_quick(start_service)
    wait_length(client, INGEST, 1)
    wait_scans(service)
    assert (client.llen(MOOG_DLQ), client.llen(keys.POISON), client.llen(ALERTS)) == (2, 0, 0)
    client.set(keys.CIRCUIT_STATE, "CLOSED")
    wait_length(client, keys.POISON, 1)
    wait_length(client, ALERTS, 1)


def test_a_dead_letter_becomes_the_probe_when_nothing_else_waits(client: Any, start_service: StartService) -> None:
    client.set(keys.CIRCUIT_STATE, "OPEN")
    client.set(keys.CIRCUIT_OPENED_AT, time.time())
    client.lpush(ALERTS, b"another alert waits")
    client.lpush(MOOG_DLQ, b"no alert", *(dead_alert(str(number), remediation_attempts=3) for number in range(3)))
    service = start_quick(start_service, MOOG_CIRCUIT_OPEN_SECONDS="0.5")
    wait_scans(service, 8)
    assert client.llen(MOOG_DLQ) == 4
    client.delete(ALERTS)
    (probe,) = wait_length(client, ALERTS, 1)
    assert (message_of(probe), mutt_of(probe)["remediation_attempts"], mutt_of(probe)["retry_count"]) == ("0", 3, 0)
    wait_scans(service)
    assert (client.llen(ALERTS), client.llen(MOOG_DLQ)) == (1, 2)
    assert entries(client, keys.POISON) == [b"no alert"]
    assert client.get(keys.CIRCUIT_STATE) == b"OPEN"


def test_a_circuit_with_nothing_left_to_try_closes(client: Any, start_service: StartService) -> None:
    client.set(keys.CIRCUIT_STATE, "OPEN")
    client.set(keys.CIRCUIT_OPENED_AT, time.time())
    start_quick(start_service, MOOG_CIRCUIT_OPEN_SECONDS="0.5")
    wait_for(lambda: client.get(keys.CIRCUIT_STATE) == b"CLOSED", "a closed circuit")


def test_its_health_tells_the_depth_of_both_queues(client: Any, start_service: StartService) -> None:
    client.lpush(ALERTER_DLQ, dead("a"), dead("b"))
    client.lpush(MOOG_DLQ, dead_alert("c"))
    service = start_service("remediation")
    document = json.loads(service.wait_health(200))
    assert document["queue_depth"] == 3
    assert document["service"] == "mutt-remediation"
    assert document["redis"] == "connected"
    assert "postgres" not in document
