"""Two workers of each kind that stall past their heartbeat and wake up, while PostgreSQL and Redis die and return."""

import pytest
import redis

from scripts.devtools.embedded import PostgresServer, RedisServer
from tests.chaos.blows import Blows, crash, kill, stall, stumble
from tests.chaos.bodies import EVERY
from tests.chaos.books import faults
from tests.chaos.load import load
from tests.chaos.stage import SECONDS, SENDERS, SETTINGS, TIMEOUT, chosen_seed, make_rules, tell, wait_settled
from tests.harness.moogsoft import MoogStandIn
from tests.harness.processes import StartService

PAIRS = ("alerter", "moog-forwarder", "remediation")
SHARE = 0.6  # of the time that the chaos tests are given


@pytest.mark.timeout(TIMEOUT)
def test_workers_that_stall_beside_others_settle_nothing_twice(
    own_redis: RedisServer,
    own_postgres: PostgresServer,
    own_database_url: str,
    moog_stand_in: MoogStandIn,
    start_service: StartService,
) -> None:
    seed = chosen_seed()
    make_rules(own_database_url)
    ingestor = start_service("ingestor", wait=False, **SETTINGS["ingestor"])
    pairs = {name: [start_service(name, wait=False, **SETTINGS[name]) for _ in range(2)] for name in PAIRS}
    services = [ingestor, *(service for pair in pairs.values() for service in pair)]
    for service in services:
        service.wait_healthy()
    victims = {f"{name} stalls": stall(pair[0]) for name, pair in pairs.items()}
    victims |= {f"{name} killed": kill(pair[1]) for name, pair in pairs.items()}
    servers = {"redis": crash(own_redis), "postgres": crash(own_postgres), "moogsoft": stumble(moog_stand_in)}
    blows = Blows(seed, victims | servers)
    with load(SENDERS, seed, f"{ingestor.url}/api/v2/ingest", EVERY) as ledger:
        blows.strike_for(SECONDS * SHARE)
    moog_stand_in.behave()
    tell(ledger, blows)
    with redis.Redis.from_url(own_redis.url) as client:
        wait_settled(client, services)
        assert faults(ledger, client, own_database_url, moog_stand_in.alerts()) == []
