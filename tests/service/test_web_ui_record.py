"""Every request that changes something is on record: who, why, in which request, what was before and what is now."""

import hashlib
import json
from collections.abc import Callable
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
import yaml
from redis import Redis

from tests.harness.processes import StartService
from tests.service.dead_letters import dead, dead_alert
from tests.service.web_api import RULE, Api, changes
from tests.service.web_contract_steps import buried

ADMIN = json.dumps({"ann": {"sha256": hashlib.sha256(b"ann-key").hexdigest(), "role": "admin"}})
WHY = "CHG-1402"


class Recorded(NamedTuple):
    """A row that a request left: the table, what was done, and whether there was and is something."""

    table: str
    operation: str
    before: bool
    after: bool


RULES, HOSTS, TEAMS, CONFIG, LETTERS = (
    "alert_rules", "development_hosts", "device_teams", "dynamic_config", "dead_letters",
)  # fmt: skip


@pytest.fixture
def api(start_service: StartService) -> Api:
    """Run a web UI that ann uses."""
    return Api(start_service("webui", WEBUI_API_KEYS=ADMIN), "ann-key")


@pytest.fixture
def ask(api: Api, database_url: str) -> Callable[..., Any]:
    """Send a change with a reason, and compare what it left on record."""

    def send(method: str, path: str, body: Any, *expected: Recorded) -> Any:
        known, correlation_id = len(changes(database_url)), str(uuid4())
        given = {"data": body.encode()} if isinstance(body, str) else {"body": body and {**body, "reason": WHY}}
        if not isinstance(body, dict):
            path += ("&" if "?" in path else "?") + f"reason={WHY}"
        reply = api.call(method, path, **given, headers={"X-Correlation-ID": correlation_id})
        assert reply.status_code < 300, reply.text
        rows = changes(database_url)[known:]
        assert [
            Recorded(row["table_name"], row["operation"], row["old_values"] is not None, row["new_values"] is not None)
            for row in rows
        ] == list(expected), (method, path)
        assert {(row["changed_by"], row["reason"], str(row["correlation_id"])) for row in rows} == {
            ("ann", WHY, correlation_id)
        }, (method, path)
        return reply.json()

    return send


def made(table: str) -> Recorded:
    return Recorded(table, "CREATE", before=False, after=True)


def changed(table: str) -> Recorded:
    return Recorded(table, "UPDATE", before=True, after=True)


def gone(table: str) -> Recorded:
    return Recorded(table, "DELETE", before=True, after=False)


def test_changes_of_rules_are_on_record(ask: Callable[..., Any]) -> None:
    rule = ask("POST", "/rules", RULE, made(RULES))
    place = f"/rules/{rule['id']}"
    ask("PUT", place, {"priority": 7}, changed(RULES))
    done = ask("POST", f"{place}/revert", {"version": 1}, changed(RULES))
    ask("POST", f"/config-audit/{done['change_id']}/revert", {"to": "before"}, changed(RULES))
    ask("DELETE", place, None, gone(RULES))
    document = yaml.safe_dump({"rules": [RULE, RULE | {"priority": 9}]})
    ask("POST", "/rules/import", document, made(RULES), made(RULES))
    ask("POST", "/rules/import?mode=replace", yaml.safe_dump({"rules": [RULE]}), gone(RULES))


def test_changes_of_hosts_teams_and_configuration_are_on_record(ask: Callable[..., Any]) -> None:
    ask("POST", "/dev-hosts", {"hostname": "lab1"}, made(HOSTS))
    ask("DELETE", "/dev-hosts/lab1", None, gone(HOSTS))
    ask("POST", "/dev-hosts/import", "hostname\nlab2\n", made(HOSTS))
    ask("POST", "/teams", {"hostname": "core1", "team_assignment": "A"}, made(TEAMS))
    ask("PUT", "/teams/core1", {"team_assignment": "B"}, changed(TEAMS))
    ask("POST", "/teams/import", '{"teams": [{"hostname": "core1", "team_assignment": "C"}]}', changed(TEAMS))
    ask("DELETE", "/teams/core1", None, gone(TEAMS))
    ask("PUT", "/config/moog_rate_limit", {"value": 70}, made(CONFIG))
    ask("PUT", "/config/moog_rate_limit", {"value": 80}, changed(CONFIG))
    ask("DELETE", "/config/moog_rate_limit", None, gone(CONFIG))


def test_moves_of_dead_letters_are_on_record(ask: Callable[..., Any], redis_url: str) -> None:
    redis = Redis.from_url(redis_url)
    moved = Recorded(LETTERS, "REPLAY", before=True, after=True)
    edited = Recorded(LETTERS, "EDIT", before=True, after=True)
    letters = [buried(redis, "alerter", dead(f"link {number}")) for number in range(3)]
    places = [f"/dead-letters/alerter/{letter['event_id']}" for letter in letters]
    ask("POST", f"{places[0]}/replay", {"sha256": letters[0]["sha256"]}, moved)
    payload = {"message": "link 1", "hostname": "web2.example", "timestamp": "2026-11-24T22:10:00Z"}
    ask("PUT", places[1], {"sha256": letters[1]["sha256"], "payload": payload}, edited)
    ask("DELETE", f"{places[2]}?sha256={letters[2]['sha256']}", None, gone(LETTERS))
    for act, record, more in (
        ("replay", moved, {}),
        ("edit", edited, {"set": {"team": "CORE"}}),
        ("delete", gone(LETTERS), {}),
    ):
        for number in range(2):
            buried(redis, "moog", dead_alert(f"fan {number}"))
        ask("POST", f"/dead-letters/moog/{act}", {"filter": {}, **more}, record, record)
