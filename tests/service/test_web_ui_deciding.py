"""The pages about what decides: rules, hosts and teams, configuration, changes; all of them without scripts."""

import json
import re
from hashlib import sha256
from typing import Any

import psycopg
import pytest
import redis.asyncio

from mutt import keys
from mutt.dynamic_keys import ALL
from tests.harness.credentials import WEBUI_API_KEY
from tests.harness.processes import ServiceProcess, StartService
from tests.harness.waiting import wait_for
from tests.service.browser import Browser, hidden
from tests.service.test_web_ui_trials import audit
from tests.service.web_api import Api, changes

FORM = {
    "name": "Links",
    "description": "",
    "match_string": "link down",
    "match_type": "contains",
    "trap_oid": "",
    "syslog_severity": "",
    "priority": "500",
    "prod_handling": "Page_and_ticket",
    "dev_handling": "Log_only",
    "team_assignment": "NETO",
    "is_active": "true",
    "reason": "CHG-9",
    "version": "",
}
HOSTILE = "<script>alert(1)</script>\u202e"
PAGES = (
    "/rules",
    "/rules/new",
    "/rules/1",
    "/rules/1/history",
    "/rules/import",
    "/rules/explain",
    "/hosts",
    "/hosts/lab1",
    "/hosts/import/teams",
    "/configuration",
    "/configuration/moog_rate_limit",
    "/changes",
)


def version_in(page: str) -> str:
    """Return what the first form of a page was made for."""
    return hidden(page, "version")[0]


@pytest.fixture
def service(start_service: StartService) -> ServiceProcess:
    """Run a web UI that knows a viewer beside the admin."""
    keys_ = json.dumps({"night": {"sha256": sha256(b"viewer-key").hexdigest(), "role": "viewer"}})
    return start_service("webui", WEBUI_API_KEYS=keys_, DYNAMIC_CONFIG_ENABLED="true")


@pytest.fixture
def browser(service: ServiceProcess) -> Browser:
    """Sign in as admin."""
    return Browser(service).sign_in()


@pytest.fixture
def api(service: ServiceProcess) -> Api:
    """Speak to the API as admin."""
    return Api(service, WEBUI_API_KEY)


def test_every_page_is_there_with_a_session_and_leads_to_the_sign_in_without(browser: Browser, api: Api) -> None:
    for path in PAGES:
        reply = Browser(browser.service).get(browser.service.url + path, allow_redirects=False, timeout=60)
        assert (reply.status_code, reply.headers["Location"][:14]) == (303, "/sign-in?next=")
    assert "No rules." in browser.open("/rules")
    api.create_rule(name=HOSTILE, match_string=HOSTILE)
    api.call("POST", "/dev-hosts", {"hostname": "lab1"})
    api.call("POST", "/teams", {"hostname": "core1", "team_assignment": HOSTILE})
    api.call("PUT", "/config/moog_rate_limit", {"value": 70, "reason": HOSTILE})
    for path in PAGES:
        page = browser.open(path)
        assert "<script>alert" not in page
        assert ' style="' not in page
    assert "&lt;script&gt;" in browser.open("/rules/1")


def test_a_viewer_sees_no_button_that_would_be_refused(service: ServiceProcess, api: Api) -> None:
    api.create_rule()
    api.call("POST", "/dev-hosts", {"hostname": "lab1"})
    viewer = Browser(service).sign_in("viewer-key")
    for path in ("/rules", "/rules/1", "/rules/1/history", "/hosts", "/configuration/moog_rate_limit", "/changes"):
        page = viewer.open(path)
        forms = set(re.findall(r'<form[^>]*method="post"[^>]*action="([^"]*)"', page)) - {"/sign-out", "/rules"}
        assert forms <= {"/rules/1"}
        assert "Review and save" not in page
        assert "Revert" not in page
    viewer.open("/rules/new", 403)
    viewer.submit("/rules/1", FORM, 403)
    viewer.submit("/hosts/add/host", {"hostname": "x"}, 403)
    assert "Explain" in viewer.open("/rules/explain")


def test_a_rule_is_typed_run_reviewed_saved_and_undone(browser: Browser, api: Api, database_url: str) -> None:
    audit(database_url, "link down", "link down <b>", "fan")
    browser.open("/rules/new")
    place = browser.submit("/rules/new", FORM | {"do": "run"}).headers["Location"]
    wait_for(lambda: 'data-state="done"' in browser.open(place), "the end of the dry run")
    page = browser.open(place)
    assert "events caught" in page
    assert "no rule matched" in page
    assert "&lt;b&gt;" in page
    assert "<header>" not in browser.open(f"{place}?part=report").split("data-run")[0]
    caught = browser.open(f"{place}/caught")
    assert "2 events that this rule would catch" in caught
    assert len(re.findall(r'<tr data-row><td class="nowrap"><a href="/events/', caught)) == 2
    assert "No rule matches them today." in browser.open(f"{place}/caught?from=none&start=x")
    assert "0 events that" in browser.open(f"{place}/caught?from=99")
    run_id = place.rsplit("/", 1)[1]
    review = browser.submit("/rules/new", FORM | {"do": "review", "run": run_id}, 200).text
    assert "The whole dry run" in review
    assert "Page and ticket" in review
    assert "v2.5" in review
    saved = browser.submit("/rules/new", FORM | {"do": "save", "run": run_id})
    assert saved.headers["Location"] == "/rules/1"
    assert "Rule 1 is saved. It holds at once." in browser.open("/rules/1")
    assert api.get("/rules/1").json()["name"] == "Links"
    assert changes(database_url)[0]["reason"] == "CHG-9"
    change_id = changes(database_url)[0]["id"]
    browser.submit(f"/changes/{change_id}/revert", {"next": "/rules"})
    assert "Rule 1 is gone." in browser.open("/rules")
    assert api.get("/rules").json()["total"] == 0


def test_a_field_in_error_keeps_what_was_typed_and_says_what_to_write(browser: Browser) -> None:
    browser.open("/rules/new")
    wrong = FORM | {"match_type": "regex", "match_string": "down(?!.*admin)", "priority": "x9", "do": "review"}
    page = browser.submit("/rules/new", wrong, 400).text
    assert "RE2 has no look-ahead: &#34;(?!&#34; at character 5." in page
    assert "a rule of its own with a higher priority" in page
    assert "down(?!.*admin)" in page
    assert 'value="x9"' in page
    assert "a whole number from 1 to 1000" in page


def test_of_two_editors_the_second_compares_and_saves_over_knowingly(browser: Browser, api: Api) -> None:
    api.create_rule(name="Links")
    browser.open("/rules/1")
    api.call("PUT", "/rules/1", {"priority": 7})
    page = browser.submit("/rules/1", FORM | {"version": "1", "team_assignment": "MINE", "do": "save"}, 409).text
    assert "default saved rule 1 first." in page
    assert 'value="MINE"' in page
    assert "Compare" in page
    assert 'name="version" value="2"' in page
    browser.submit("/rules/1", FORM | {"version": "2", "team_assignment": "MINE", "do": "save"})
    assert "is saved as version 3" in browser.open("/rules/1")
    browser.submit("/rules/1", FORM | {"version": "3", "team_assignment": "MINE", "do": "save"})
    assert "is as it was" in browser.open("/rules/1")


def test_a_rule_is_deleted_without_a_question_and_comes_back(browser: Browser, api: Api) -> None:
    api.create_rule()
    browser.open("/rules/1")
    browser.submit("/rules/1/delete", {})
    page = browser.open("/rules")
    assert "Rule 1 is deleted." in page
    undo = re.search(r'action="(/changes/\d+/revert)"', page)
    assert undo is not None
    browser.submit(undo.group(1), {"next": "/rules/1"})
    assert "Rule 1 is back to what it was before." in browser.open("/rules/1")
    assert "deleted" in browser.open("/rules/1/history")
    browser.open("/rules/99", 404)
    browser.open("/rules/99/history", 404)


async def test_an_unhandled_pattern_fills_a_rule(browser: Browser, redis_client: redis.asyncio.Redis) -> None:
    info: dict[Any, Any] = {"template": "fan <num> of rack failed", "sample": "fan 3 of rack failed <at 5"}
    await redis_client.hset(f"{keys.UNHANDLED_INFO_PREFIX}:0123456789abcdef", mapping=info)
    page = browser.open("/rules/new?from_unhandled=0123456789abcdef")
    assert "of rack failed</textarea>" in page
    assert "fan 3 of rack failed &lt;at 5" in page
    assert "data-autorun" in page
    assert "not counted any more" in browser.open("/rules/new?from_unhandled=ffff", 404)


def test_rules_are_filtered_and_copied(browser: Browser, api: Api) -> None:
    api.create_rule(name="Links")
    api.create_rule(name="Fans", is_active=False, prod_handling="Log_only")
    assert "Fans" not in browser.open("/rules?q=links")
    assert "Links" not in browser.open("/rules?state=off")
    assert "Links" not in browser.open("/rules?handling=Log_only")
    assert "No rule is like this." in browser.open("/rules?q=none")
    assert 'value="Links"' in browser.open("/rules/new?copy=1")


def test_an_event_is_explained_on_a_page(browser: Browser, api: Api, database_url: str) -> None:
    api.create_rule()
    (event_id,) = audit(database_url, "link down <i>")
    page = browser.open(f"/rules/explain?event_id={event_id}")
    assert "Page and ticket for NETO, by rule 1" in page
    assert "decides" in page
    assert "external_id" in page
    browser.open("/rules/explain")
    pasted = browser.submit("/rules/explain", {"event": '{"hostname": "a", "message": "fan 3"}'}, 200).text
    assert "Unhandled: no rule matches" in pasted
    wrong = browser.submit("/rules/explain", {"event": "{nonsense"}, 400).text
    assert "{nonsense" in wrong
    assert "would not be taken" in wrong
    browser.open("/rules/explain?event_id=x", 400)


def test_a_file_of_rules_is_compared_before_it_is_taken(browser: Browser, api: Api) -> None:
    api.create_rule(name="Links")
    document = browser.open("/rules/export.yaml").replace("priority: 500", "priority: 9")
    browser.open("/rules/import")
    shown = browser.submit("/rules/import", {"document": document, "do": "compare"}, 200).text
    assert "0 new, 1 changed, 0 deleted" in shown
    seal = re.search(r'name="seal" value="(\w+)"', shown)
    assert seal is not None
    sent = {"document": document, "do": "apply", "seal": seal.group(1), "mode": "merge"}
    browser.submit("/rules/import", sent)
    assert "Imported: 0 added, 1 changed, 0 deleted." in browser.open("/rules")
    assert api.get("/rules/1").json()["priority"] == 9
    assert "Compare again" in browser.submit("/rules/import", sent, 409).text
    bad = browser.submit("/rules/import", {"document": "- {name: <b>}", "do": "compare"}, 400).text
    assert "1 place is wrong" in bad
    assert "- {name: &lt;b&gt;}" in bad


def test_hosts_and_teams_are_added_removed_and_imported(browser: Browser, api: Api) -> None:
    browser.open("/hosts")
    browser.submit("/hosts/add/host", {"hostname": "LAB1."})
    assert "lab1 is a development host." in browser.open("/hosts")
    assert "listed so already" in browser.submit("/hosts/add/host", {"hostname": "lab1"}, 409).text
    assert "no blanks" in browser.submit("/hosts/add/host", {"hostname": "a b"}, 400).text
    browser.submit("/hosts/add/team", {"hostname": "core1", "team_assignment": "A"})
    page = browser.submit("/hosts/add/team", {"hostname": "core1", "team_assignment": "B"}, 409).text
    assert "has a team already" in page
    browser.submit("/hosts/add/team", {"hostname": "core1", "team_assignment": "B", "version": version_in(page)})
    assert api.get("/teams/core1").json()["team_assignment"] == "B"
    assert "is required; text of 1 to 100 characters" in browser.submit("/hosts/add/team", {"hostname": "x"}, 400).text
    listed = browser.open("/hosts")
    browser.submit("/hosts/remove/host", {"hostname": "lab1", "version": version_in(listed)})
    assert "no longer a development host" in browser.open("/hosts")
    browser.submit("/hosts/remove/host", {"hostname": "lab1"}, 404)
    history = browser.open("/hosts/core1")
    assert "<del>" in history
    assert "A</bdi>" in history
    shown = browser.submit(
        "/hosts/import/teams", {"document": "core1,B\ncore2,C", "do": "compare", "mode": "replace"}, 200
    )
    assert "1 new, 0 changed, 0 deleted, 1 as they are" in shown.text
    kept = {"document": "core2,C", "mode": "replace"}
    seal = re.search(r'name="seal" value="(\w+)"', browser.submit("/hosts/import/teams", kept, 200).text)
    assert seal is not None
    browser.submit("/hosts/import/teams", {**kept, "do": "apply", "seal": seal.group(1)})
    assert [row["hostname"] for row in api.get("/teams").json()["teams"]] == ["core2"]
    assert "line 2" in browser.submit("/hosts/import/hosts", {"document": "a\nb c", "do": "compare"}, 400).text
    assert browser.open("/hosts/export/teams.csv") == "hostname,team_assignment\r\ncore2,C\r\n"


def test_a_configuration_key_is_set_refused_and_reverted(browser: Browser, api: Api) -> None:
    place = "/configuration/moog_rate_limit"
    read = version_in(browser.open(place))
    browser.submit(place, {"value": "70", "do": "set", "reason": "busy", "version": read})
    assert "moog_rate_limit is 70." in browser.open(place)
    refused = browser.submit(place, {"value": "-1", "do": "set"}, 400).text
    assert "a whole number from 1 to" in refused
    assert 'value="-1"' in refused
    assert "set in Redis by" in refused
    assert "1 to 100,000" in refused
    browser.submit(place, {"do": "unset", "version": version_in(refused)})
    page = browser.open(place)
    assert "not set any more" in page
    undo = re.search(r'action="(/changes/\d+/revert)"', page)
    assert undo is not None
    browser.submit(undo.group(1), {"next": place})
    assert "Configuration key moog_rate_limit is back to what it was before." in browser.open(place)
    assert api.get("/config/moog_rate_limit").json()["value"] == 70
    browser.open("/configuration/none", 404)


def test_of_two_who_change_a_host_the_second_sees_both_and_decides(browser: Browser, api: Api) -> None:
    browser.open("/hosts")
    browser.submit("/hosts/add/team", {"hostname": "core1", "team_assignment": "A"})
    seen = version_in(browser.open("/hosts"))
    api.call("PUT", "/teams/core1", {"team_assignment": "THEIRS"})
    mine = {"hostname": "core1", "team_assignment": "MINE", "reason": "CHG-7", "version": seen}
    page = browser.submit("/hosts/add/team", mine, 409).text
    assert "nothing is changed yet" in page
    for text in ("THEIRS", "MINE", "CHG-7", "default"):
        assert text in page
    assert api.get("/teams/core1").json()["team_assignment"] == "THEIRS"
    page = browser.submit("/hosts/remove/team", {"hostname": "core1", "version": seen}, 409).text
    assert "is not what you saw when you asked to remove it" in page
    browser.submit("/hosts/add/team", mine | {"version": version_in(page)})
    assert api.get("/teams/core1").json()["team_assignment"] == "MINE"
    page = browser.submit("/hosts/remove/team", {"hostname": "core1", "version": version_in(page)}, 409).text
    browser.submit("/hosts/remove/team", {"hostname": "core1", "version": version_in(page)})
    assert api.get("/teams").json()["total"] == 0


def test_of_two_who_change_a_configuration_key_the_second_sees_both_and_decides(browser: Browser, api: Api) -> None:
    place = "/configuration/moog_rate_limit"
    read = version_in(browser.open(place))
    api.call("PUT", "/config/moog_rate_limit", {"value": 80})
    page = browser.submit(place, {"value": "90", "do": "set", "reason": "CHG-8", "version": read}, 409).text
    assert "default changed moog_rate_limit first" in page
    for text in ("80", 'value="90"', 'value="CHG-8"'):
        assert text in page
    assert api.get("/config/moog_rate_limit").json()["value"] == 80
    assert "not set" in browser.submit(place, {"do": "unset", "version": read}, 409).text
    browser.submit(place, {"value": "80", "do": "set", "version": read})
    assert "is so already" in browser.open(place)
    browser.submit(place, {"value": "90", "do": "set", "version": version_in(page)})
    assert api.get("/config/moog_rate_limit").json()["value"] == 90


def test_where_a_configuration_value_comes_from_is_said(start_service: StartService, redis_url: str) -> None:
    console = start_service("webui", MOOG_RATE_LIMIT="1500", DYNAMIC_CONFIG_ENABLED="true")
    with redis.Redis.from_url(redis_url) as client:
        client.set(keys.config("slo_window_hours"), "48")
    page = Browser(console).sign_in().open("/configuration")
    rows = {name: row for row in page.split("<tr data-row>") for name in ALL if f"<code>{name}</code>" in row}
    for name, figure, origin in (
        ("slo_window_hours", "48", "set in Redis, directly"),
        ("moog_rate_limit", "1,500", "environment variable MOOG_RATE_LIMIT"),
        ("max_ingest_queue_size", "1,000,000", "built-in default of MAX_INGEST_QUEUE_SIZE, which is not set"),
        ("alerter_queue_shed_threshold", "2,000", "built-in default"),
    ):
        assert f'<bdi class="log">{figure}</bdi>' in rows[name], name
        assert origin in rows[name], name


def test_changes_are_filtered_and_paged(browser: Browser, api: Api, database_url: str) -> None:
    api.create_rule()
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO config_audit_log (changed_by, operation, table_name, record_id)"
            " SELECT 'x', 'REPLAY', 'mutt:dlq:moog', n::text FROM generate_series(1, 60) n"
        )
    page = browser.open("/changes")
    assert "61 changes" in page
    assert "/changes?page=2" in page
    assert "rule 1" in browser.open("/changes?page=2")
    assert "1 change of" in browser.open("/changes?table_name=alert_rules")
    assert "No change is like this." in browser.open("/changes?changed_by=nobody")
    assert "is no date or time" in browser.open("/changes?from=soon")


def test_teams_and_config_lead_to_their_pages(browser: Browser, api: Api) -> None:
    for path, place in (("/teams", "/hosts#teams"), ("/config", "/configuration")):
        reply = browser.get(browser.service.url + path, allow_redirects=False, timeout=60)
        assert (reply.status_code, reply.headers["Location"]) == (303, place)
    assert "/rules" not in api.get("/api/v2/openapi.json").json()["paths"]
