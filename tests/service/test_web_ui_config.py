"""The dynamic configuration over the API: typed, audited, announced, undone when the record cannot be kept."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any

import psycopg
import pytest
import redis.asyncio

from mutt import keys
from mutt.dynamic_keys import ALL
from scripts.devtools.embedded import RedisServer
from tests.harness.processes import StartService
from tests.harness.proxy import Proxy
from tests.harness.waiting import wait_for
from tests.service.web_api import RULE, Api, changes, error_of

KEY = "cache_reload_interval"


@pytest.fixture
def api(start_service: StartService) -> Api:
    """Run a web UI that reads dynamic values."""
    return Api(start_service("webui", DYNAMIC_CONFIG_ENABLED="true", MOOG_RATE_LIMIT="70"))


def records(database_url: str) -> list[tuple[Any, ...]]:
    return [
        (row["changed_by"], row["operation"], row["record_id"], row["old_values"], row["new_values"])
        for row in changes(database_url)
    ]


def test_every_key_is_listed_with_what_takes_effect_and_why(api: Api) -> None:
    listed = api.get("/config").json()
    assert listed["enabled"] is True
    entries = {entry["key"]: entry for entry in listed["config"]}
    assert set(entries) == set(ALL)
    assert entries["max_ingest_queue_size"] == {
        "key": "max_ingest_queue_size",
        "type": "int",
        "value": None,
        "effective": 1_000_000,
        "source": "default",
        "default": 100_000,
        "low": 1,
        "high": 1e9,
        "choices": [],
        "purpose": "Ingestor queue cap (events)",
        "variable": "MAX_INGEST_QUEUE_SIZE",
        "warning": None,
        "version": entries["alerter_shed_mode"]["version"],  # of all that are not set
    }
    rate = entries["moog_rate_limit"]
    assert (rate["effective"], rate["source"]) == (70, "environment")
    assert entries["alerter_shed_mode"]["choices"] == ["dlq", "defer"]


async def test_a_value_is_set_audited_announced_and_deleted(
    api: Api, redis_client: redis.asyncio.Redis, database_url: str
) -> None:
    async with redis_client.pubsub(ignore_subscribe_messages=True) as pubsub:
        await pubsub.subscribe(keys.CONFIG_UPDATES)
        await pubsub.get_message(timeout=5)
        reply = api.call("PUT", f"/config/{KEY}", {"value": 600, "reason": "CHG-3"})
        assert reply.status_code == 200
        assert (reply.json()["value"], reply.json()["effective"], reply.json()["source"]) == (600, 600, "redis")
        assert await redis_client.get(keys.config(KEY)) == b"600"
        message = await pubsub.get_message(timeout=45)
        assert message is not None
        assert message["data"] == KEY.encode()
    assert api.call("PUT", f"/config/{KEY}", {"value": 600}).status_code == 200
    assert api.get(f"/config/{KEY}").json() == reply.json()
    deleted = api.call("DELETE", f"/config/{KEY}")
    assert (deleted.status_code, deleted.json()["value"], deleted.json()["effective"]) == (200, None, 300)
    assert await redis_client.get(keys.config(KEY)) is None
    assert "not set" in error_of(api.call("DELETE", f"/config/{KEY}"), 404)["error"]
    assert records(database_url) == [
        ("default", "CREATE", KEY, None, {"value": "600"}),
        ("default", "DELETE", KEY, {"value": "600"}, None),
    ]


def test_impossible_values_and_keys_are_refused_with_what_is_allowed(api: Api, database_url: str) -> None:
    for key, value, allowed in (
        (KEY, 0, "a whole number from 1 to 86400"),
        (KEY, "600", "a whole number"),
        (KEY, 1.5, "a whole number"),
        (KEY, True, "a whole number"),
        (KEY, None, "a whole number"),
        ("alerter_shed_mode", "drop", "dlq or defer"),
        ("alerter_shed_mode", 1, "dlq or defer"),
        ("slo_ingest_success_target", 1, "a number from 0.5 to 0.99999"),
    ):
        details = error_of(api.call("PUT", f"/config/{key}", {"value": value}), 400)["details"]
        assert allowed in details["value"], (key, value)
    error_of(api.call("PUT", f"/config/{KEY}", {"values": 1}), 400)
    for method, body in (("GET", None), ("PUT", {"value": 1}), ("DELETE", None)):
        assert KEY in error_of(api.call(method, "/config/nothing", body), 404)["error"]
    assert records(database_url) == []


def test_only_an_admin_changes_the_configuration(start_service: StartService) -> None:
    listed = {"ed": {"sha256": sha256(b"editor").hexdigest(), "role": "editor"}}
    api = Api(start_service("webui", WEBUI_API_KEYS=json.dumps(listed)), "editor")
    assert api.get("/config").status_code == 200
    for method, body in (("PUT", {"value": 5}), ("DELETE", None)):
        assert "this needs admin" in error_of(api.call(method, f"/config/{KEY}", body), 403)["error"]


async def test_a_value_whose_record_cannot_be_committed_is_put_back(
    api: Api, redis_client: redis.asyncio.Redis, database_url: str
) -> None:
    await redis_client.set(keys.config(KEY), "400")
    api.get("/config")
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40001'; END $$;"
            "CREATE CONSTRAINT TRIGGER no AFTER INSERT ON config_audit_log DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW EXECUTE FUNCTION no()"
        )
    error_of(api.call("PUT", f"/config/{KEY}", {"value": 600}), 503)
    assert await redis_client.get(keys.config(KEY)) == b"400"
    assert len(records(database_url)) == 1


async def test_a_change_whose_commit_was_done_and_its_reply_lost_is_made_and_recorded_once(
    proxy: Callable[[str], Proxy], start_service: StartService, redis_client: redis.asyncio.Redis, database_url: str
) -> None:
    before = proxy(database_url)
    api = Api(start_service("webui", DYNAMIC_CONFIG_ENABLED="true", DB_PORT=str(before.port)))
    before.lose_reply(b"COMMIT", after=b"INSERT INTO config_audit_log")
    assert api.call("PUT", f"/config/{KEY}", {"value": 600}).json()["value"] == 600
    assert before.lost.is_set()
    assert await redis_client.get(keys.config(KEY)) == b"600"
    assert api.get(f"/config/{KEY}").json()["value"] == 600
    assert records(database_url) == [("default", "CREATE", KEY, None, {"value": "600"})]


def test_a_value_set_meanwhile_is_not_overwritten_by_what_is_put_back(
    api: Api, redis_url: str, database_url: str
) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN PERFORM pg_advisory_xact_lock(7); RAISE EXCEPTION USING ERRCODE = '40001'; END $$;"
            "CREATE CONSTRAINT TRIGGER no AFTER INSERT ON config_audit_log DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW EXECUTE FUNCTION no()"
        )
    with psycopg.connect(database_url) as blocker, ThreadPoolExecutor() as pool:
        blocker.execute("SELECT pg_advisory_xact_lock(7)")
        reply = pool.submit(api.call, "PUT", f"/config/{KEY}", {"value": 600})
        with redis.Redis.from_url(redis_url) as client:
            wait_for(lambda: client.get(keys.config(KEY)) == b"600", "the value that waits for its commit")
            client.set(keys.config(KEY), "700")
            blocker.rollback()
            error_of(reply.result(), 503)
            assert client.get(keys.config(KEY)) == b"700"


def test_a_rule_whose_commit_was_done_and_its_reply_lost_takes_effect_at_once(
    proxy: Callable[[str], Proxy], start_service: StartService, database_url: str
) -> None:
    before = proxy(database_url)
    alerter = start_service("alerter", CACHE_RELOAD_INTERVAL="3600", wait=False)
    api = Api(start_service("webui", DB_PORT=str(before.port)))
    alerter.wait_healthy()
    before.lose_reply(b"COMMIT", after=b"INSERT INTO config_audit_log")
    error_of(api.call("POST", "/rules", RULE), 503)
    wait_for(lambda: alerter.metric("mutt_alerter_cache_rules_count") == 1, "the rule in use")
    assert [(row["operation"], row["table_name"]) for row in changes(database_url)] == [("CREATE", "alert_rules")]


async def test_what_somebody_set_in_redis_directly_is_recorded_once(
    api: Api, redis_client: redis.asyncio.Redis, database_url: str
) -> None:
    await redis_client.set(keys.config(KEY), "600")
    for _ in range(2):
        assert api.get(f"/config/{KEY}").json()["value"] == 600
    await redis_client.set(keys.config(KEY), b"a lot\0\xff")
    entry = api.get(f"/config/{KEY}").json()
    assert "services refuse the stored value" in entry["warning"]
    assert (entry["effective"], entry["source"]) == (300, "default")
    await redis_client.delete(keys.config(KEY))
    api.get("/config")
    assert records(database_url) == [
        ("external", "CREATE", KEY, None, {"value": "600"}),
        ("external", "UPDATE", KEY, {"value": "600"}, {"value": "a lot\ufffd\ufffd"}),
        ("external", "DELETE", KEY, {"value": "a lot\ufffd\ufffd"}, None),
    ]


def test_where_reading_is_off_each_value_carries_a_warning(start_service: StartService) -> None:
    api = Api(start_service("webui"))
    api.call("PUT", f"/config/{KEY}", {"value": 600})
    entry = api.get(f"/config/{KEY}").json()
    assert (entry["value"], entry["effective"], entry["source"]) == (600, 300, "default")
    assert "DYNAMIC_CONFIG_ENABLED" in entry["warning"]


def test_without_redis_nothing_is_changed_and_the_reply_says_so(
    own_redis: RedisServer, start_service: StartService, database_url: str
) -> None:
    api = Api(start_service("webui"))
    own_redis.kill()
    for method, path, body in (("GET", "", None), ("PUT", f"/{KEY}", {"value": 9}), ("DELETE", f"/{KEY}", None)):
        assert "Redis does not answer" in error_of(api.call(method, f"/config{path}", body), 503)["error"]
    assert records(database_url) == []
