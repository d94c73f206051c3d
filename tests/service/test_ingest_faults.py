"""The ingestor when things die: no acknowledged event is lost, and nothing is taken that Redis cannot keep."""

import json
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import pytest
import redis
import redis.asyncio
import requests

from mutt import keys
from mutt.settings import IngestorSettings, load
from scripts.devtools.embedded import RedisServer
from services.ingestor.door import Clock
from services.ingestor.outcomes import Outcomes
from services.ingestor.watch import Watch
from services.runtime.app import Process, registry
from services.runtime.health import Health
from services.runtime.instruments import IngestorInstruments
from services.runtime.secrets import EnvironmentSecrets
from tests.harness.credentials import INGEST_API_KEY
from tests.harness.processes import ServiceProcess, StartService, fetch
from tests.harness.waiting import wait_for
from tests.service.ingest_api import Wire, event, post, queued, refused, request


class Senders:
    """Threads that send events one after another and note which were acknowledged."""

    def __init__(self, service: ServiceProcess, number: int) -> None:
        self.acknowledged: set[str] = set()
        self._service = service
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(at,)) for at in range(number)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _send(self, lane: int) -> None:
        session = requests.Session()
        session.headers["X-API-KEY"] = INGEST_API_KEY
        number = 0
        while not self._stop.is_set():
            number += 1
            batch = [event(n=f"{lane}/{number}/{at}") for at in range(1 + number % 3)]
            body: Any = batch if len(batch) > 1 else batch[0]
            try:
                reply = session.post(f"{self._service.url}/api/v2/ingest", json=body, timeout=10)
            except requests.RequestException:
                continue
            if reply.status_code == 200:
                self.acknowledged |= {item["n"] for item in batch}


def test_no_acknowledged_event_is_lost_when_the_ingestor_or_redis_is_killed(
    start_service: StartService, own_redis: RedisServer
) -> None:
    ingestor = start_service("ingestor")

    with Senders(ingestor, 12) as senders:
        for goal in (150, 300, 450):
            wait_for(lambda goal=goal: len(senders.acknowledged) > goal, "events")  # type: ignore[misc]
            ingestor.kill()
            ingestor.start()
            own_redis.kill()
            own_redis.start()
        wait_for(lambda: len(senders.acknowledged) > 600, "events after the last kill")

    kept = {item.fields["n"] for item in queued(own_redis.url)}
    assert senders.acknowledged - kept == set()


def test_what_arrives_during_a_push_goes_into_the_next_one(start_service: StartService, own_redis: RedisServer) -> None:
    ingestor = start_service("ingestor", REDIS_TIMEOUT="60")
    with redis.Redis.from_url(own_redis.url) as client, ExitStack() as stack:
        post(ingestor, event())
        client.config_resetstat()
        wires = [stack.enter_context(Wire(ingestor)) for _ in range(30)]
        own_redis.pause()
        for wire in wires:
            wire.send(request(json.dumps(event()).encode()))
        # Whoever asks later is answered later: by then the ingestor has read all that was sent.
        assert requests.get(ingestor.live_url, timeout=60).ok
        own_redis.resume()
        assert {wire.read()[0] for wire in wires} == {200}
        calls: Any = client.info("commandstats")
    assert calls["cmdstat_evalsha"]["calls"] <= 30 / 2
    assert len(queued(own_redis.url)) == 31


def test_an_ingestor_that_starts_before_redis_answers_503_until_redis_is_there(
    start_service: StartService, own_redis: RedisServer
) -> None:
    own_redis.kill()
    ingestor = start_service("ingestor", wait=False)
    wait_for(lambda: _answers(ingestor), "the port")

    refused(post(ingestor, event()), 503)
    assert "redis" in ingestor.wait_health(503)

    own_redis.start()
    ingestor.wait_healthy()
    assert post(ingestor, event()).status_code == 200


def test_a_restart_of_redis_between_two_events_costs_no_refusal(
    start_service: StartService, own_redis: RedisServer
) -> None:
    ingestor = start_service("ingestor")
    assert post(ingestor, event()).status_code == 200
    own_redis.kill()
    ingestor.wait_health(503)
    own_redis.start()
    ingestor.wait_healthy()

    assert post(ingestor, event()).status_code == 200
    assert len(queued(own_redis.url)) == 2


def test_durable_mode_acknowledges_only_what_a_replica_has(
    start_service: StartService, own_redis: RedisServer, tmp_path: Path
) -> None:
    ingestor = start_service("ingestor", wait=False, REDIS_WAIT_REPLICAS="1", REDIS_TIMEOUT="1")

    wait_for(lambda: "0 of 1 replicas are connected" in fetch(ingestor.health_url)[1], "health's word of the replicas")
    refused(post(ingestor, event()), 503)

    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set("repl-diskless-sync-delay", 0)
    replica = RedisServer(tmp_path / "replica")
    replica.start()
    try:
        with redis.Redis.from_url(replica.url) as client:
            client.config_set("masterauth", own_redis.password)
            client.execute_command("REPLICAOF", "127.0.0.1", str(own_redis.port))
            wait_for(lambda: client.info("replication").get("master_link_status") == "up", "the replica")
            wait_for(lambda: post(ingestor, event(n="kept")).status_code == 200, "an event that the replica has")
            ingestor.wait_healthy()
            own_redis.kill()
            client.execute_command("REPLICAOF", "NO", "ONE")
        assert [item.fields.get("n") for item in queued(replica.url)][-1] == "kept"
    finally:
        replica.stop()


def test_the_durable_mode_takes_nothing_that_redis_would_not_keep(
    start_service: StartService, own_redis: RedisServer
) -> None:
    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set("appendfsync", "everysec")
        ingestor = start_service("ingestor", wait=False, REDIS_DURABLE="true")
        words = "Redis has appendfsync everysec, not always (REDIS_DURABLE)"
        wait_for(lambda: words in fetch(ingestor.health_url)[1], "health's word of the setting")
        refused(post(ingestor, event()), 503)
        assert queued(own_redis.url) == []
        client.config_set("appendfsync", "always")
        ingestor.wait_healthy()
        assert post(ingestor, event()).status_code == 200


def test_an_ingestor_that_was_sent_to_a_replica_says_503_and_finds_the_primary_again(
    start_service: StartService, own_redis: RedisServer
) -> None:
    ingestor = start_service("ingestor")
    with redis.Redis.from_url(own_redis.url) as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "9")
        refused(post(ingestor, event()), 503)
        client.execute_command("REPLICAOF", "NO", "ONE")
    assert post(ingestor, event()).status_code == 200


def test_scripts_that_redis_has_forgotten_are_loaded_again(start_service: StartService, redis_url: str) -> None:
    ingestor = start_service("ingestor")
    with redis.Redis.from_url(redis_url) as client:
        for _ in range(3):
            client.script_flush()
            assert post(ingestor, [event(), event()]).status_code == 200
    assert len(queued(redis_url)) == 6


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"INGEST_API_KEY": ""}, "INGEST_API_KEY is not set"),
        ({"MAX_INGEST_QUEUE_SIZE": "many"}, "MAX_INGEST_QUEUE_SIZE='many'"),
        ({"INGEST_MAX_BODY_BYTES": "1"}, "at least 1024"),
    ],
)
def test_an_impossible_setting_is_named_and_ends_the_start(
    start_service: StartService, changes: dict[str, str], said: str
) -> None:
    ingestor = start_service("ingestor", wait=False, **changes)

    assert ingestor.process.wait(60) == 78
    assert said in ingestor.log()


def test_a_redis_that_may_throw_events_away_is_refused(start_service: StartService, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")

    ingestor = start_service("ingestor", wait=False)

    assert ingestor.process.wait(60) == 78
    assert "maxmemory-policy" in ingestor.log()


def test_a_port_that_is_taken_is_named(start_service: StartService) -> None:
    first = start_service("ingestor")

    second = start_service("ingestor", wait=False, SERVER_PORT_INGESTOR=str(first.ports["http"]))

    assert second.process.wait(60) == 78
    assert "SERVER_PORT_INGESTOR" in second.log()


async def test_a_clock_far_from_that_of_redis_is_a_problem_and_past_an_hour_is_replaced(
    redis_client: redis.asyncio.Redis,
) -> None:
    instruments = IngestorInstruments(registry())
    process = Process(
        "ingestor",
        load(IngestorSettings, {}),
        instruments,
        Health("ingestor", instruments),
        EnvironmentSecrets({"INGEST_API_KEY": "k"}),
        redis_client,
    )
    ahead = 0.0
    clock = Clock(lambda: time.time_ns() + int(ahead * 1e9))
    watch = Watch(process, clock, Outcomes(instruments))

    for seconds, problem, replaced in ((0, False, False), (-61, True, False), (3601, True, True), (59, False, False)):
        ahead = seconds
        await watch.check_clock()
        assert ("clock" in process.health.problems) == problem
        assert (abs(clock.unix_us() / 1e6 - time.time()) < 5) == (replaced or seconds == 0)
        skew = instruments.registry.get_sample_value("mutt_ingest_clock_skew_seconds")
        assert skew == pytest.approx(seconds, abs=2)


async def test_failures_wait_in_memory_until_redis_has_them_and_are_added_once(
    redis_client: redis.asyncio.Redis,
) -> None:
    outcomes = Outcomes(IngestorInstruments(registry()))
    now = Clock().now()
    outcomes.failed("auth", 3, now)
    outcomes.failed("redis", 2, now)

    for _ in range(2):
        await outcomes.flush(redis_client)

    assert await redis_client.get(keys.slo("ingestor", "fail", now)) == b"5"
    assert await redis_client.get(keys.slo("ingestor", "sender", now)) == b"3"


def _answers(service: ServiceProcess) -> bool:
    try:
        return requests.get(service.live_url, timeout=60).ok
    except requests.ConnectionError:
        return False
