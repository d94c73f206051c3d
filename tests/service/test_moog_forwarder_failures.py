"""The forwarder when things break: the circuit, crashes, lost replies, two of one name, and its orderly end."""

import signal
import threading
from collections.abc import Callable
from hashlib import sha1

import pytest
from redis import Redis

from mutt import keys
from scripts.devtools.embedded import RedisServer
from services import rate_limiter
from services.protocol import retries, worker
from services.protocol.script import Script
from tests.harness.processes import ServiceProcess, StartService, fetch
from tests.harness.proxy import Proxy
from tests.harness.waiting import wait_for
from tests.service.moog_stage import LONG_OPEN, Moogsoft, Reply, Stage, alert

QUICK = {
    "MOOG_RETRY_BASE_DELAY": "0.05",
    "MOOG_RETRY_MAX_DELAY": "0.2",
    "MOOG_RATE_LIMIT": "1000",
    "MOOG_HEARTBEAT_INTERVAL": "1",
    "MOOG_JANITOR_TIMEOUT": "3",
}


@pytest.fixture
def start(start_service: StartService, moogsoft: Moogsoft) -> Callable[..., ServiceProcess]:
    def begin(*, wait: bool = True, **more: str) -> ServiceProcess:
        return start_service("moog-forwarder", wait=wait, **{**QUICK, "MOOG_WEBHOOK_URL": moogsoft.url, **more})

    return begin


@pytest.fixture
def between(proxy: Callable[[str], Proxy], redis_url: str) -> Proxy:
    """Return a proxy between the forwarder and Redis."""
    return proxy(redis_url)


Start = Callable[..., ServiceProcess]


def test_failures_in_a_row_open_the_circuit_and_a_probe_closes_it(
    stage: Stage, moogsoft: Moogsoft, start: Start
) -> None:
    moogsoft.answer = lambda _: Reply(503)
    stage.send(*(f"alert {index}" for index in range(8)))
    forwarder = start(wait=False, MOOG_CONCURRENCY="1", MOOG_CIRCUIT_THRESHOLD="3", **LONG_OPEN)
    wait_for(lambda: stage.state() == "OPEN", "open")
    assert len(moogsoft.requests) == 3
    wait_for(lambda: "circuit" in (body := fetch(forwarder.health_url)[1]) and "503" in body, "the reason in health")
    wait_for(lambda: forwarder.metric("mutt_moog_circuit_state") == 1, "the gauge of the circuit")
    wait_for(lambda: stage.held() == 0, "nothing is held")
    spent = {index: entry["_mutt"].get("retry_count", 0) for index, (entry, _) in enumerate(stage.waiting())}

    stage.let_open_time_pass()
    wait_for(lambda: len(moogsoft.requests) == 4, "the first probe")
    wait_for(lambda: stage.state() == "OPEN", "open again")
    wait_for(lambda: stage.held() == 0, "nothing is held")
    assert stage.redis.llen("mutt:alert_queue") + len(stage.waiting()) == 8
    counts = [entry["_mutt"].get("retry_count", 0) for entry, _ in stage.waiting()]
    assert sum(counts) <= sum(spent.values()), "a failed probe spends no retry"

    moogsoft.answer = lambda _: Reply()
    stage.let_open_time_pass()
    moogsoft.wait_delivered(8)
    wait_for(lambda: stage.state() == "CLOSED", "closed")
    forwarder.wait_healthy()
    assert stage.dead() == []
    assert sorted(set(moogsoft.ids())) == sorted(moogsoft.ids())


def test_a_failed_probe_goes_behind_the_queue(stage: Stage, moogsoft: Moogsoft, start: Start) -> None:
    moogsoft.answer = lambda request: Reply(500 if request.messages == ["always fails"] else 200)
    stage.redis.set(keys.CIRCUIT_STATE, "OPEN")
    stage.send("always fails", "second", "third")
    start(wait=False, MOOG_CIRCUIT_OPEN_SECONDS="0.5", MOOG_MAX_RETRIES="1")
    moogsoft.wait_delivered(2)
    assert [request.messages[0] for request in moogsoft.requests][:2] == ["always fails", "second"]
    wait_for(stage.dead, "the culprit is a dead letter, of its own retries")
    assert stage.dead()[0]["_mutt"]["retry_count"] == 2


def test_nothing_is_sent_while_the_circuit_is_open(stage: Stage, moogsoft: Moogsoft, start: Start) -> None:
    stage.redis.set(keys.CIRCUIT_STATE, "OPEN")
    stage.send("disk full")
    forwarder = start(wait=False)
    forwarder.wait_health(503)
    wait_for(lambda: stage.redis.get(keys.CIRCUIT_OPENED_AT), "the forwarder asked")
    assert stage.queued() == ["disk full"]
    stage.redis.delete(keys.CIRCUIT_STATE)
    moogsoft.wait_delivered(1)
    forwarder.wait_healthy()


def test_one_probe_across_the_fleet(stage: Stage, moogsoft: Moogsoft, start: Start) -> None:
    released = threading.Event()
    moogsoft.answer = lambda _: Reply(until=released)
    stage.redis.set(keys.CIRCUIT_STATE, "OPEN")
    stage.send(*(f"alert {index}" for index in range(10)))
    forwarders = [start(wait=False, MOOG_CIRCUIT_OPEN_SECONDS="0.3", MOOG_WEBHOOK_TIMEOUT="90") for _ in range(2)]
    wait_for(lambda: moogsoft.requests, "a probe")
    for forwarder in forwarders:
        wait_for(lambda it=forwarder: it.metric("mutt_moog_circuit_state") == 2, "half open")  # type: ignore[misc]
        forwarder.wait_healthy()
    assert len(moogsoft.requests) == 1
    wait_for(lambda: stage.held() == 1, "the probe alone is held")
    assert stage.redis.pttl(keys.CIRCUIT_PROBE) > 10_000
    released.set()
    moogsoft.wait_delivered(10)
    assert stage.state() == "CLOSED"


def test_a_forwarder_killed_while_it_sends_delivers_under_the_same_id(
    stage: Stage, moogsoft: Moogsoft, start: Start
) -> None:
    released = threading.Event()
    moogsoft.answer = lambda _: Reply(until=released)
    ids = stage.send("first", "second", "third")
    forwarder = start()
    wait_for(lambda: len(moogsoft.requests) == 3, "three requests under way")
    forwarder.kill()
    sent = [request.alerts[0]["external_id"] for request in moogsoft.requests]
    assert sorted(sent) == sorted(ids)
    moogsoft.answer = lambda _: Reply()
    forwarder.restart()
    wait_for(lambda: len(moogsoft.requests) == 6, "three more requests")
    assert sorted(request.alerts[0]["external_id"] for request in moogsoft.requests[3:]) == sorted(ids)
    wait_for(stage.is_empty, "nothing is left")
    assert forwarder.metric("mutt_recovered_entries_total") == 3
    released.set()


def test_what_a_dead_forwarder_held_is_delivered_by_another(stage: Stage, moogsoft: Moogsoft, start: Start) -> None:
    released = threading.Event()
    moogsoft.answer = lambda _: Reply(until=released)
    ids = stage.send("first", "second")
    dead = start()
    wait_for(lambda: len(moogsoft.requests) == 2, "two requests under way")
    dead.kill()
    moogsoft.answer = lambda _: Reply()
    start()
    moogsoft.wait_delivered(2)
    assert sorted(moogsoft.ids()) == sorted(ids)
    wait_for(stage.is_empty, "nothing is left")
    released.set()


def test_an_alert_that_kills_its_forwarders_is_a_dead_letter_and_no_other_is(
    stage: Stage, moogsoft: Moogsoft, start: Start
) -> None:
    _, killer = alert("kills")
    _, innocent = alert("innocent")
    stage.redis.rpush("mutt:processing:moog:dead-pod", innocent, killer)
    stage.redis.hset(keys.recoveries("moog"), sha1(killer, usedforsecurity=False).hexdigest(), "5")
    start()
    moogsoft.wait_delivered(1)
    wait_for(stage.dead, "a dead letter")
    assert moogsoft.delivered == ["innocent"]
    (letter,) = stage.dead()
    assert letter["event"]["message"] == "kills"
    assert letter["_mutt"]["last_error"]["type"] == "recovered"
    wait_for(lambda: stage.held() == 0, "nothing is held")


def test_two_of_one_name_deliver_everything_and_the_older_gives_way(
    stage: Stage, moogsoft: Moogsoft, start: Start
) -> None:
    released = threading.Event()
    moogsoft.answer = lambda _: Reply(until=released)
    first_ids = stage.send("first")
    older = start(POD_NAME="same", MOOG_WEBHOOK_TIMEOUT="90")
    wait_for(lambda: len(moogsoft.requests) == 1, "a request under way")
    younger = start(POD_NAME="same")
    older.wait_log("another worker has taken this name")
    released.set()
    ids = first_ids + stage.send(*(f"alert {index}" for index in range(20)))
    wait_for(lambda: set(moogsoft.ids()) >= set(ids), "all delivered")
    wait_for(stage.is_empty, "nothing is left")
    assert younger.running
    assert older.running
    # The alert that was under way twice is the only one that may have come twice.
    assert len(moogsoft.ids()) <= len(ids) + 1


@pytest.mark.parametrize(
    "script", [worker._claim, worker._settle, retries._claim_due], ids=["claim", "settle", "claim_due"]
)
def test_a_lost_reply_of_redis_loses_and_doubles_nothing(
    stage: Stage, moogsoft: Moogsoft, start: Start, between: Proxy, script: Script
) -> None:
    failures = iter([Reply(500)] * 3)
    moogsoft.answer = lambda _: next(failures, Reply())
    forwarder = start(REDIS_PORT=str(between.port))
    between.lose_reply(script.digest.encode())
    ids = stage.send(*(f"alert {index}" for index in range(5)))
    assert between.lost.wait(45)
    wait_for(lambda: set(moogsoft.ids()) == set(ids), "all delivered")
    wait_for(stage.is_empty, "nothing is left")
    assert sorted(moogsoft.ids()) == sorted(ids)
    assert forwarder.running


def test_an_alert_that_was_claimed_when_redis_failed_is_not_lost_from_sight(
    stage: Stage, moogsoft: Moogsoft, start: Start, between: Proxy
) -> None:
    start(REDIS_PORT=str(between.port))
    for round_ in range(5):
        # The look at the circuit that follows a claim; now and then it is the one that is made each second.
        between.lose_reply(b"MGET\r\n$23\r\nmutt:circuit")
        ids = stage.send(f"alert {round_}")
        assert between.lost.wait(45)
        wait_for(lambda sent=ids[0]: sent in moogsoft.ids(), f"alert {round_}")  # type: ignore[misc]
    wait_for(stage.is_empty, "nothing is left")


def test_redis_may_restart(own_redis: RedisServer, stage: Stage, moogsoft: Moogsoft, start: Start) -> None:
    forwarder = start()
    stage.send("before")
    moogsoft.wait_delivered(1)
    own_redis.kill()
    forwarder.wait_health(503)
    wait_for(lambda: forwarder.metric("mutt_moog_dlq_depth") is None, "no depth is shown while it is unknown")
    own_redis.start()
    stage.redis = Redis.from_url(own_redis.url)
    forwarder.wait_healthy()
    ids = stage.send("after")
    moogsoft.wait_delivered(2)
    assert moogsoft.ids()[-1] == ids[0]
    wait_for(stage.is_empty, "nothing is left")


def test_a_stalled_forwarder_settles_nothing_that_went_to_another(
    stage: Stage, moogsoft: Moogsoft, start: Start
) -> None:
    released = threading.Event()
    moogsoft.answer = lambda _: Reply(503, until=released)
    ids = stage.send("first")
    stalled = start()
    wait_for(lambda: len(moogsoft.requests) == 1, "a request under way")
    stalled.signal(signal.SIGSTOP)
    released.set()
    moogsoft.answer = lambda _: Reply()
    start()
    moogsoft.wait_delivered(1)
    wait_for(stage.is_empty, "nothing is left")
    stalled.signal(signal.SIGCONT)
    ids += stage.send("second")
    moogsoft.wait_delivered(2)
    stalled.wait_log("heartbeat had expired")
    wait_for(stage.is_empty, "nothing is left: the old answer 503 made no retry")
    assert sorted(moogsoft.ids()) == sorted(ids)


def test_sigterm_lets_requests_under_way_end_and_hands_back_the_rest(
    stage: Stage, moogsoft: Moogsoft, start: Start
) -> None:
    released = threading.Event()
    moogsoft.answer = lambda _: Reply(until=released)
    stage.send(*(f"alert {index}" for index in range(10)))
    forwarder = start(MOOG_CONCURRENCY="2", POD_NAME="ending")
    wait_for(lambda: len(moogsoft.requests) == 2, "two requests under way")
    forwarder.signal(signal.SIGTERM)
    forwarder.wait_log("stopping")
    released.set()
    assert forwarder.process.wait(60) == 0
    assert len(moogsoft.delivered) == 2
    assert stage.queued() == [f"alert {index}" for index in range(2, 10)]
    assert stage.held() == 0
    assert not stage.redis.exists("mutt:heartbeat:moog:ending")
    assert not stage.redis.exists(keys.recoveries("moog"))


def test_no_request_is_begun_once_sigterm_has_come(
    stage: Stage, moogsoft: Moogsoft, start: Start, between: Proxy
) -> None:
    answered = threading.Event()
    moogsoft.answer = lambda _: Reply(until=answered)
    forwarder = start(REDIS_PORT=str(between.port))
    between.hang_after(rate_limiter._script.digest.encode())
    stage.send("granted too late")
    assert between.hung.wait(45)
    forwarder.signal(signal.SIGTERM)
    forwarder.wait_log("stopping")
    between.mend()
    assert forwarder.process.wait(60) == 0
    answered.set()
    assert moogsoft.requests == [], "its end is awaited by nobody, and the alert is handed back"
    assert stage.queued() == ["granted too late"]


def test_sigterm_does_not_wait_longer_than_the_grace(stage: Stage, moogsoft: Moogsoft, start: Start) -> None:
    released = threading.Event()
    moogsoft.answer = lambda _: Reply(until=released)
    stage.send("hangs")
    forwarder = start(MUTT_SHUTDOWN_GRACE="0.3", MOOG_WEBHOOK_TIMEOUT="60")
    wait_for(lambda: moogsoft.requests, "a request under way")
    assert forwarder.terminate() == 0
    assert stage.queued() == ["hangs"]
    released.set()


def test_an_idle_forwarder_ends_at_once_and_ignores_sighup(stage: Stage, start: Start) -> None:
    forwarder = start(BRPOPLPUSH_TIMEOUT="60", MOOG_JANITOR_TIMEOUT="600")
    forwarder.signal(signal.SIGHUP)
    forwarder.wait_healthy()
    assert forwarder.terminate(15) == 0
