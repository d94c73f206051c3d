"""The web UI's process: keys, headers, health, metrics, and what it does without its servers."""

import hashlib
import json
import signal
import time
from pathlib import Path

import psycopg
import pytest
import requests

from mutt.errors import SettingsError
from scripts.devtools.embedded import PostgresServer, RedisServer
from services.runtime.secrets import EnvironmentSecrets
from services.web_ui.keyring import KeyRing
from tests.harness.credentials import WEBUI_API_KEY
from tests.harness.processes import StartService
from tests.harness.waiting import wait_for
from tests.service.web_api import RULE, Api, changes, error_of


def sha256(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


@pytest.fixture
def api(start_service: StartService) -> Api:
    """Run a web UI."""
    return Api(start_service("webui"))


def test_health_live_and_metrics_need_no_key(api: Api) -> None:
    health = requests.get(api.service.health_url, timeout=60)
    assert health.status_code == 200
    assert health.headers["X-API-Version"] == "v2.5"
    document = health.json()
    assert document | {"timestamp": ""} == {
        "status": "healthy",
        "redis": "connected",
        "postgres": "connected",
        "timestamp": "",
        "queue_depth": 0,
        "version": "2.5",
        "service": "mutt-webui",
    }
    assert requests.get(api.service.live_url, timeout=60).json()["live"] is True
    assert "mutt_webui_api_requests_total" in requests.get(api.service.metrics_url, timeout=60).text


def test_the_api_is_closed_without_a_known_key(api: Api) -> None:
    for path in ("/rules", "/rules/1", "/dev-hosts", "/teams", "/openapi.json"):
        assert "an API key is needed" in error_of(Api(api.service, None).get(path), 401)["error"]
        reply = Api(api.service, "wrong").get(path)
        assert "not known" in error_of(reply, 401)["error"]
        assert reply.headers["WWW-Authenticate"] == "X-API-KEY"


def test_a_strange_key_is_a_401(api: Api) -> None:
    for key in ("", "ä", "\u00ff" * 5, WEBUI_API_KEY + "x", WEBUI_API_KEY[:-1], "x" * 5000):
        error_of(Api(api.service, key.encode().decode("latin-1")).get("/rules"), 401)


def test_a_key_that_is_not_ascii_opens_the_api(start_service: StartService) -> None:
    api = Api(start_service("webui", WEBUI_API_KEY="schlüssel"), "schlüssel".encode().decode("latin-1"))
    assert api.get("/rules").status_code == 200


def test_roles_bound_what_named_keys_may_do(start_service: StartService, database_url: str) -> None:
    roles = ("viewer", "operator", "editor", "admin")
    listed = {f"the-{role}": {"sha256": sha256(f"key-{role}"), "role": role} for role in roles}
    service = start_service("webui", WEBUI_API_KEYS=json.dumps(listed))
    for role in roles:
        api = Api(service, f"key-{role}")
        assert api.get("/rules").status_code == 200
        reply = api.call("POST", "/rules", RULE)
        if role in {"viewer", "operator"}:
            assert error_of(reply, 403)["error"] == f"key 'the-{role}' has the role {role}; this needs editor"
        else:
            assert reply.status_code == 201
    assert [change["changed_by"] for change in changes(database_url)] == ["the-editor", "the-admin"]


def test_a_key_and_its_successor_both_open_the_api(start_service: StartService) -> None:
    service = start_service("webui", WEBUI_API_KEY_NEXT="following")
    for key in (WEBUI_API_KEY, "following"):
        assert Api(service, key).get("/rules").status_code == 200


def test_keys_are_read_again_at_a_hangup_and_bad_ones_leave_the_former_in_force(
    start_service: StartService, tmp_path: Path
) -> None:
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"ann": {"sha256": sha256("one"), "role": "viewer"}}))
    service = start_service("webui", WEBUI_API_KEYS_FILE=str(file))
    assert Api(service, "one").get("/rules").status_code == 200
    file.write_text(json.dumps({"ann": {"sha256": sha256("two"), "role": "viewer"}}))
    service.signal(signal.SIGHUP)
    wait_for(lambda: Api(service, "two").get("/rules").status_code == 200, "the new key")
    error_of(Api(service, "one").get("/rules"), 401)
    file.write_text('{"ann": {"sha256": "x", "role": "viewer"}}')
    service.signal(signal.SIGHUP)
    wait_for(lambda: Api(service, "two").get("/rules") and "are refused" in service.log(), "the refusal in the log")
    assert Api(service, "two").get("/rules").status_code == 200


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("{", "WEBUI_API_KEYS is not JSON"),
        ("[]", "WEBUI_API_KEYS has to be an object"),
        ('{"default": {}}', "not 'default'"),
        ('{"a": {"sha256": "00"}}', "key a"),
        ('{"a": {"sha256": "00", "role": "viewer"}}', "64 hexadecimal digits"),
        (json.dumps({"a": {"sha256": "0" * 64, "role": "boss"}}), "viewer, operator, editor, admin"),
    ],
)
def test_impossible_keys_are_refused_with_words(keys: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        KeyRing(EnvironmentSecrets({"WEBUI_API_KEY": "x", "WEBUI_API_KEYS": keys}))


async def test_a_key_that_vanishes_ends_no_session_and_is_told_as_a_problem(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("first")
    secrets = EnvironmentSecrets({"WEBUI_API_KEY_FILE": str(file)})
    keyring = KeyRing(secrets)
    mark, signing = keyring.mark("first"), keyring.signing_key()
    file.write_text("")
    await secrets.refresh()
    assert (keyring.signing_key(), keyring.marked(mark)) == (signing, keyring.find("first"))
    assert keyring.find("first") is not None
    assert "WEBUI_API_KEY cannot be found any more" in (keyring.problem or "")

    file.write_text("second")
    await secrets.refresh()
    assert keyring.problem is None
    assert keyring.signing_key() != signing
    assert (keyring.find("first"), keyring.marked(mark)) == (None, None)


def test_the_start_needs_a_key(start_service: StartService) -> None:
    service = start_service("webui", wait=False, WEBUI_API_KEY="")
    assert service.process.wait(60) == 78
    assert "WEBUI_API_KEY is not set" in service.log()


def test_the_old_paths_answer_the_same_and_say_that_they_are_old(api: Api) -> None:
    rule = api.create_rule()
    old = api.get(f"/api/v1/rules/{rule['id']}")
    assert old.json() == rule
    assert old.headers["X-API-Deprecated"] == "true"
    assert "X-API-Deprecated" not in api.get(f"/rules/{rule['id']}").headers
    missing = api.get("/api/v1/nothing")
    assert "there is nothing at" in error_of(missing, 404)["error"]
    assert missing.headers["X-API-Deprecated"] == "true"


def test_a_correlation_id_is_taken_over_when_it_is_one_and_made_otherwise(api: Api) -> None:
    given = "123e4567-e89b-12d3-a456-426614174000"
    assert api.get("/rules", **{"X-Correlation-ID": given}).headers["X-Correlation-ID"] == given
    assert api.get("/rules", **{"X-Correlation-ID": "mine"}).headers["X-Correlation-ID"] != "mine"


def test_methods_and_paths_that_are_not_there(api: Api) -> None:
    reply = api.call("PATCH", "/rules/1", {})
    error_of(reply, 405)
    assert "GET" in reply.headers["Allow"]
    error_of(api.get("/nope"), 404)
    error_of(api.get("/rules/"), 404)


def test_the_description_lists_the_api_and_its_errors(api: Api) -> None:
    paths = api.get("/openapi.json").json()["paths"]
    assert {"/api/v2/rules", "/api/v2/rules/{id}", "/api/v2/dev-hosts/{hostname}", "/api/v2/teams"} <= set(paths)
    for path, methods in paths.items():
        for method, operation in methods.items():
            assert "422" not in operation["responses"], (path, method)
            assert {"401", "default"} <= set(operation["responses"]), (path, method)
    assert "content" in paths["/api/v2/rules"]["post"]["requestBody"]


def test_requests_are_counted_by_route_template_and_status(api: Api) -> None:
    api.get("/rules/41")
    api.get("/rules/42")
    api.get("/nope")
    metric = api.service.metric
    counted = "mutt_webui_api_requests_total"
    # A request is counted when it has been answered.
    wait_for(lambda: metric(counted, endpoint="unmatched", status="404") == 1, "the last request's count")
    assert metric(counted, endpoint="/api/v2/rules/{id}", status="404") == 2
    assert metric("mutt_webui_api_latency_seconds_count", endpoint="/api/v2/rules/{id}") == 2
    assert (metric("mutt_webui_db_query_latency_ms_count", operation="select") or 0) >= 2


def test_without_redis_a_change_is_committed_and_health_says_what_is_missing(
    own_redis: RedisServer, start_service: StartService, database_url: str
) -> None:
    service = start_service("webui")
    own_redis.kill()
    service.wait_health(503)
    api = Api(service)
    rule = api.create_rule()
    assert api.get(f"/rules/{rule['id']}").json() == rule
    assert [change["record_id"] for change in changes(database_url)] == [str(rule["id"])]
    service.wait_log("could not be announced")
    document = requests.get(service.health_url, timeout=60).json()
    assert (document["redis"], document["postgres"], document["failing"]) == ("disconnected", "connected", ["redis"])
    own_redis.start()
    service.wait_healthy()


def test_without_postgres_the_api_says_503_and_comes_back_by_itself(
    own_postgres: PostgresServer, own_database_url: str, start_service: StartService
) -> None:
    service = start_service("webui")
    api = Api(service)
    rule = api.create_rule()
    own_postgres.kill()
    service.wait_health(503)
    reply = api.get("/rules")
    assert error_of(reply, 503)["error"] == "PostgreSQL does not answer; see /health, and try again"
    assert reply.headers["Retry-After"] == "5"
    assert "is not known" in error_of(api.call("DELETE", f"/rules/{rule['id']}"), 503)["error"]
    for path, body in (("validate", rule), ("explain", {"event": {"message": "m", "hostname": "h"}})):
        said = error_of(api.call("POST", f"/rules/{path}", body), 503)["error"]
        assert said == "PostgreSQL does not answer; see /health, and try again"
    assert requests.get(service.live_url, timeout=60).status_code == 200
    own_postgres.start()
    service.wait_healthy()
    wait_for(lambda: api.get("/rules").status_code == 200, "the API with PostgreSQL back")
    assert api.get(f"/rules/{rule['id']}").json() == rule


def test_a_database_that_hangs_is_told_from_a_slow_one_in_bounded_time(
    own_postgres: PostgresServer, own_database_url: str, start_service: StartService
) -> None:
    service = start_service("webui")
    api = Api(service)
    assert api.get("/rules").status_code == 200
    own_postgres.pause()
    for _ in range(2):
        started = time.monotonic()
        assert "PostgreSQL does not answer" in error_of(api.get("/rules"), 503)["error"]
        # Neither for the statement's timeout of 30 s nor for ever.
        assert time.monotonic() - started < 28
        assert requests.get(service.health_url, timeout=28).status_code == 503
    own_postgres.resume()
    service.wait_healthy()
    wait_for(lambda: api.get("/rules").status_code == 200, "the API with PostgreSQL going on")


def test_a_lock_that_nobody_releases_costs_a_request_and_not_the_service(api: Api, database_url: str) -> None:
    rule = api.create_rule()
    with psycopg.connect(database_url) as connection:
        connection.execute("LOCK TABLE alert_rules")
        assert "PostgreSQL does not answer" in error_of(api.call("DELETE", f"/rules/{rule['id']}"), 503)["error"]
        assert requests.get(api.service.health_url, timeout=60).status_code == 200
    wait_for(lambda: api.get(f"/rules/{rule['id']}").status_code == 200, "the rule after the lock")


def test_a_database_that_lets_nothing_be_written_is_a_503_with_its_own_words(api: Api, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("REVOKE INSERT ON config_audit_log FROM CURRENT_USER")
    said = error_of(api.call("POST", "/rules", RULE), 503)["error"]
    assert "permission denied for table config_audit_log" in said
    assert api.get("/rules").json()["total"] == 0


def test_it_starts_without_its_servers_and_is_well_once_they_come(
    own_redis: RedisServer, own_postgres: PostgresServer, own_database_url: str, start_service: StartService
) -> None:
    own_redis.kill()
    own_postgres.kill()
    service = start_service("webui", wait=False)
    service.wait_health(503)
    own_redis.start()
    own_postgres.start()
    service.wait_healthy()


def test_a_database_without_schema_is_named_in_health_and_in_replies(
    empty_database_url: str, start_service: StartService
) -> None:
    name = empty_database_url.rsplit("/", 1)[1]
    service = start_service("webui", wait=False, DB_NAME=name)
    wait_for(lambda: "scripts/migrate.py" in service.wait_health(503), "the schema's problem in health")
    assert "scripts/migrate.py" in error_of(Api(service).get("/rules"), 503)["error"]


def test_a_term_signal_ends_it_in_order(api: Api) -> None:
    assert api.service.terminate() == 0
    assert "stopped in order" in api.service.log()


def test_a_second_one_on_the_same_port_says_which_variable_to_change(api: Api, start_service: StartService) -> None:
    port = str(api.service.ports["http"])
    second = start_service("webui", wait=False, SERVER_PORT_WEBUI=port)
    assert second.process.wait(60) == 78
    assert f"SERVER_PORT_WEBUI={port}" in second.log()
