"""The rows of single stages, in tiny forms: that they run, report, and see that nothing is lost."""

from functools import partial

import psycopg
import uvloop

from benchmarks import audit, claim_settle, pieces, two_alerters
from benchmarks.machine import Servers, database_url
from benchmarks.stacks import Stack
from scripts.devtools.embedded import PostgresServer, RedisServer
from scripts.migrate import migrate


def test_a_queue_is_emptied_in_each_way(own_redis: RedisServer, own_postgres: PostgresServer) -> None:
    servers, entries = Servers(own_redis, own_postgres), pieces.entries(claim_settle.BATCH)
    with servers.client as client:
        for work in (
            partial(claim_settle.one_by_one, client),
            partial(claim_settle.taken, client),
            lambda count: uvloop.run(claim_settle.claimed_and_settled(servers, count)),
        ):
            assert claim_settle.measure(servers, entries, claim_settle.BATCH, work).per_second > 0


def test_rows_are_written_in_each_way(own_redis: RedisServer, own_postgres: PostgresServer) -> None:
    servers, rows = Servers(own_redis, own_postgres), pieces.rows(300)
    url = database_url(own_postgres, "bench_audit")
    migrate(url)
    with psycopg.connect(url) as connection:
        connection.execute(audit.BARE)
    for table, way in (
        ("event_audit_log", audit.inserted),
        ("bare", audit.copied),
        ("event_audit_log", audit.written),
    ):
        assert audit.measure(servers, url, table, rows, way).per_second > 0


def test_two_alerters_audit_each_event_once(own_redis: RedisServer, own_postgres: PostgresServer) -> None:
    stack = Stack("mutt", Servers(own_redis, own_postgres))
    assert two_alerters.measure(stack, pieces.entries(3000), 2).per_second > 0
