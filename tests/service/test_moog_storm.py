"""Two forwarders in a storm of SIGTERM, resets, hangs and lost replies: each alert arrives, and arrives once."""

import itertools
import random
import signal
import time
from collections import Counter
from collections.abc import Callable

from tests.chaos.stage import chosen_seed
from tests.harness.processes import ServiceProcess, StartService
from tests.harness.proxy import Proxy
from tests.harness.waiting import wait_for
from tests.service.moog_stage import Moogsoft, Reply, Request, Stage, to

ALERTS = 1000
PORTS = 5  # few, so that problems and their clears meet
# A forwarder that is taken for dead may have sent what another then sends again. None may be, however busy the machine.
LIVELY = {"MOOG_HEARTBEAT_INTERVAL": "1", "MOOG_JANITOR_TIMEOUT": "60", "MUTT_SHUTDOWN_GRACE": "30"}
SETTINGS = {"MOOG_RATE_LIMIT": "100000", "MOOG_MAX_RETRIES": "50", **LIVELY}


def test_a_storm_loses_and_doubles_no_alert(
    stage: Stage, moogsoft: Moogsoft, proxy: Callable[[str], Proxy], redis_url: str, start_service: StartService
) -> None:
    seed = chosen_seed()
    redis, chance = proxy(redis_url), random.Random(seed)
    moogsoft.answer = _moody(seed)
    settings = to(moogsoft, REDIS_PORT=str(redis.port), **SETTINGS)
    forwarders = [start_service("moog-forwarder", **settings) for _ in range(2)]
    messages = [_message(chance, number) for number in range(ALERTS)]
    rest = iter(messages)
    while part := list(itertools.islice(rest, chance.randrange(40, 130))):
        stage.send(*part)
        time.sleep(chance.uniform(0, 0.4))
        match chance.choice(["lose", "reset", "hang", "stop", "nothing"]):
            case "lose":
                redis.lose_reply(b"EVALSHA")
            case "reset":
                redis.reset()
            case "hang":
                redis.hang()
                time.sleep(chance.uniform(0, 1.5))
                redis.mend()
            case "stop":
                _restart(chance.choice(forwarders), redis)
    wait_for(stage.is_empty, "all alerts have left", 120)
    for forwarder in forwarders:
        forwarder.wait_healthy()
    came = Counter(moogsoft.delivered)
    assert set(came) == set(messages)
    assert [message for message, times in came.items() if times > 1] == []


def _message(chance: random.Random, number: int) -> str:
    if chance.random() < 0.3:
        port, state = chance.randrange(PORTS), chance.choice(["down", "up"])
        return f"Interface Gi0/{port} changed state to {state}, {number}"
    return f"unit {number} failed"


def _moody(seed: int) -> Callable[[Request], Reply]:
    """Return what answers some requests late, some with an error that is tried again."""
    chance = random.Random(f"{seed}/moogsoft")

    def answer(_: Request) -> Reply:
        mood = chance.random()
        if mood < 0.03:
            return Reply(503)
        if mood < 0.2:
            time.sleep(0.02)
        return Reply()

    return answer


def _restart(forwarder: ServiceProcess, redis: Proxy) -> None:
    forwarder.signal(signal.SIGTERM)
    redis.reset()
    assert forwarder.process.wait(60) in {0, -signal.SIGTERM}, forwarder.log()  # the latter where it had just begun
    forwarder.start(wait=False)
