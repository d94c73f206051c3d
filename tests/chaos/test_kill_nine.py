"""Load by senders that repeat, while kill -9 hits services and Redis at random: nothing lost, nothing doubled.

MUTT_CHAOS_SEED repeats a run's blows and events (their interleaving is the machine's); MUTT_CHAOS_SECONDS lengthens it.
"""

import pytest
import redis

from scripts.devtools.embedded import RedisServer
from tests.chaos.blows import Blows, crash, kill, stumble
from tests.chaos.bodies import EVERY
from tests.chaos.books import faults
from tests.chaos.load import load
from tests.chaos.stage import SECONDS, SENDERS, SETTINGS, TIMEOUT, chosen_seed, make_rules, tell, wait_settled
from tests.harness.moogsoft import MoogStandIn
from tests.harness.processes import StartService


@pytest.mark.timeout(TIMEOUT)
def test_killed_at_random_under_load_nothing_is_lost_and_nothing_doubled(
    own_redis: RedisServer, database_url: str, moog_stand_in: MoogStandIn, start_service: StartService
) -> None:
    seed = chosen_seed()
    make_rules(database_url)
    services = {name: start_service(name, wait=False, **settings) for name, settings in SETTINGS.items()}
    for service in services.values():
        service.wait_healthy()
    victims = {name: kill(service) for name, service in services.items()}
    blows = Blows(seed, {**victims, "redis": crash(own_redis), "moogsoft": stumble(moog_stand_in)})
    with load(SENDERS, seed, f"{services['ingestor'].url}/api/v2/ingest", EVERY) as ledger:
        blows.strike_for(SECONDS)
    moog_stand_in.behave()
    tell(ledger, blows)
    with redis.Redis.from_url(own_redis.url) as client:
        wait_settled(client, services.values())
        assert faults(ledger, client, database_url, moog_stand_in.alerts()) == []
    assert {name: service.terminate() for name, service in services.items()} == dict.fromkeys(services, 0)
