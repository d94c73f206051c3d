"""What services measure for those who watch them: ages of queues, the whole way, heartbeats, what is missing."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import redis.asyncio
from prometheus_client import CollectorRegistry

from mutt import keys
from mutt.envelope import amend
from mutt.events import iso
from services.protocol.retries import member
from services.runtime.ages import AgeSampler
from services.runtime.instruments import QUEUES, QueueInstruments
from tests.harness.entries import queue_entry
from tests.harness.processes import ServiceProcess, StartService, fetch
from tests.harness.proxy import Proxy
from tests.harness.waiting import wait_for
from tests.service.moog_stage import Moogsoft, alert, to
from tests.service.trail import Trail

AUDITED = "mutt_alerter_end_to_end_latency_seconds_count"
DELIVERED = "mutt_moog_end_to_end_latency_seconds"


def aged(minutes: float) -> bytes:
    return amend(queue_entry()[1], received_at=iso(datetime.now(UTC) - timedelta(minutes=minutes)))


async def test_the_age_of_each_queue_is_that_of_its_oldest_entry(redis_client: redis.asyncio.Redis) -> None:
    await redis_client.lpush("a-list", aged(9), aged(5), aged(1))
    await redis_client.zadd(keys.RETRY_MOOG, {member("0" * 36, aged(2)): 1, member("1" * 36, aged(7)): 2})
    await redis_client.lpush("rubbish", b"not an entry")
    queues = {"ingest": "a-list", "retry": keys.RETRY_MOOG, "poison": "empty", "alert": "rubbish"}
    ages = await AgeSampler(redis_client, QueueInstruments(CollectorRegistry()), queues).sample()
    assert ages["ingest"] == pytest.approx(540, abs=60)
    assert ages["retry"] == pytest.approx(420, abs=60)
    assert ages["poison"] == 0
    assert ages["alert"] is None
    assert set(queues) <= set(QUEUES)


def test_ages_and_memory_are_shown_and_absent_while_redis_is_away(
    start_service: StartService, proxy: Callable[[str], Proxy], redis_url: str, trail: Trail
) -> None:
    way = proxy(redis_url)
    ingestor = start_service("ingestor", REDIS_PORT=str(way.port))
    trail.send(aged(60))
    age = "mutt_queue_oldest_age_seconds"
    wait_for(lambda: (ingestor.metric(age, queue="ingest") or 0) > 3000, "the age of the queue")
    assert ingestor.metric(age, queue="quarantine") == 0
    wait_for(lambda: ingestor.metric("mutt_redis_used_memory_bytes"), "Redis's memory")
    assert ingestor.metric("mutt_redis_maxmemory_bytes") == 0
    assert abs(time.time() - (ingestor.metric("mutt_heartbeat_timestamp_seconds") or 0)) < 60
    way.cut()
    # Nobody asks for /health: the metrics say it by themselves.
    wait_for(lambda: ingestor.metric("mutt_dependency_up", dependency="redis") == 0, "Redis away")
    assert ingestor.metric("mutt_healthy") == 0
    wait_for(lambda: ingestor.metric(age, queue="ingest") is None, "no age")
    way.mend()
    wait_for(lambda: ingestor.metric("mutt_healthy") == 1, "health again")
    wait_for(lambda: ingestor.metric(age, queue="ingest"), "the age again")


def test_each_audited_event_is_measured_once_whether_it_waited_in_redis_or_not(
    start_service: StartService, proxy: Callable[[str], Proxy], database_url: str, trail: Trail
) -> None:
    trail.rule(match_string="test message", prod_handling="Log_only")
    way = proxy(database_url)
    alerter = start_service("alerter", DB_PORT=str(way.port), ALERTER_DATABASE_GRACE="0.2")
    trail.send(aged(10), aged(10))
    wait_for(lambda: alerter.metric(AUDITED) == 2, "two events measured")
    assert alerter.metric(AUDITED.replace("_count", "_bucket"), le="300.0") == 0
    way.cut()
    trail.send(aged(0), aged(0), aged(0))
    trail.wait_length(keys.AUDIT_PENDING, 3)
    assert alerter.metric(AUDITED) == 2
    way.mend()
    trail.wait_rows(5)
    wait_for(lambda: alerter.metric(AUDITED) == 5, "five events measured")
    assert len(trail.rows()) == 5


def test_each_delivered_alert_is_measured_from_its_receipt(start_service: StartService, trail: Trail) -> None:
    moogsoft = Moogsoft()
    try:
        forwarder = start_service("moog-forwarder", **to(moogsoft))
        received = iso(datetime.now(UTC) - timedelta(minutes=2))
        trail.redis.lpush("mutt:alert_queue", amend(alert("old")[1], received_at=received), alert("new")[1])
        moogsoft.wait_delivered(2)
        wait_for(lambda: forwarder.metric(f"{DELIVERED}_count") == 2, "two alerts measured")
        assert forwarder.metric(f"{DELIVERED}_bucket", le="60.0") == 1
        assert 120 <= (forwarder.metric(f"{DELIVERED}_sum") or 0) < 300
    finally:
        moogsoft.close()


def test_a_partition_that_cannot_be_made_is_counted_and_made_at_the_next_start(
    start_service: StartService, database_url: str
) -> None:
    last = (datetime.now(UTC) + timedelta(days=70)).strftime("%Y_%m")

    def missing(alerter: ServiceProcess) -> Any:
        return alerter.metric("mutt_audit_partitions_missing")

    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"DROP TABLE event_audit_log_{last}".encode())
        connection.execute("ALTER FUNCTION create_monthly_partition(date) RENAME TO set_aside")
        alerter = start_service("alerter", BRPOPLPUSH_TIMEOUT="1")
        wait_for(lambda: missing(alerter) == 1, "a missing partition")
        connection.execute("ALTER FUNCTION set_aside(date) RENAME TO create_monthly_partition")
        alerter.restart()
        wait_for(lambda: missing(alerter) == 0, "none missing")


def test_a_refused_dynamic_value_is_counted_by_each_service_that_reads_it(
    start_service: StartService, trail: Trail
) -> None:
    ingestor = start_service("ingestor", DYNAMIC_CONFIG_ENABLED="true")
    assert fetch(ingestor.metrics_url)[0] == 200
    assert ingestor.metric("mutt_config_refused") == 0
    trail.redis.set(keys.config("moog_rate_limit"), "lots")
    trail.redis.publish(keys.CONFIG_UPDATES, "moog_rate_limit")
    wait_for(lambda: ingestor.metric("mutt_config_refused") == 1, "a refused value")
    trail.redis.delete(keys.config("moog_rate_limit"))
    trail.redis.publish(keys.CONFIG_UPDATES, "moog_rate_limit")
    wait_for(lambda: ingestor.metric("mutt_config_refused") == 0, "none refused")
