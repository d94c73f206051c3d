"""What the curves are measured with, on real servers: an open load that leaves nothing out, viewers, queue entries."""

import msgspec
import psycopg
import pytest

from benchmarks import machine
from benchmarks.growth_audit import MONTHS, Audit
from benchmarks.growth_stage import QUEUE, Command, Entries, OpenLoad, Stage
from benchmarks.machine import Servers
from scripts.devtools.embedded import PostgresServer, RedisServer

INDEXES = """
    SELECT tablename, indexdef FROM pg_indexes WHERE tablename LIKE 'event_audit_log\\_%' ORDER BY 1, 2
"""


def test_every_event_that_was_due_comes_and_says_when_and_viewers_poll(
    own_redis: RedisServer, own_postgres: PostgresServer
) -> None:
    stage = Stage(Servers(own_redis, own_postgres), rule_count=20)
    with stage.running("ingestor", "webui") as (ingestor, console), stage.servers.client as client:
        load = OpenLoad(ingestor.url, rate=200, seconds=0.5, batch=2, size=200, connections=3, addresses=2, greet=1)
        report = load.run(lambda: stage.cpu(ingestor))
        assert report["accepted"] == 100
        assert 0 < report["p50_ms"] <= report["p999_ms"] <= report["max_ms"]
        assert report["cpu"] > 0
        events = [msgspec.json.decode(entry) for entry in client.lrange(QUEUE, 0, -1)]
        dues = sorted({event["due"] for event in events})[3:]
        assert len(events) == 106  # with the first request of each connection
        assert len(dues) == 50
        assert abs(dues[-1] - dues[0] - 0.49) < 0.001
        viewers = Command("viewers", console.url, count=2, seconds=5.1)
        seen = viewers.run()
    assert seen["requests"] >= 2
    assert set(seen["statuses"]) <= {"200", "304"}


def test_fresh_entries_are_audited_as_events_of_their_own(own_redis: RedisServer, own_postgres: PostgresServer) -> None:
    stage, entries = Stage(Servers(own_redis, own_postgres), rule_count=20), Entries(different=10)
    stage.fill(entries.fresh(15))
    stage.fill(entries.fresh(15))
    with stage.running("alerter"):
        machine.wait_until(stage.drained, "the audit of all events")
    with psycopg.connect(stage.database) as connection:
        row = connection.execute("SELECT count(*), count(DISTINCT event_id) FROM event_audit_log").fetchone()
    assert row == (30, 30)
    with stage.servers.client as client:
        assert not client.exists("mutt:dlq:alerter")


def test_an_audit_that_is_filled_apart_has_the_rows_and_indexes_of_one_that_was_written(
    own_redis: RedisServer, own_postgres: PostgresServer
) -> None:
    audit = Audit(Stage(Servers(own_redis, own_postgres), rule_count=20))
    with psycopg.connect(audit.stage.database) as connection:
        indexes = connection.execute(INDEXES).fetchall()
    assert len(indexes) >= 4 * MONTHS
    for level in (400, 2000):
        audit.grow(level)
        with psycopg.connect(audit.stage.database) as connection:
            assert connection.execute(INDEXES).fetchall() == indexes
            found = connection.execute(
                "SELECT tableoid::regclass::text, count(*), count(DISTINCT event_id) FROM event_audit_log GROUP BY 1"
            ).fetchall()
        assert sorted(found) == [
            (f"event_audit_log_{month:%Y_%m}", level // MONTHS, level // MONTHS) for month in reversed(audit.months())
        ]


def test_a_disk_that_is_too_small_ends_the_curve_before_it_fills_anything(
    own_redis: RedisServer, own_postgres: PostgresServer
) -> None:
    with pytest.raises(SystemExit, match=r"^1000000000000\.0 GB of disk are needed"):
        machine.require_disk(Servers(own_redis, own_postgres), 10**21)
