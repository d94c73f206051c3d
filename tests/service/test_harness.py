"""The harness itself: what other tests rest on."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import psycopg
import pytest
import redis
import redis.asyncio
import requests

from scripts.devtools.embedded import PostgresServer, RedisServer
from tests.harness.credentials import MOOG_API_KEY
from tests.harness.moogsoft import MoogStandIn
from tests.harness.proxy import Proxy


async def test_each_test_finds_an_empty_redis(redis_client: redis.asyncio.Redis) -> None:
    assert await redis_client.dbsize() == 0
    await redis_client.set("key", b"\xff")
    assert await redis_client.get("key") == b"\xff"


async def test_the_key_of_another_test_is_gone(redis_client: redis.asyncio.Redis) -> None:
    assert await redis_client.dbsize() == 0


def test_a_killed_redis_keeps_what_it_acknowledged(own_redis: RedisServer) -> None:
    with redis.Redis.from_url(own_redis.url) as client:
        client.lpush("list", "entry")
    own_redis.kill()
    own_redis.start()
    with redis.Redis.from_url(own_redis.url) as client:
        assert client.lrange("list", 0, -1) == [b"entry"]


def test_each_test_has_a_migrated_database_of_its_own(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT count(*) FROM event_audit_log").fetchone() == (0,)
        connection.execute("CREATE TABLE own_table ()")


def test_a_killed_postgres_keeps_what_it_committed(own_postgres: PostgresServer, own_database_url: str) -> None:
    with psycopg.connect(own_database_url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
    own_postgres.kill()
    own_postgres.start()
    with psycopg.connect(own_database_url) as connection:
        assert connection.execute("SELECT one FROM kept").fetchone() == (1,)


def test_a_proxy_delivers_half_of_a_reply_and_ends_the_connection(
    redis_url: str, proxy: Callable[[str], Proxy]
) -> None:
    between = proxy(redis_url)
    with redis.Redis.from_url(between.url, retry=None) as client:
        client.set("key", "value")
        between.halve(1, end=True)
        with pytest.raises(redis.ConnectionError):
            client.get("key")
        between.mend()
        assert client.get("key") == b"value"


def test_a_proxy_loses_the_reply_of_a_command_that_ran(redis_url: str, proxy: Callable[[str], Proxy]) -> None:
    between = proxy(redis_url)
    with redis.Redis.from_url(between.url, retry=None) as client:
        client.set("counter", 0)
        between.lose_reply(b"INCR")
        with pytest.raises(redis.ConnectionError):
            client.incr("counter")
        assert client.get("counter") == b"1"
        between.cut()
        with pytest.raises(redis.ConnectionError):
            client.get("counter")
        between.mend()
        assert client.get("counter") == b"1"


def test_the_stand_in_counts_alerts_and_misbehaves_on_request(moog_stand_in: MoogStandIn) -> None:
    first = {"external_id": "a", "description": "one"}
    assert post(moog_stand_in.events_url, first) == 200
    assert post(moog_stand_in.events_url, {"events": [first, {"external_id": "b"}]}) == 200
    stats = moog_stand_in.stats()
    assert (stats["count"], stats["distinct"], stats["doubled"]) == (3, 2, 1)
    moog_stand_in.behave(status=503, times=1)
    assert [post(moog_stand_in.events_url, first) for _ in range(2)] == [503, 200]
    moog_stand_in.behave(refuse=True)
    assert post(moog_stand_in.events_url, first) == 0
    moog_stand_in.behave(hang=True)
    assert post(moog_stand_in.events_url, first, patience=0.5) == 0
    moog_stand_in.behave(reset=True)
    moog_stand_in.kill()
    moog_stand_in.start()
    assert [alert["external_id"] for alert in moog_stand_in.alerts()] == ["a", "a", "b", "a"]


def post(url: str, alert: Mapping[str, object], patience: float = 30) -> int:
    try:
        headers = {"Authorization": f"Bearer {MOOG_API_KEY}"}
        return requests.post(url, json=alert, headers=headers, timeout=patience).status_code
    except requests.RequestException:
        return 0


@pytest.mark.parametrize("ci", ["true", ""])
def test_a_skip_is_a_failure_in_ci(ci: str, tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text("import pytest\n@pytest.mark.skip\ndef test_a(): pass\n")
    (tmp_path / "test_two.py").write_text("import pytest\npytest.skip('no', allow_module_level=True)\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.conftest", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env={"CI": ci})
    assert ("2 skipped" in done.stdout) == (ci == ""), done.stdout
    assert (done.returncode == 0) == (ci == ""), done.stdout
    assert ("which CI=true forbids" in done.stdout) == (ci == "true")
