import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, date, datetime
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection
from redis.asyncio import Redis

from mutt import keys
from mutt.errors import SettingsError
from mutt.months import months_due
from scripts import create_monthly_partitions, init_dynamic_config
from scripts.connections import database_url as find_database
from scripts.devtools.services import database_environment, redis_environment
from scripts.init_dynamic_config import first_values, initialise
from services.partitions import ensure_partitions
from tests.harness.waiting import eventually

EVENTS = "event_audit_log"


def partitions(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s::regclass", (EVENTS,)
        )
        return {row[0] for row in rows}


async def test_upkeep_makes_what_is_missing_and_says_what_it_made(database_url: str) -> None:
    today = date(2035, 1, 31)
    async with await AsyncConnection.connect(database_url) as connection:
        made = await ensure_partitions(connection, today)
        again = await ensure_partitions(connection, today)

    assert made == [f"{EVENTS}_{month:%Y_%m}" for month in months_due(today)]
    assert again == []
    assert set(made) <= partitions(database_url)


async def test_upkeep_leaves_no_transaction_open(database_url: str) -> None:
    async with await AsyncConnection.connect(database_url) as connection:
        await ensure_partitions(connection, date(2035, 1, 31))
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def test_the_partitions_command_looks_further_ahead_when_told(
    database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert create_monthly_partitions.main(["--database-url", database_url]) == 0
    assert create_monthly_partitions.main(["--database-url", database_url, "--months-ahead", "4"]) == 0

    last = months_due(datetime.now(UTC).date(), months_ahead=4)[-1]
    assert capsys.readouterr().out.splitlines() == [
        "nothing to do: every partition is there",
        f"made {EVENTS}_{last:%Y_%m}",
    ]


def test_the_partitions_command_makes_single_months(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--database-url", database_url, "--month", "2024-05", "--month", "2024-07-31"]
    assert create_monthly_partitions.main(arguments) == 0
    assert capsys.readouterr().out.splitlines() == [f"there is {EVENTS}_2024_05", f"there is {EVENTS}_2024_07"]
    assert {f"{EVENTS}_2024_05", f"{EVENTS}_2024_07"} <= partitions(database_url)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [(["--month", "2024-13"], "write it like 2026-11"), (["--months-ahead", "-1"], "no number from 0 to 3650")],
)
def test_the_partitions_command_says_what_an_argument_has_to_be(
    capsys: pytest.CaptureFixture[str], arguments: list[str], problem: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        create_monthly_partitions.main(arguments)
    assert problem in capsys.readouterr().err


def test_the_partitions_command_says_that_the_schema_is_missing(
    empty_database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert create_monthly_partitions.main(["--database-url", empty_database_url]) == 1
    assert "run scripts/migrate.py" in capsys.readouterr().err


def test_scripts_find_the_database_by_the_services_variables(database_url: str) -> None:
    environment = database_environment(database_url)
    with psycopg.connect(find_database(None, environment)) as connection:
        assert connection.info.dbname == environment["DB_NAME"]
    assert find_database("given", {"DATABASE_URL": "other"}) == "given"
    assert find_database(None, {"DATABASE_URL": "other"}) == "other"


def test_only_explicitly_set_variables_become_dynamic_values() -> None:
    environment = {"MOOG_RATE_LIMIT": " 75 ", "CACHE_RELOAD_INTERVAL": "", "LOG_LEVEL": "INFO"}
    assert first_values(environment) == {"moog_rate_limit": "75"}


def test_every_impossible_variable_is_named_with_what_is_possible() -> None:
    with pytest.raises(SettingsError) as refused:
        first_values({"MOOG_RATE_LIMIT": "many", "MAX_INGEST_QUEUE_SIZE": "0"})
    assert "MOOG_RATE_LIMIT='many' cannot become moog_rate_limit: a whole number from 1" in str(refused.value)
    assert "MAX_INGEST_QUEUE_SIZE='0' cannot become max_ingest_queue_size" in str(refused.value)


async def stored(client: Redis) -> Mapping[str, Any]:
    found = [key async for key in client.scan_iter("mutt:config:*")]
    return {key.decode(): await client.get(key) for key in found}


async def test_a_value_is_written_once_and_announced(redis_client: Redis, redis_url: str) -> None:
    environment = redis_environment(redis_url) | {"MOOG_RATE_LIMIT": "75", "CACHE_RELOAD_INTERVAL": "60"}
    await redis_client.set(keys.config("cache_reload_interval"), "600")
    announced: list[bytes] = []
    async with redis_client.pubsub(ignore_subscribe_messages=True) as channel:
        await channel.subscribe(keys.CONFIG_UPDATES)

        first = await initialise(environment)
        second = await initialise(environment | {"MOOG_RATE_LIMIT": "80"})

        async def listen() -> list[bytes]:
            message = await channel.get_message()
            announced.extend([message["data"]] if message else [])
            return announced

        heard: Callable[[], Awaitable[list[bytes]] | list[bytes]] = listen
        await eventually(heard, "the change is announced")
    assert await stored(redis_client) == {
        "mutt:config:cache_reload_interval": b"600",
        "mutt:config:moog_rate_limit": b"75",
    }
    assert announced == [b"moog_rate_limit"]
    assert "written  moog_rate_limit = 75, from MOOG_RATE_LIMIT" in first
    assert "kept     cache_reload_interval = 600" in first
    assert "not set  slo_window_hours: the default holds" in first
    assert "kept     moog_rate_limit = 75" in second


def test_the_command_runs_by_its_path_and_names_what_is_wrong(redis_url: str) -> None:
    environment = redis_environment(redis_url)

    def run(**more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, init_dynamic_config.__file__],
            env=environment | more,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )

    good, bad, away = run(MOOG_RATE_LIMIT="75"), run(MOOG_RATE_LIMIT="0"), run(REDIS_PORT="9")
    assert (good.returncode, bad.returncode, away.returncode) == (0, 1, 1)
    assert "written  moog_rate_limit = 75" in good.stdout
    assert "MOOG_RATE_LIMIT='0'" in bad.stderr
    assert "init_dynamic_config.py: " in away.stderr
    assert "Traceback" not in away.stderr
