"""Every endpoint answers where, how and to whom it is promised."""

import base64
import json
import signal
from typing import Any

import psutil
import psycopg
import pytest

from mutt.rules import DEV_HANDLINGS, PROD_HANDLINGS
from tests.contract.sheet import SHEET, Row, params, standing
from tests.contract.sheet import endpoints as endpoint_rows
from tests.contract.sheet import services as service_rows
from tests.contract.stack import KEYS, LOG, Reply, Stack, event
from tests.harness.waiting import wait_for

RULE = {
    "match_string": "an endpoint's rule", "match_type": "contains", "priority": 5, "team_assignment": "NETO",
    "prod_handling": PROD_HANDLINGS[-1], "dev_handling": DEV_HANDLINGS[-1],
}  # fmt: skip
BODIES: dict[str, Any] = {
    "POST /api/v2/rules": RULE,
    "PUT /api/v2/rules/{id}": {"priority": 6},
    "POST /api/v2/dev-hosts": {"hostname": "posted.example"},
    "POST /api/v2/teams": {"hostname": "posted.example", "team_assignment": "NETO"},
    "PUT /api/v2/teams/{hostname}": {"team_assignment": "OPS"},
    "PUT /api/v2/config/{key}": {"value": 600},
    "POST /services/collector": {"event": LOG},
    "POST /services/collector/event": {"event": LOG},
    "POST /services/collector/raw": LOG,
    "POST /v1/logs": {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": LOG}}]}]}]},
}


def path_for(stack: Stack, method: str, path: str) -> str:
    """Return the path with a thing in it that exists."""

    def make(collection: str, body: dict[str, Any]) -> Any:
        reply = stack.request("webui", "http", "POST", f"/api/v2/{collection}", body, KEYS["webui"])
        assert reply.status in (201, 409), reply.body
        return reply.json()

    host = f"{method.lower()}.example"
    if "/rules/{id}" in path:
        return path.replace("{id}", str(make("rules", RULE)["id"]))
    if "/dev-hosts/{hostname}" in path:
        make("dev-hosts", {"hostname": host})
    if "/teams/{hostname}" in path:
        make("teams", {"hostname": host, "team_assignment": "NETO"})
    if "/events/{id}" in path:
        event_id = stack.post(LOG).json()["event_id"]
        wait_for(lambda: is_audited(stack, event_id), "the audit row of the event")
        return path.replace("{id}", event_id)
    return path.replace("{hostname}", host).replace("{key}", "cache_reload_interval")


def is_audited(stack: Stack, event_id: str) -> bool:
    """Tell whether the event's audit row is committed."""
    with psycopg.connect(stack.database_url) as connection:
        found = connection.execute("SELECT 1 FROM event_audit_log WHERE event_id = %s", [event_id])
        return found.fetchone() is not None


def body_for(method: str, path: str) -> Any:
    """Return a body that the endpoint takes."""
    return event(LOG) if path.endswith("ingest") else BODIES.get(f"{method} {path}")


@params(endpoint_rows())
def test_an_endpoint_answers_with_the_promised_authentication(row: Row, stack: Stack) -> None:
    facts = row.facts
    method, template = facts["method"], facts["path"]
    path, body = path_for(stack, method, template), body_for(method, template)

    def ask(key: str | None) -> Reply:
        return stack.request(row.service, facts["port"], method, path, body, key)

    if facts["auth"] == "none":
        assert ask(None).status == 200
        return
    refused = ask(None)
    if facts["auth"] == "key or session":
        assert refused.status == 303
        assert refused.headers["location"].startswith("/sign-in")
    else:
        assert refused.status == 401, refused.body
        assert json.loads(refused.body)
    assert ask("a wrong key").status in (303, facts.get("wrong", 401))
    reply = ask(KEYS[row.service])
    assert reply.status == facts.get("ok", 200), reply.body
    assert reply.headers["x-api-version"] == f"v{SHEET['product']['version']}"
    if row.service == "ingestor":
        assert {"deprecation", "x-api-deprecated"} & set(reply.headers) or not facts.get("deprecated")


@params(
    row for row in endpoint_rows() if row.facts["path"].startswith("/api/v2/rules") and row.facts["method"] == "GET"
)
def test_the_older_path_of_the_api_says_that_it_is_deprecated(row: Row, stack: Stack) -> None:
    path = path_for(stack, "GET", row.facts["path"]).replace("/api/v2/", "/api/v1/")
    reply = stack.request("webui", "http", "GET", path, key=KEYS["webui"])
    assert reply.status == 200
    assert reply.headers["x-api-deprecated"] == "true"


@params(service_rows())
def test_a_service_tells_its_health(row: Row, stack: Stack) -> None:
    facts = SHEET["health"]
    port = "http" if "http" in row.facts["ports"] else "health"
    stack.services[row.service].wait_healthy()
    reply = stack.request(row.service, port, "GET", "/health")
    document = reply.json()
    assert reply.status == facts["healthy_status"]
    assert set(facts["fields"]) <= set(document)
    assert (facts["postgres_field"] in document) == row.facts["postgres"]
    expected = {name: value for name, value in facts["values"].items() if name in document}
    assert {name: document[name] for name in expected} == expected
    assert document["service"] == row.facts["health_name"]
    assert isinstance(document["queue_depth"], int)


@params(service_rows())
def test_a_service_listens_on_its_documented_ports(row: Row, stack: Stack) -> None:
    variables = {facts["name"]: facts.get("default") for facts in SHEET["variables"][row.service]}
    assert set(stack.services[row.service].ports) == set(row.facts["ports"])
    documented = {variables[name] for name in variables if "_PORT_" in name}
    assert documented == set(row.facts["ports"].values())


def test_every_service_is_unhealthy_while_redis_hangs_and_healthy_again_afterwards(stack: Stack) -> None:
    facts = SHEET["health"]
    stack.redis_server.pause()
    try:
        for service in stack.services.values():
            document = json.loads(service.wait_health(facts["unhealthy_status"]))
            assert document["status"] == "unhealthy"
            assert "redis" in document["failing"]
            assert document["redis"] != facts["values"]["redis"]
    finally:
        stack.redis_server.resume()
    for service in stack.services.values():
        service.wait_healthy()


@params(row for row in standing() if row.id == "slo:states")
def test_the_slo_answer_tells_the_states_of_both_components(row: Row, stack: Stack) -> None:
    reply = stack.request("webui", "http", "GET", "/api/v1/slo", key=KEYS["webui"])
    assert reply.status == 200, row.id
    components = reply.json()["components"]
    for name, target in SHEET["slo"]["targets"].items():
        assert components[name]["target"] == target
        assert components[name]["state"] in ("ok", "warn", "critical", "no_data")


@pytest.mark.parametrize("form", [SHEET["authentication"]["header"], *SHEET["authentication"]["also"]])
def test_the_ingest_key_may_come_in_every_form_that_senders_know(form: str, stack: Stack) -> None:
    header, _, scheme = form.partition(": ")
    for key, status in ((KEYS["ingestor"], 200), ("a wrong key", 401)):
        secret = base64.b64encode(f"anyone:{key}".encode()).decode() if scheme == "Basic" else key
        headers = {header: f"{scheme} {secret}".strip()}
        reply = stack.request("ingestor", "http", "POST", "/api/v2/ingest", [], headers=headers)
        assert reply.status == status, reply.body


def test_the_operators_way_to_reload_the_alerter_reaches_it_alone(stack: Stack) -> None:
    facts = SHEET["commands"]["reload"]
    lines = {name: psutil.Process(service.pid).cmdline() for name, service in stack.services.items()}
    found = [name for name, line in lines.items() if facts["pattern"] in " ".join(line)]
    assert found == [facts["service"]]
    alerter = stack.services[facts["service"]]
    alerter.signal(signal.Signals[facts["signal"]])
    wait_for(lambda: facts["signal"] in alerter.log(), "the alerter's word of the reload")
    assert alerter.running


def test_what_operators_type_at_redis_is_noticed(stack: Stack) -> None:
    """The commands of the list change the alerter's value, within the age of its cache."""
    client: Any = stack.redis
    for command in SHEET["commands"]["redis"]:
        client.execute_command(*command.split())
    wait_for(lambda: "a dynamic value changed" in stack.services["alerter"].log(), "the alerter's word of the change")
