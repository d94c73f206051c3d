"""Validation as one types, dry runs and explanations, over the API."""

import asyncio
import json
import uuid
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import psycopg
import pytest

from mutt.handling import Hosts
from mutt.rules import Rule
from services import postgres_connector
from services.runtime.secrets import EnvironmentSecrets
from services.web_ui import dry_runs
from services.web_ui.rule_queries import Judge
from tests.harness.processes import StartService
from tests.harness.waiting import wait_for
from tests.service.test_connections import database_settings
from tests.service.web_api import RULE, Api, error_of

NOW = datetime.now(UTC)


@pytest.fixture
def api(start_service: StartService) -> Api:
    """Run a web UI."""
    return Api(start_service("webui"))


@pytest.fixture
def viewer(start_service: StartService) -> Api:
    """Run a web UI for one who may only look."""
    keys = json.dumps({"night": {"sha256": sha256(b"viewer-key").hexdigest(), "role": "viewer"}})
    return Api(start_service("webui", WEBUI_API_KEYS=keys), "viewer-key")


def audit(url: str, *messages: str, **changes: Any) -> list[str]:
    """Audit events, the last one the newest."""
    ids = [str(uuid.uuid4()) for _ in messages]
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        row: dict[str, Any] = {"hostname": "core1", "severity": 3, "age": timedelta(minutes=30)} | changes
        cursor.executemany(
            "INSERT INTO event_audit_log (event_id, correlation_id, event_timestamp, received_at, hostname, message,"
            " syslog_severity, team, handling, environment, forwarded) VALUES"
            " (%s, %s, %s, now(), %s, %s, %s, 'NETO', 'Unhandled', 'prod', false)",
            [
                (
                    event_id,
                    event_id,
                    NOW - row["age"] + timedelta(milliseconds=number),
                    row["hostname"],
                    message,
                    row["severity"],
                )
                for number, (event_id, message) in enumerate(zip(ids, messages, strict=True))
            ],
        )
    return ids


def finished(api: Api, run_id: str) -> dict[str, Any]:
    """Wait until a dry run has ended and return its report."""
    reports: list[dict[str, Any]] = []

    def look() -> bool:
        reports.append(api.get(f"/rules/dry-run/{run_id}").json())
        return bool(reports[-1]["state"] != "running")

    wait_for(look, "the end of the dry run")
    return reports[-1]


def test_a_rule_is_checked_as_one_types_with_its_place_among_the_others(api: Api) -> None:
    above, below = api.create_rule(priority=600, name="Above"), api.create_rule(priority=400, match_string="else")
    good = api.call("POST", "/rules/validate", RULE | {"match_string": "big link down"}).json()
    assert (good["valid"], good["details"], good["hints"]) == (True, {}, {})
    assert good["neighbours"]["above"] == {"id": above["id"], "name": "Above", "priority": 600}
    assert good["neighbours"]["below"]["id"] == below["id"]
    assert good["hidden_by"]["id"] == above["id"]

    wrong = RULE | {"match_type": "regex", "match_string": "down(?!.*admin)", "priority": 500}
    bad = api.call("POST", "/rules/validate", wrong).json()
    assert bad["valid"] is False
    assert "invalid perl operator" in bad["details"]["match_string"]
    assert bad["hints"]["match_string"]["problem"] == 'RE2 has no look-ahead: "(?!" at character 5.'
    assert bad["neighbours"]["above"]["id"] == above["id"]
    assert api.call("POST", "/rules/validate", {"priority": "x"}).json()["neighbours"] == {"above": None, "below": None}
    assert "id" in error_of(api.call("POST", "/rules/validate", {"id": "x"}), 400)["details"]


def test_a_dry_run_of_a_new_rule_tells_what_it_would_have_done(api: Api, database_url: str) -> None:
    audit(database_url, *["fan 1 failed"] * 700, "link down", "nothing")
    started = api.call("POST", "/rules/dry-run", {"rule": RULE | {"match_string": "fan"}, "hours": 24})
    assert started.status_code == 202, started.text
    run_id = started.json()["id"]
    assert started.headers["Location"] == f"/api/v2/rules/dry-run/{run_id}"
    report = finished(api, run_id)
    assert (report["state"], report["why"], report["progress"]) == ("done", None, 1.0)
    assert (report["read"], report["caught"], report["handled_differently"]) == (702, 700, 700)
    assert report["pages"] == {"with_change": 1, "today": 0}
    assert report["moves"][0]["direction"] == "louder"
    assert report["moves"][0]["from"] is None
    assert len(report["samples"]) == 20
    assert report["cost"]["events"] == 702
    assert api.get("/rules").json()["total"] == 0


def test_a_dry_run_of_an_edited_rule_compares_it_with_itself(api: Api, database_url: str) -> None:
    rule = api.create_rule(prod_handling="Ticket_only")
    audit(database_url, "link down")
    audit(database_url, "link down", age=timedelta(hours=5))
    body = {"id": rule["id"], "rule": {"prod_handling": "Page_and_ticket"}, "hours": 2}
    report = finished(api, api.call("POST", "/rules/dry-run", body).json()["id"])
    assert report["read"] == 1
    assert (report["moves"][0]["today"], report["moves"][0]["with_change"]) == ("Ticket_only", "Page_and_ticket")
    assert report["moves"][0]["from"]["this"] is True


def test_a_dry_run_can_be_stopped_and_replaced(api: Api, database_url: str) -> None:
    audit(database_url, *["x"] * 100)
    first = api.call("POST", "/rules/dry-run", {"rule": RULE}).json()
    second = api.call("POST", "/rules/dry-run", {"rule": RULE, "replaces": first["id"]}).json()
    assert finished(api, first["id"])["state"] in {"cancelled", "done"}
    stopped = api.call("DELETE", f"/rules/dry-run/{second['id']}")
    assert stopped.status_code == 200
    assert stopped.json()["state"] in {"cancelled", "done"}


def test_what_cannot_be_run_is_refused_with_what_could(api: Api) -> None:
    for body, field in (
        ({}, "rule"),
        ({"rule": 5}, "rule"),
        ({"rule": RULE, "hours": 0}, "hours"),
        ({"rule": RULE, "hours": 745}, "hours"),
        ({"rule": RULE, "hours": "24"}, "hours"),
        ({"rule": RULE | {"priority": 0}}, "priority"),
        ({"rule": RULE, "id": -1}, "id"),
    ):
        assert field in error_of(api.call("POST", "/rules/dry-run", body), 400)["details"]
    error_of(api.call("POST", "/rules/dry-run", {"rule": RULE, "id": 99}), 404)
    for method in ("GET", "DELETE"):
        assert "there is no dry run x" in error_of(api.call(method, "/rules/dry-run/x"), 404)["error"]


def test_a_viewer_may_check_and_explain_and_not_run(viewer: Api) -> None:
    error_of(viewer.call("POST", "/rules/dry-run", {"rule": RULE}), 403)
    assert viewer.call("POST", "/rules/validate", RULE).json()["valid"] is True
    pasted = viewer.call("POST", "/rules/explain", {"event": {"hostname": "a", "message": "b"}})
    assert pasted.json()["handling"] == "Unhandled"


def test_a_pasted_event_is_explained_rule_by_rule(api: Api) -> None:
    high = api.create_rule(priority=900, match_string="other")
    rule = api.create_rule()
    api.call("POST", "/teams", {"hostname": "core1", "team_assignment": "CORE"})
    event = '{"hostname": "Core1.", "message": "link DOWN", "syslog_severity": "err", "big": 12345678901234567890}'
    for sent in (f'{{"event": {event}}}', json.dumps({"event": event})):
        reply = api.call("POST", "/rules/explain", data=sent.encode())
        assert reply.status_code == 200, reply.text
        found = reply.json()
        assert [(each["id"], each["matched"], each["failed"]) for each in found["rules"]] == [
            (high["id"], False, "match_string"),
            (rule["id"], True, None),
        ]
        assert (found["winner"]["id"], found["matched_text"]) == (rule["id"], [0, 9])
        assert (found["team"], found["team_from"]) == ("CORE", "the host's own team")
        assert '"big": 12345678901234567890' in found["moogsoft"] or '"big":12345678901234567890' in found["moogsoft"]
        assert "made up" in found["note"]


def test_an_audited_event_is_explained_by_its_id(api: Api, database_url: str) -> None:
    rule = api.create_rule()
    (event_id,) = audit(database_url, "link down")
    found = api.call("POST", "/rules/explain", {"event_id": event_id}).json()
    assert (found["winner"]["id"], found["event"]["event_id"]) == (rule["id"], event_id)
    assert json.loads(found["moogsoft"])["external_id"] == event_id
    assert "order" in found["note"]
    missing = api.call("POST", "/rules/explain", {"event_id": str(uuid.uuid4())})
    assert "may still be in a queue" in error_of(missing, 404)["error"]


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"{}", b'{"event_id": "x"}', b'{"event": {}}', b'{"event": "{"}', b'{"event": 5}']
)
def test_what_is_no_event_is_a_400_that_says_why(api: Api, data: bytes) -> None:
    error_of(api.call("POST", "/rules/explain", data=data), 400)


def statements_that_wait(url: str) -> int:
    """Return how many statements wait for a lock."""
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'").fetchone()
    return 0 if row is None else int(row[0])


def test_stopping_a_dry_run_cancels_its_statement(api: Api, database_url: str) -> None:
    audit(database_url, "link down")
    with psycopg.connect(database_url) as lock:
        lock.execute("LOCK TABLE event_audit_log IN ACCESS EXCLUSIVE MODE")
        run = api.call("POST", "/rules/dry-run", {"rule": RULE}).json()
        wait_for(lambda: statements_that_wait(database_url) == 1, "the dry run's statement")
        assert api.get("/rules").status_code == 200
        stopped = api.call("DELETE", f"/rules/dry-run/{run['id']}").json()
        assert (stopped["state"], stopped["why"]) == ("cancelled", "stopped by hand")
        wait_for(lambda: statements_that_wait(database_url) == 0, "the end of its statement")


@pytest.mark.parametrize(
    ("limit", "state", "why"),
    [("ALONE_SECONDS", "cancelled", "nobody asked about it"), ("SECONDS_MAX", "done", "stopped after 0.3 s")],
)
async def test_a_dry_run_ends_with_its_statement_when_it_is_left_alone_or_takes_too_long(
    database_url: str, monkeypatch: pytest.MonkeyPatch, limit: str, state: str, why: str
) -> None:
    monkeypatch.setattr(dry_runs, limit, 0.3)
    settings, environment = database_settings(database_url)
    rule = Rule(0, "down", None, None, "contains", 500, "Page_and_ticket", "Log_only", "NETO")
    async with postgres_connector.open_pool(settings, EnvironmentSecrets(environment)) as pool:
        with psycopg.connect(database_url) as lock:
            lock.execute("LOCK TABLE event_audit_log IN ACCESS EXCLUSIVE MODE")
            run = await dry_runs.DryRuns(pool).start(Judge([], Hosts()), rule, 24, "NETO", "me")
            assert run.task is not None
            await asyncio.wait({run.task})
            assert statements_that_wait(database_url) == 0
    report = await run.told()
    assert report["state"] == state
    assert why in report["why"]
    assert (report["read"], report["hides"], report["cost"]) == (0, [], None)


async def test_a_dry_run_that_is_stopped_before_it_begins_has_ended(database_url: str) -> None:
    settings, environment = database_settings(database_url)
    rule = Rule(0, "down", None, None, "contains", 500, "Page_and_ticket", "Log_only", "NETO")
    async with postgres_connector.open_pool(settings, EnvironmentSecrets(environment)) as pool:
        run = dry_runs.Run(Judge([], Hosts()), rule, 24, "NETO", "me")
        run.start(pool)
        run.stop("stopped by hand")
        assert run.task is not None
        await asyncio.wait({run.task})
    assert (await run.told())["state"] == "cancelled"
