import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import redis
from prometheus_client import CollectorRegistry
from psycopg.errors import ReadOnlySqlTransaction
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, RedisError

from mutt.delivery_row import pack_deliveries
from mutt.errors import MisconfiguredError, SettingsError
from mutt.server_settings import DatabaseSettings, RedisSettings
from scripts.connections import database_url as script_database_url
from scripts.devtools.embedded import HOST, PostgresServer, RedisServer
from scripts.devtools.services import database_environment, redis_environment
from services import postgres_connector, redis_connector
from services.audit_logger import DatabaseAwayError, write_deliveries
from services.postgres_connector import Pool
from services.runtime.health import PROBE_TIMEOUT, Health
from services.runtime.http_server import listen
from services.runtime.instruments import CommonInstruments
from services.runtime.secrets import EnvironmentSecrets
from tests.harness.proxy import Proxy
from tests.harness.waiting import eventually


def redis_settings(url: str) -> tuple[RedisSettings, dict[str, str]]:
    environment = redis_environment(url)
    return RedisSettings(port=int(environment["REDIS_PORT"]), host="127.0.0.1", tls_enabled=False), environment


async def test_the_next_password_is_tried_when_the_current_one_is_refused(redis_url: str) -> None:
    settings, environment = redis_settings(redis_url)
    right = environment["REDIS_PASS_CURRENT"]
    secrets = EnvironmentSecrets({"REDIS_PASS_CURRENT": "old", "REDIS_PASS_NEXT": right})
    client = redis_connector.connect(settings, secrets)
    assert all(await asyncio.gather(*(client.ping() for _ in range(8))))
    await client.aclose()


async def test_no_password_that_holds_is_an_error_and_a_fresh_one_is_found(redis_url: str, tmp_path: Path) -> None:
    settings, environment = redis_settings(redis_url)
    held = tmp_path / "password"
    held.write_text("old")
    secrets = EnvironmentSecrets({"REDIS_PASS_CURRENT_FILE": str(held), "REDIS_PASS_NEXT": "older"})
    client = redis_connector.connect(settings, secrets)
    with pytest.raises(AuthenticationError):
        await client.ping()
    held.write_text(environment["REDIS_PASS_CURRENT"])
    assert await client.ping()
    await client.aclose()


async def test_the_first_password_of_a_server_that_had_none_is_found(own_redis: RedisServer, tmp_path: Path) -> None:
    settings, environment = redis_settings(own_redis.url)
    held = tmp_path / "password"
    held.write_text("")
    with redis.Redis.from_url(own_redis.url) as administrator:
        administrator.config_set("requirepass", "")
        secrets = EnvironmentSecrets({"REDIS_PASS_CURRENT_FILE": str(held)})
        client = redis_connector.connect(settings, secrets)
        assert await client.ping()
        held.write_text(environment["REDIS_PASS_CURRENT"])
        administrator.config_set("requirepass", environment["REDIS_PASS_CURRENT"])
        administrator.client_kill_filter(_type="normal", skipme=True)
    with pytest.raises(RedisError):
        await client.ping()
    assert await client.ping()
    await client.aclose()


async def test_no_command_is_repeated_when_its_reply_is_lost(
    redis_url: str, redis_client: Redis, proxy: Callable[[str], Proxy]
) -> None:
    between = proxy(redis_url)
    settings, environment = redis_settings(between.url)
    client = redis_connector.connect(settings, EnvironmentSecrets(environment))
    between.lose_reply(b"RPUSH")
    with pytest.raises((ConnectionError, RedisError)):
        await client.rpush("list", "once")
    assert await redis_client.llen("list") == 1
    await client.aclose()


async def test_a_missing_or_wrong_setting_of_the_server_is_named(redis_url: str, redis_client: Redis) -> None:
    settings, environment = redis_settings(redis_url)
    client = redis_connector.connect(settings, EnvironmentSecrets(environment))
    await redis_client.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(MisconfiguredError, match=r"maxmemory-policy allkeys-lru.*noeviction"):
        await redis_connector.check_server(client)
    await redis_client.config_set("maxmemory-policy", "noeviction")
    await redis_client.config_set("appendonly", "no")
    assert ["appendonly" in warning for warning in await redis_connector.check_server(client)] == [True]
    await client.aclose()


async def test_a_redis_that_refuses_writes_is_told_with_its_words(redis_url: str, redis_client: Redis) -> None:
    settings, environment = redis_settings(redis_url)
    client = redis_connector.connect(settings, EnvironmentSecrets(environment))
    assert await redis_connector.takes_writes(client)
    await redis_client.config_set("maxmemory", "1")
    assert not await redis_connector.takes_writes(client)
    assert "not allowed when used memory" in (redis_connector.problem(client) or "")
    await redis_client.config_set("maxmemory", "0")
    await redis_client.replicaof(HOST, "9")
    assert not await redis_connector.takes_writes(client)
    assert "read only replica" in (redis_connector.problem(client) or "")
    await redis_client.replicaof("NO", "ONE")
    assert await redis_connector.takes_writes(client)
    assert redis_connector.problem(client) is None
    assert await redis_client.dbsize() == 0, "asking changed nothing"
    await client.aclose()


def database_settings(url: str) -> tuple[DatabaseSettings, dict[str, str]]:
    environment = database_environment(url)
    settings = DatabaseSettings(
        host=environment["DB_HOST"],
        port=int(environment["DB_PORT"]),
        name=environment["DB_NAME"],
        user=environment["DB_USER"],
        tls_enabled=False,
        pool_min_conn=1,
    )
    return settings, environment


async def test_why_postgresql_lets_nobody_in_is_told(own_postgres: PostgresServer, own_database_url: str) -> None:
    settings, environment = database_settings(own_database_url)
    with psycopg.connect(own_postgres.url(), autocommit=True) as operator:
        operator.execute("ALTER ROLE mutt_user CONNECTION LIMIT 0")
        async with postgres_connector.open_pool(settings, EnvironmentSecrets(environment)) as pool:
            assert not await postgres_connector.answers_anew(pool)
            told = postgres_connector.problem(pool) or ""
            assert told == 'PostgreSQL lets nobody in: too many connections for role "mutt_user"'
            operator.execute("ALTER ROLE mutt_user CONNECTION LIMIT -1 PASSWORD 'another'")
            assert not await postgres_connector.answers_anew(pool)
            told = postgres_connector.problem(pool) or ""
            assert told.startswith("PostgreSQL refuses the password of mutt_user: make DB_PASS_CURRENT")
            assert 'password authentication failed for user "mutt_user"' in told
            assert environment["DB_PASS_CURRENT"] not in told
            own_postgres.stop()
            assert not await postgres_connector.answers_anew(pool)
            assert postgres_connector.problem(pool) is None
            own_postgres.start()


async def write_directly(pool: Pool) -> None:
    async with postgres_connector.transaction(pool) as connection:
        await connection.execute("INSERT INTO development_hosts (hostname) VALUES (gen_random_uuid())")


async def write_rows_of_the_audit(pool: Pool) -> None:
    at = datetime.now(UTC)
    await write_deliveries(pool, pack_deliveries([("019ad2f0-0000-7000-8000-000000000001", 1)], at, 200, "success"))


async def test_the_next_database_password_is_tried_in_the_same_connection_attempt(database_url: str) -> None:
    settings, environment = database_settings(database_url)
    secrets = EnvironmentSecrets({"DB_PASS_CURRENT": "old", "DB_PASS_NEXT": environment["DB_PASS_CURRENT"]})
    async with postgres_connector.open_pool(settings, secrets) as pool:
        assert await postgres_connector.is_connected(pool)


async def test_connections_made_after_a_rotation_ask_for_nothing_any_more(database_url: str, tmp_path: Path) -> None:
    settings, environment = database_settings(database_url)
    held = tmp_path / "password"
    held.write_text("old")
    secrets = EnvironmentSecrets({"DB_PASS_CURRENT_FILE": str(held)})
    async with postgres_connector.open_pool(settings, secrets) as pool:
        held.write_text(environment["DB_PASS_CURRENT"])
        assert await postgres_connector.answers_anew(pool), "the secrets were read again, since none was left"
        readings = secrets._begun
        assert await postgres_connector.answers_anew(pool)
        assert secrets._begun == readings


def test_a_refused_password_is_told_from_everything_else_that_ends_a_login(database_url: str) -> None:
    def refused(url: str) -> bool:
        with pytest.raises(psycopg.OperationalError) as caught:
            psycopg.connect(url, connect_timeout=5)
        return postgres_connector.is_password_refused(caught.value)

    parts = urlsplit(database_url)
    wrong_password = database_url.replace(f":{parts.password}@", ":wrong@")
    assert refused(wrong_password)
    assert not refused(database_url.replace(parts.path, "/no_such_database"))
    assert not refused(database_url.replace(f":{parts.port}/", ":9/"))


def test_a_script_takes_the_next_password_while_the_current_one_is_refused(database_url: str) -> None:
    environment = database_environment(database_url)
    environment |= {"DB_PASS_CURRENT": "old", "DB_PASS_NEXT": environment["DB_PASS_CURRENT"]}
    psycopg.connect(script_database_url(None, environment)).close()


@pytest.mark.parametrize("write", [write_directly, write_rows_of_the_audit])
async def test_a_connection_to_a_server_that_became_read_only_is_not_used_again(
    database_url: str, write: Callable[[Pool], Awaitable[None]]
) -> None:
    settings, environment = database_settings(database_url)
    async with postgres_connector.open_pool(
        replace(settings, pool_max_conn=1), EnvironmentSecrets(environment)
    ) as pool:
        async with postgres_connector.transaction(pool) as connection:
            await connection.execute("SET default_transaction_read_only = on")
        with pytest.raises((ReadOnlySqlTransaction, DatabaseAwayError), match="read-only"):
            await write(pool)
        await write(pool)


async def test_who_is_cancelled_while_waiting_for_a_connection_takes_none_out_of_the_pool(database_url: str) -> None:
    settings, environment = database_settings(database_url)
    async with postgres_connector.open_pool(
        replace(settings, pool_max_conn=1), EnvironmentSecrets(environment)
    ) as pool:
        async with postgres_connector.borrowed(pool):
            waiting = asyncio.create_task(postgres_connector.is_connected(pool))
            await eventually(lambda: pool.get_stats().get("requests_waiting"), "somebody who waits")
            waiting.cancel()
            await asyncio.wait({waiting})
        assert await postgres_connector.is_connected(pool)


async def test_a_statement_that_never_ends_is_ended(database_url: str) -> None:
    settings, environment = database_settings(database_url)
    async with (
        postgres_connector.open_pool(settings, EnvironmentSecrets(environment)) as pool,
        pool.connection() as connection,
    ):
        cursor = await connection.execute("SHOW statement_timeout")
        assert await cursor.fetchone() == ("30s",)
        await connection.execute("SET statement_timeout = 10")
        with pytest.raises(psycopg.errors.QueryCanceled):
            await connection.execute("SELECT pg_sleep(60)")


async def test_health_answers_within_a_second_when_a_dependency_hangs() -> None:
    instruments = CommonInstruments(CollectorRegistry())
    health = Health("alerter", instruments)

    async def hangs() -> bool:
        await asyncio.sleep(3600)
        return True

    async def works() -> bool:
        return True

    health.watch("redis", works)
    health.watch("postgres", hangs)
    health.measure_depth(hangs)
    assert PROBE_TIMEOUT < 1
    healthy, document = await asyncio.wait_for(health.report(), 30)
    assert not healthy
    assert document["status"] == "unhealthy"
    assert (document["redis"], document["postgres"]) == ("connected", "disconnected")
    assert document["failing"] == ["postgres"]
    assert document["queue_depth"] is None
    assert (document["version"], document["service"]) == ("2.5", "mutt-alerter")


async def test_two_who_ask_for_health_at_once_hear_the_same() -> None:
    """Two Prometheus servers, or one and a load balancer: an answer under way is no server that hangs."""
    health = Health("alerter", CommonInstruments(CollectorRegistry()))
    asked = 0

    async def answers_soon() -> bool:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.01)
        return True

    async def length() -> int:
        await asyncio.sleep(0.01)
        return 7

    health.watch("redis", answers_soon)
    health.measure_depth(length)
    reports = await asyncio.gather(*(health.report() for _ in range(3)))
    assert [(healthy, said["redis"], said["queue_depth"]) for healthy, said in reports] == [(True, "connected", 7)] * 3
    assert asked == 1


def test_a_port_in_use_names_the_variable() -> None:
    with listen("127.0.0.1", 0, "SERVER_PORT_WEBUI") as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=rf"SERVER_PORT_WEBUI={port}: .* set SERVER_PORT_WEBUI to a free one"):
            listen("127.0.0.1", port, "SERVER_PORT_WEBUI")


def test_a_secret_may_come_from_a_file_and_a_missing_file_is_named(tmp_path: object) -> None:
    folder = str(tmp_path)
    with pytest.raises(SettingsError, match=r"INGEST_API_KEY_FILE=.* cannot be read"):
        EnvironmentSecrets({"INGEST_API_KEY_FILE": f"{folder}/missing"})
