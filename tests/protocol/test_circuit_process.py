"""The model's story told by real forwarders: what the explorer found at the probe, and a Moogsoft that misbehaves."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mutt import keys
from tests.harness.processes import ServiceProcess, StartService
from tests.harness.waiting import wait_for
from tests.service.moog_stage import LONG_OPEN, Moogsoft, Reply, Stage, to

LIMITED: dict[str, str] = {"MOOG_RATE_LIMIT": "1", "MOOG_RATE_PERIOD": "600", "MOOG_WEBHOOK_TIMEOUT": "90"}
Start = Callable[..., ServiceProcess]


@pytest.fixture
def stage(redis_url: str) -> Stage:
    return Stage(redis_url)


@pytest.fixture
def moogsoft() -> Iterator[Moogsoft]:
    server = Moogsoft()
    yield server
    server.close()


@pytest.fixture
def start(start_service: StartService, moogsoft: Moogsoft) -> Start:
    def begin(**more: Any) -> ServiceProcess:
        return start_service("moog-forwarder", wait=False, **to(moogsoft, **{**LONG_OPEN, **more}))

    return begin


def open_circuit(stage: Stage) -> None:
    """Let the circuit be open, its time over."""
    stage.redis.mset({keys.CIRCUIT_STATE: "OPEN", keys.CIRCUIT_OPENED_AT: "1"})


def hold_probe(stage: Stage, start: Start) -> None:
    """Let a forwarder hold the probe while the limiter has no token for it."""
    seconds, _ = stage.redis.time()
    stage.redis.zadd("mutt:rate_limit:moog", {"somebody else's": seconds * 1_000_000})
    open_circuit(stage)
    stage.send("the probe")
    start(**LIMITED)
    wait_for(lambda: stage.held() == 1 and stage.redis.exists(keys.CIRCUIT_PROBE), "the probe is held")


def test_a_probe_whose_answer_is_lost_goes_behind_unspent_and_is_sent_again_under_its_id(
    stage: Stage, moogsoft: Moogsoft, start: Start
) -> None:
    never = threading.Event()
    moogsoft.answer = lambda _: Reply(until=never)
    open_circuit(stage)
    first, second = stage.send("first", "second")
    start(MOOG_WEBHOOK_TIMEOUT="0.5")
    wait_for(lambda: stage.state() == "OPEN" and stage.queued() == ["second", "first"], "the probe lies behind")
    assert [request.alerts[0]["external_id"] for request in moogsoft.requests] == [first]
    (_, behind) = (stage.redis.lindex("mutt:alert_queue", place) for place in (1, 0))
    assert b"retry_count" not in behind  # type: ignore[operator]
    assert stage.waiting() == []
    moogsoft.answer = lambda _: Reply()
    stage.let_open_time_pass()
    wait_for(lambda: moogsoft.ids() == [second, first], "both delivered, in the order in which they then lay")
    wait_for(stage.is_empty, "nothing is left")
    assert stage.state() == "CLOSED"
    never.set()


def test_a_probe_that_waits_for_the_limiter_keeps_its_lease(stage: Stage, moogsoft: Moogsoft, start: Start) -> None:
    hold_probe(stage, start)
    stage.redis.pexpire(keys.CIRCUIT_PROBE, 60_000)  # as if it had waited so long
    wait_for(lambda: stage.redis.pttl(keys.CIRCUIT_PROBE) > 61_000, "the lease begins anew")
    assert moogsoft.requests == []
    stage.redis.delete("mutt:rate_limit:moog")
    wait_for(lambda: stage.state() == "CLOSED", "closed")
    assert moogsoft.delivered == ["the probe"]


def test_a_probe_whose_lease_went_to_another_is_not_sent(stage: Stage, moogsoft: Moogsoft, start: Start) -> None:
    hold_probe(stage, start)
    stage.redis.set(keys.CIRCUIT_PROBE, "another", ex=600)
    stage.redis.delete("mutt:rate_limit:moog")
    wait_for(lambda: stage.queued() == ["the probe"], "it is handed back")
    assert moogsoft.requests == []
