"""The remediation service when things go wrong: killed, doubled, stalled, cut off."""

import json
import signal
from collections.abc import Callable
from typing import Any

import pytest
import redis

from mutt import keys
from scripts.devtools.embedded import RedisServer
from tests.harness.processes import ServiceProcess, StartService, fetch
from tests.harness.proxy import Proxy
from tests.harness.waiting import wait_for
from tests.service.dead_letters import dead, message_of, shed
from tests.service.test_remediation import ALERTER_DLQ, INGEST, NAME, start_quick, wait_length, wait_scans


@pytest.fixture
def client(redis_url: str) -> Any:
    return redis.Redis.from_url(redis_url)


# Long enough that a busy machine does not take the lease from its holder.
PAIR: dict[str, Any] = {"REMEDIATION_LEASE_SECONDS": "6"}


def lease_note(service: ServiceProcess) -> str:
    """Return what health says of the lease; nothing as long as it says nothing."""
    status, body = fetch(service.health_url)
    return str(json.loads(body).get("notes", {}).get("lease", "")) if status else ""


def wait_note(service: ServiceProcess, note: str) -> None:
    wait_for(lambda: lease_note(service).startswith(note), f"{note!r} of {service.log_file.stem}")


def test_killed_again_and_again_it_loses_and_doubles_nothing(client: Any, start_service: StartService) -> None:
    letters = 4000
    client.lpush(ALERTER_DLQ, *(shed(str(number)) for number in range(letters)))
    service = start_quick(start_service, wait=False)
    for share in (1, 2, 3):
        wait_for(lambda goal=share * 700: client.llen(INGEST) > goal, "some letters moved")  # type: ignore[misc]
        service.kill()
        with client.pipeline(transaction=True) as both:
            assert sum(both.llen(INGEST).llen(ALERTER_DLQ).execute()) == letters
        service.start(wait=False)
    back = wait_length(client, INGEST, letters)
    assert [message_of(entry) for entry in back] == [str(number) for number in range(letters)]


def test_a_lost_reply_moves_nothing_twice(
    redis_url: str, client: Any, start_service: StartService, proxy: Callable[[str], Proxy]
) -> None:
    between = proxy(redis_url)
    service = start_quick(start_service, REDIS_PORT=str(between.port))
    for number in range(3):
        between.lose_reply(b"marked %d" % number)
        client.lpush(ALERTER_DLQ, shed(f"marked {number}"), shed(f"plain {number}"))
        wait_for(between.lost.is_set, "a lost reply")
    wait_length(client, INGEST, 6)
    wait_scans(service)
    assert (client.llen(INGEST), client.llen(ALERTER_DLQ)) == (6, 0)


def test_a_destination_of_the_wrong_type_costs_no_letter(client: Any, start_service: StartService) -> None:
    client.set(keys.POISON, "a string")
    client.lpush(ALERTER_DLQ, dead("spent", remediation_attempts=3), shed("shed"))
    service = start_quick(start_service)
    service.wait_log("WRONGTYPE")
    assert (client.llen(INGEST), client.llen(ALERTER_DLQ)) == (0, 2)
    client.delete(keys.POISON)
    wait_length(client, INGEST, 1)
    wait_length(client, keys.POISON, 1)


def test_a_redis_that_is_full_still_lets_letters_go_back(client: Any, start_service: StartService) -> None:
    service = start_quick(start_service, REMEDIATION_BACKOFF_BASE="1")
    wait_note(service, "held")
    client.lpush(ALERTER_DLQ, dead("moved while memory is short"))
    client.config_set("maxmemory", 1)
    with pytest.raises(redis.ResponseError, match="maxmemory"):
        client.set("another", "key")
    # What moves takes no more room than before, and a move refused halfway would lose the letter.
    wait_length(client, INGEST, 1)
    assert client.llen(ALERTER_DLQ) == 0


def test_of_two_instances_one_works_and_the_other_takes_over(client: Any, start_service: StartService) -> None:
    first = start_quick(start_service, **PAIR)
    wait_note(first, "held")
    second = start_quick(start_service, **PAIR)
    wait_note(second, "standing by")
    assert client.get(keys.REMEDIATION_LEASE).startswith(b"remediation-0:")
    client.lpush(ALERTER_DLQ, *(shed(str(number)) for number in range(50)))
    wait_length(client, INGEST, 50)
    assert second.metric(NAME, source="alerter", status="success") == 0
    first.kill()
    wait_note(second, "held")
    client.lpush(ALERTER_DLQ, shed("after the first's death"))
    wait_length(client, INGEST, 51)
    first.start()
    wait_note(first, "standing by")
    assert second.terminate() == 0
    assert (client.get(keys.REMEDIATION_LEASE) or b"remediation-0:").startswith(b"remediation-0:")
    wait_note(first, "held")


def test_a_holder_that_stalled_moves_nothing_when_it_wakes(client: Any, start_service: StartService) -> None:
    first = start_quick(start_service, **PAIR)
    wait_note(first, "held")
    second = start_quick(start_service, **PAIR)
    first.signal(signal.SIGSTOP)
    wait_note(second, "held")
    first.signal(signal.SIGCONT)
    wait_note(first, "standing by")
    client.lpush(ALERTER_DLQ, *(shed(str(number)) for number in range(50)))
    wait_length(client, INGEST, 50)
    assert first.metric(NAME, source="alerter", status="success") == 0


def test_it_ends_in_order_at_sigterm_and_does_not_mind_a_hangup(client: Any, start_service: StartService) -> None:
    service = start_service("remediation", REMEDIATION_SCAN_INTERVAL="3600", MUTT_SHUTDOWN_GRACE="600")
    service.signal(signal.SIGHUP)
    service.signal(signal.SIGHUP)
    wait_for(lambda: client.get(keys.REMEDIATION_LEASE), "the lease")
    assert service.running
    assert service.terminate() == 0
    assert client.get(keys.REMEDIATION_LEASE) is None


def test_while_redis_is_away_it_is_unhealthy_but_lives_and_goes_on_afterwards(
    own_redis: RedisServer, start_service: StartService
) -> None:
    service = start_quick(start_service)
    own_redis.kill()
    document = json.loads(service.wait_health(503))
    assert document["failing"] == ["redis"]
    wait_for(lambda: fetch(service.live_url)[0] == 200, "its liveness")
    wait_for(lambda: service.metric("mutt_remediation_poison_depth") is None, "no depth while it is unknown")
    own_redis.start()
    service.wait_healthy()
    with redis.Redis.from_url(own_redis.url) as client:
        client.lpush(ALERTER_DLQ, shed("later"))
        wait_length(client, INGEST, 1)


def test_it_waits_for_a_redis_that_comes_late(own_redis: RedisServer, start_service: StartService) -> None:
    own_redis.kill()
    service = start_quick(start_service, wait=False)
    service.wait_health(503)
    own_redis.start()
    service.wait_healthy()
    assert service.terminate() == 0
