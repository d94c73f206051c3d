"""What was changed of each record, and one step back, over the API."""

import json
from hashlib import sha256
from typing import Any

import psycopg
import pytest

from tests.harness.processes import StartService
from tests.service.web_api import Api, changes, error_of

EDITOR = "editor-key"


@pytest.fixture
def api(start_service: StartService) -> Api:
    """Run a web UI that knows an editor beside the admin."""
    keys = json.dumps({"neto-editor": {"sha256": sha256(EDITOR.encode()).hexdigest(), "role": "editor"}})
    return Api(start_service("webui", WEBUI_API_KEYS=keys, DYNAMIC_CONFIG_ENABLED="true"))


def history(api: Api, path: str) -> list[dict[str, Any]]:
    reply = api.get(f"{path}/history")
    assert reply.status_code == 200, reply.text
    found: list[dict[str, Any]] = reply.json()["changes"]
    return found


def revert(api: Api, path: str, body: Any = None) -> dict[str, Any]:
    reply = api.call("POST", f"{path}/revert", body)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


def test_a_rule_goes_back_to_a_version_and_forth_again(api: Api, database_url: str) -> None:
    rule = api.create_rule(priority=820)
    place = f"/rules/{rule['id']}"
    api.call("PUT", place, {"priority": 840, "team_assignment": "CORE", "reason": "CHG-2"})
    newest, first = history(api, place)
    assert newest["summary"] == "priority 820 → 840, team_assignment NETO → CORE"
    assert newest["diff"][0] == {"field": "priority", "old": 820, "new": 840}
    assert (newest["reason"], newest["changed_by"], first["summary"]) == ("CHG-2", "default", "created")

    back = revert(api, place, {"version": 1})
    assert back["message"] == f"Rule {rule['id']} is back to version 1."
    assert (back["state"]["priority"], back["state"]["version"]) == (820, 3)
    undone = revert(api, f"/config-audit/{back['change_id']}")
    assert (undone["state"]["priority"], undone["state"]["team_assignment"]) == (840, "CORE")
    again = revert(api, place, {"version": 2})
    assert (again["change_id"], again["message"]) == (None, f"Rule {rule['id']} is version 2 already.")
    rows = changes(database_url)
    assert [row["operation"] for row in rows] == ["CREATE", "UPDATE", "UPDATE", "UPDATE"]
    assert rows[2]["reason"].startswith("reverts change")


def test_a_deleted_rule_comes_back_under_its_id(api: Api) -> None:
    rule = api.create_rule()
    place = f"/rules/{rule['id']}"
    api.call("DELETE", place)
    assert history(api, place)[0]["summary"] == "deleted"
    back = revert(api, f"/config-audit/{history(api, place)[0]['id']}", {"reason": "too early"})
    assert (back["state"]["id"], back["state"]["version"]) == (rule["id"], 2)
    assert api.get(place).json()["match_string"] == rule["match_string"]
    assert history(api, place)[0]["reason"] == "too early"
    gone = revert(api, f"/config-audit/{back['change_id']}")
    assert gone["message"] == f"Rule {rule['id']} is gone."
    assert api.create_rule()["id"] > rule["id"]


def test_hosts_and_teams_go_back_too(api: Api) -> None:
    api.call("POST", "/dev-hosts", {"hostname": "lab1"})
    api.call("DELETE", "/dev-hosts/lab1")
    deleted, _ = history(api, "/dev-hosts/LAB1")
    back = revert(api, f"/config-audit/{deleted['id']}")
    assert back["message"] == "Development host lab1 is back to what it was before."
    assert api.get("/dev-hosts/lab1").status_code == 200

    api.call("POST", "/teams", {"hostname": "core1", "team_assignment": "A"})
    api.call("PUT", "/teams/core1", {"team_assignment": "B"})
    changed = history(api, "/teams/core1")[0]
    assert revert(api, f"/config-audit/{changed['id']}")["state"]["team_assignment"] == "A"
    assert revert(api, f"/config-audit/{changed['id']}", {"to": "after"})["state"]["team_assignment"] == "B"


def test_a_configuration_key_goes_back_for_an_admin_alone(api: Api) -> None:
    key = "moog_rate_limit"
    api.call("PUT", f"/config/{key}", {"value": 70})
    api.call("PUT", f"/config/{key}", {"value": 80})
    newest = history(api, f"/config/{key}")[0]
    editor = Api(api.service, EDITOR)
    assert "this needs admin" in error_of(editor.call("POST", f"/config-audit/{newest['id']}/revert"), 403)["error"]
    assert revert(api, f"/config-audit/{newest['id']}")["message"].startswith(
        "Configuration key moog_rate_limit is back"
    )
    assert api.get(f"/config/{key}").json()["value"] == 70
    created = history(api, f"/config/{key}")[-1]
    revert(api, f"/config-audit/{created['id']}")
    assert api.get(f"/config/{key}").json()["value"] is None


def test_what_is_not_there_cannot_be_reverted(api: Api, database_url: str) -> None:
    rule = api.create_rule()
    assert "version 9" in error_of(api.call("POST", f"/rules/{rule['id']}/revert", {"version": 9}), 404)["error"]
    error_of(api.call("POST", "/rules/99/revert", {"version": 1}), 404)
    assert "version" in error_of(api.call("POST", f"/rules/{rule['id']}/revert", {}), 400)["details"]
    error_of(api.call("POST", "/config-audit/99/revert"), 404)
    assert "to" in error_of(api.call("POST", "/config-audit/1/revert", {"to": "x"}), 400)["details"]
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO config_audit_log (changed_by, operation, table_name, record_id)"
            " VALUES ('x', 'REPLAY', 'dlq', '1')"
        )
    assert "cannot be reverted" in error_of(api.call("POST", "/config-audit/2/revert"), 400)["error"]
    for path in ("/rules/99", "/dev-hosts/none", "/teams/none", "/config/none"):
        error_of(api.get(f"{path}/history"), 404)
    assert history(api, "/config/moog_batch_size") == []


def test_a_state_that_is_valid_no_more_is_refused_by_the_same_rules(api: Api, database_url: str) -> None:
    rule = api.create_rule()
    api.call("PUT", f"/rules/{rule['id']}", {"priority": 5})
    with psycopg.connect(database_url) as connection:
        connection.execute(
            'UPDATE config_audit_log SET old_values = old_values || \'{"match_type": "regex", "match_string": "("}\''
            " WHERE operation = 'UPDATE'"
        )
    newest = history(api, f"/rules/{rule['id']}")[0]
    assert "match_string" in error_of(api.call("POST", f"/config-audit/{newest['id']}/revert"), 400)["details"]
