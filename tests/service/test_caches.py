"""What the alerter holds of rules and hosts, against a real PostgreSQL."""

import asyncio
import gc
import itertools
import weakref
from collections.abc import AsyncIterator

import pytest
from prometheus_client import CollectorRegistry
from psycopg_pool import AsyncConnectionPool

from services.alerter.caches import PIECE, Caches
from services.postgres_connector import Pool
from services.runtime import garbage
from services.runtime.garbage import apart_from_garbage
from services.runtime.health import Health
from services.runtime.instruments import AlerterInstruments


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with AsyncConnectionPool(database_url, min_size=1, max_size=2, open=False) as opened:
        yield opened


@pytest.fixture
async def caches(pool: Pool) -> Caches:
    instruments = AlerterInstruments(CollectorRegistry())
    return Caches(pool, instruments, Health("alerter", instruments), match_short=False)


async def execute(pool: Pool, query: str) -> None:
    async with pool.connection() as connection:
        await connection.execute(query.encode())


async def test_all_rules_hosts_and_teams_are_read_however_many_pieces_they_take(pool: Pool, caches: Caches) -> None:
    count = 2 * PIECE + 1
    series = f"FROM generate_series(1, {count}) AS n"
    await execute(
        pool,
        "INSERT INTO alert_rules (match_string, match_type, priority, prod_handling, dev_handling, team_assignment) "
        f"SELECT 'text' || n || '.', 'contains', 1 + n % 1000, 'Log_only', 'Log_only', 'NETO' {series}",
    )
    await execute(pool, f"INSERT INTO development_hosts (hostname) SELECT 'lab' || n {series}")
    await execute(pool, f"INSERT INTO device_teams (hostname, team_assignment) SELECT 'core' || n, 'T' || n {series}")
    assert await caches.reload()
    assert len(caches.book) == len(caches.hosts.dev) == len(caches.hosts.teams) == count
    rule = caches.book.first_match(f"a text{count}.", None, None)
    assert rule is not None
    assert rule.match_string == f"text{count}."
    assert caches.hosts.team(f"core{count}") == f"T{count}"


async def test_a_book_is_compiled_again_only_when_a_rule_has_changed(pool: Pool, caches: Caches) -> None:
    await execute(
        pool,
        "INSERT INTO alert_rules (match_string, match_type, priority, prod_handling, dev_handling, team_assignment) "
        "VALUES ('fan', 'contains', 5, 'Log_only', 'Log_only', 'NETO')",
    )
    assert await caches.reload()
    book = caches.book
    await execute(pool, "INSERT INTO development_hosts (hostname) VALUES ('lab1')")
    assert await caches.reload()
    assert caches.book is book
    assert caches.hosts.environment("lab1") == "dev"
    await execute(pool, "UPDATE alert_rules SET team_assignment = 'CORE'")
    assert await caches.reload()
    assert caches.book is not book
    rule = caches.book.first_match("fan", None, None)
    assert rule is not None
    assert rule.team_assignment == "CORE"
    await execute(pool, "DELETE FROM alert_rules")
    assert await caches.reload()
    assert len(caches.book) == 0


async def test_what_is_given_up_is_freed_piece_by_piece_once_nobody_uses_it() -> None:
    class Book:
        def __init__(self) -> None:
            self.parts = [{number} for number in range(3 * garbage.PIECE + 1)]

    book = Book()
    left = [weakref.ref(part) for part in book.parts]
    freeing = asyncio.create_task(garbage.free_in_pieces([*book.parts], weakref.ref(book)))
    await asyncio.sleep(3 * garbage.TRY_SECONDS)
    assert not freeing.done()
    del book
    seen = [len(left)]
    while not freeing.done():
        await asyncio.sleep(0)
        seen.append(sum(part() is not None for part in left))
    assert seen[-1] == 0
    assert max(before - after for before, after in itertools.pairwise(seen)) == garbage.PIECE


async def test_texts_that_many_rules_have_alike_are_held_once(pool: Pool, caches: Caches) -> None:
    series = "FROM generate_series(1, 3) AS n"
    await execute(
        pool,
        "INSERT INTO alert_rules (match_string, match_type, priority, prod_handling, dev_handling, team_assignment) "
        f"SELECT 'text' || n || '.', 'contains', 7, 'Log_only', 'Ticket_only', 'NETO' {series}",
    )
    assert await caches.reload()
    rules = [caches.book.first_match(f"text{number}.", None, None) for number in (1, 2, 3)]
    for name in ("match_type", "prod_handling", "dev_handling", "team_assignment"):
        assert len({id(getattr(rule, name)) for rule in rules}) == 1, name


def test_what_was_garbage_before_something_is_set_apart_is_freed() -> None:
    class Circle:
        def __init__(self) -> None:
            self.own = self

    try:
        circle = weakref.ref(Circle())
        with apart_from_garbage():
            pass
        gc.collect()
        assert circle() is None
    finally:
        gc.unfreeze()


def test_what_is_made_apart_from_garbage_is_never_looked_through_and_the_collector_works_on() -> None:
    before = gc.get_freeze_count()
    try:
        with apart_from_garbage():
            assert not gc.isenabled()
            made = [[number] for number in range(1000)]
        assert gc.isenabled()
        assert gc.get_freeze_count() - before >= len(made)
        with pytest.raises(ZeroDivisionError), apart_from_garbage():
            raise ZeroDivisionError
        assert gc.isenabled()
    finally:
        gc.unfreeze()
