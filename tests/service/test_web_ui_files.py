"""Rules, hosts and teams out to files and back in, all or nothing, over the API."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
import yaml

from tests.harness.processes import StartService
from tests.service.web_api import RULE, Api, changes, error_of


@pytest.fixture
def api(start_service: StartService) -> Api:
    """Run a web UI."""
    return Api(start_service("webui"))


def send(api: Api, path: str, document: str, query: str = "") -> requests.Response:
    return api.call("POST", f"{path}/import{query}", data=document.encode())


def counts(reply: requests.Response) -> dict[str, int]:
    assert reply.status_code == 200, reply.text
    found: dict[str, int] = reply.json()["counts"]
    return found


def test_rules_go_out_and_come_back_changed(api: Api, database_url: str) -> None:
    first, second = api.create_rule(name="Links"), api.create_rule(name="Other", priority=5)
    exported = api.get("/rules/export")
    assert exported.headers["Content-Type"].startswith("application/yaml")
    assert "mutt-rules.yaml" in exported.headers["Content-Disposition"]
    document = yaml.safe_load(exported.text)
    assert [rule["id"] for rule in document["rules"]] == [first["id"], second["id"]]

    document["rules"][0]["priority"] = 7
    del document["rules"][1]
    document["rules"].append(RULE | {"name": "New"})
    text = yaml.safe_dump(document)
    seen = send(api, "/rules", text, "?preview=true")
    assert counts(seen) == {"create": 1, "update": 1, "delete": 0, "unchanged": 0}
    assert seen.json()["applied"] is False
    assert seen.json()["update"][0]["changes"] == [{"field": "priority", "old": 500, "new": 7}]
    assert api.get("/rules").json()["total"] == 2

    replaced = send(api, "/rules", text, "?preview=true&mode=replace")
    assert counts(replaced)["delete"] == 1
    done = send(api, "/rules", text, f"?mode=replace&seal={replaced.json()['seal']}&reason=CHG-3")
    assert counts(done) == counts(replaced)
    assert [rule["name"] for rule in api.get("/rules").json()["rules"]] == ["New", "Links"]
    rows = changes(database_url)[2:]
    assert [row["operation"] for row in rows] == ["DELETE", "UPDATE", "CREATE"]
    assert {(row["reason"], row["changed_by"]) for row in rows} == {("CHG-3", "default")}
    again = send(api, "/rules", api.get("/rules/export").text)
    assert counts(again) == {"create": 0, "update": 0, "delete": 0, "unchanged": 2}


def test_one_bad_rule_stops_all(api: Api, database_url: str) -> None:
    document = yaml.safe_dump({"rules": [RULE, RULE | {"priority": 0, "name": "Bad"}]})
    details = error_of(send(api, "/rules", document), 400)["details"]
    assert "priority: 0 is not allowed" in details["rule 2 (Bad)"]
    assert "document" in error_of(send(api, "/rules", "{"), 400)["details"]
    assert "document" in error_of(api.call("POST", "/rules/import", data=b"\xff"), 400)["details"]
    assert changes(database_url) == []


def test_what_was_not_shown_is_not_done(api: Api) -> None:
    rule = api.create_rule()
    document = yaml.safe_dump({"rules": [{**RULE, "id": rule["id"], "priority": 9}]})
    seal = send(api, "/rules", document, "?preview=true").json()["seal"]
    api.call("PUT", f"/rules/{rule['id']}", {"team_assignment": "DC"})
    assert "Compare again" in error_of(send(api, "/rules", document, f"?seal={seal}"), 409)["error"]
    assert api.get(f"/rules/{rule['id']}").json()["priority"] == 500


FILES: dict[str, tuple[str, str, list[dict[str, Any]]]] = {
    "/dev-hosts": ("hosts", "hostname\nlab1\nLAB2.\n", [{"hostname": "lab1"}, {"hostname": "lab2"}]),
    "/teams": (
        "teams",
        "core1,'=A\ncore2,B\n",
        [{"hostname": "core1", "team_assignment": "=A"}, {"hostname": "core2", "team_assignment": "B"}],
    ),
}


@pytest.mark.parametrize("path", FILES)
def test_hosts_and_teams_come_in_and_go_out(api: Api, database_url: str, path: str) -> None:
    key, document, expected = FILES[path]
    assert counts(send(api, path, document, "?preview=true"))["create"] == 2
    assert counts(send(api, path, document))["create"] == 2
    assert [row["operation"] for row in changes(database_url)] == ["CREATE", "CREATE"]
    assert api.get(f"{path}/export?format=json").json() == {key: expected}
    out = api.get(f"{path}/export")
    assert out.headers["Content-Type"].startswith("text/csv")
    assert counts(send(api, path, out.text)) == {"create": 0, "update": 0, "delete": 0, "unchanged": 2}
    assert counts(send(api, path, api.get(f"{path}/export?format=json").text))["unchanged"] == 2
    kept = out.text.splitlines()[0] + "\n" + out.text.splitlines()[1]
    assert counts(send(api, path, kept, "?mode=replace")) == {"create": 0, "update": 0, "delete": 1, "unchanged": 1}


def test_a_team_that_is_there_is_changed_and_each_bad_line_named(api: Api, database_url: str) -> None:
    api.call("POST", "/teams", {"hostname": "core1", "team_assignment": "A"})
    assert counts(send(api, "/teams", "core1,B")) == {"create": 0, "update": 1, "delete": 0, "unchanged": 0}
    assert api.get("/teams/core1").json()["team_assignment"] == "B"
    details = error_of(send(api, "/teams", "core2,X\nco re,Y\ncore3\n"), 400)["details"]
    assert set(details) == {"line 2", "line 3"}
    assert api.get("/teams").json()["total"] == 1
    assert len(changes(database_url)) == 2


def test_a_formula_in_a_team_is_quoted_on_its_way_out(api: Api) -> None:
    api.call("POST", "/teams", {"hostname": "core1", "team_assignment": "=HYPERLINK(1)"})
    assert "core1,'=HYPERLINK(1)" in api.get("/teams/export").text


def test_an_unknown_mode_or_format_is_a_400(api: Api) -> None:
    assert "mode" in error_of(send(api, "/rules", "rules: []", "?mode=x"), 400)["details"]
    assert "format" in error_of(api.get("/teams/export?format=xml"), 400)["details"]


def test_the_description_of_the_api_names_all_of_it(api: Api) -> None:
    paths = api.get("/api/v2/openapi.json").json()["paths"]
    for path in (
        "rules/validate",
        "rules/dry-run",
        "rules/dry-run/{run}",
        "rules/explain",
        "rules/export",
        "rules/import",
        "rules/{id}/history",
        "rules/{id}/revert",
        "config-audit/{id}/revert",
        "dev-hosts/import",
        "teams/export",
    ):
        assert f"/api/v2/{path}" in paths


def test_one_file_sent_several_times_at_once_is_taken_once(api: Api) -> None:
    document = yaml.safe_dump({"rules": [dict(RULE, name="New")]})
    with ThreadPoolExecutor(6) as together:
        rules = [together.submit(send, api, "/rules", document) for _ in range(6)]
        hosts = [together.submit(send, api, "/dev-hosts", "lab1\nlab2\n") for _ in range(6)]
    assert sorted(counts(each.result())["create"] for each in rules) == [0, 0, 0, 0, 0, 1]
    assert sorted(counts(each.result())["create"] for each in hosts) == [0, 0, 0, 0, 0, 2]
    assert api.get("/rules").json()["total"] == 1
