"""What people come to the console for, from the first click to the last: events and dead letters."""

import json

import pytest
from playwright.sync_api import expect

from mutt import keys
from mutt.envelope import amend
from tests.browser.conftest import OpenConsole
from tests.harness.entries import queue_entry
from tests.harness.moogsoft import MoogStandIn
from tests.harness.processes import StartService
from tests.harness.waiting import wait_for
from tests.service.dead_letters import dead_alert, mutt_of
from tests.service.moog_stage import QUICK
from tests.service.trail import FAST, Trail
from tests.service.web_api import Api


@pytest.fixture
def trail(database_url: str, redis_url: str) -> Trail:
    return Trail(database_url, redis_url)


def refused(message: str, error: str = 'HTTP 422: {"message":"unknown team"}') -> bytes:
    """Return a letter that Moogsoft refused and remediation gave up."""
    entry = dead_alert(message, 60, remediation_attempts=3)
    return amend(entry, last_error={**mutt_of(entry)["last_error"], "type": "4xx", "message": error}, kind="moog")


def test_a_dead_letter_is_edited_replayed_and_delivered(
    open_console: OpenConsole, trail: Trail, start_service: StartService, moog_stand_in: MoogStandIn
) -> None:
    trail.redis.lpush(keys.POISON, refused("BGP 10.255.9.1 idle"), refused("BGP 10.255.9.2 idle"))
    start_service("alerter", **FAST)
    start_service("moog-forwarder", **QUICK)
    console = open_console("operator")
    console.visit("/dead-letters")
    page = console.page
    page.get_by_role("row", name="BGP 10.255.9.1 idle").get_by_role("link").first.click()
    editor = page.get_by_label("Edit", exact=True)
    payload = json.loads(editor.input_value())
    # A handling that nobody forwards is named before anything is sent.
    editor.fill(json.dumps(payload | {"handling": "Log_only"}, indent=2))
    page.get_by_text("It would not be taken as it stands").wait_for()
    console.check_accessibility()
    editor.fill(json.dumps(payload | {"team": "EDGE"}, indent=2))
    page.get_by_text("Valid.").wait_for()
    expect(page.get_by_text("1 line differs from what died")).to_be_visible()
    console.button("Replay this one").click()
    page.get_by_text("1 arrived").wait_for()
    assert "Moogsoft took it: 200" in console.text()
    console.check_accessibility()
    [alert] = [each for each in moog_stand_in.alerts() if "10.255.9.1" in json.dumps(each)]
    assert "EDGE" in json.dumps(alert)
    assert trail.length(keys.POISON) == 1


def test_selected_letters_are_replayed_and_what_is_refused_again_is_told(
    open_console: OpenConsole, trail: Trail, start_service: StartService, moog_stand_in: MoogStandIn
) -> None:
    trail.redis.lpush(keys.POISON, *(refused(f"m{n}") for n in range(3)))
    moog_stand_in.behave(status=422, times=1)
    start_service("moog-forwarder", **QUICK)
    console = open_console("operator")
    console.visit("/dead-letters?queue=poison")
    for box in console.page.get_by_label("Select the letter").all():
        box.check()
    expect(console.page.get_by_text("3 selected")).to_be_visible()
    console.button("Replay").click()
    console.page.get_by_text("2 arrived, 1 refused again").wait_for()


def test_a_filter_is_replayed_batch_after_batch_without_further_clicks(open_console: OpenConsole, trail: Trail) -> None:
    trail.redis.lpush(keys.POISON, *(refused(f"m{n}") for n in range(250)))
    console = open_console("operator")
    console.visit("/dead-letters?queue=poison")
    console.page.get_by_label("all 250 here").check()
    console.button("Replay").click()
    console.button("Replay 250").click()
    console.button("Replay all of them").click()
    wait_for(lambda: trail.length("mutt:alert_queue") == 250, "250 alerts in the queue")
    console.page.get_by_text("Replayed 250").first.wait_for()


@pytest.mark.timeout(600)
def test_more_letters_than_a_page_names_are_replayed_to_the_end_and_each_is_delivered_once(
    open_console: OpenConsole, trail: Trail, start_service: StartService, moog_stand_in: MoogStandIn
) -> None:
    trail.redis.lpush(keys.POISON, *(refused(f"m{n}") for n in range(1110)))
    # They are more than may lie in front of the forwarder, so the run waits for it.
    trail.redis.set("mutt:config:alerter_queue_shed_threshold", 500)
    start_service("moog-forwarder", **QUICK, MOOG_BATCH_MODE="events")
    console = open_console("operator")
    console.visit("/dead-letters?queue=poison")
    console.page.get_by_label("all 1,110 here").check()
    console.button("Replay").click()
    console.button("Replay 1,110").click()
    expect(console.page.get_by_text("1,010 to go")).to_be_visible()
    console.button("Replay all of them").click()
    expect(console.page.get_by_role("heading", level=1)).to_contain_text(
        "Replayed 1,110. Of the first 1,000:", timeout=400_000
    )
    assert trail.length(keys.POISON) == 0
    wait_for(lambda: len(moog_stand_in.alerts()) >= 1110, "all of them with Moogsoft", timeout=300)
    assert len({json.dumps(alert) for alert in moog_stand_in.alerts()}) == len(moog_stand_in.alerts()) == 1110
    console.visit(console.page.url.partition("?")[0])
    expect(console.page.get_by_text("Of the first 1,000: 1,000 arrived, 0 refused again")).to_be_visible()
    console.page.get_by_role("link", name="After").click()
    expect(console.page.get_by_text("1,001 to 1,110 of 1,110")).to_be_visible()


def test_a_run_that_is_signed_out_says_so_and_stops(open_console: OpenConsole, trail: Trail) -> None:
    trail.redis.lpush(keys.POISON, *(refused(f"m{n}") for n in range(250)))
    console = open_console("operator")
    console.visit("/dead-letters?queue=poison")
    console.page.get_by_label("all 250 here").check()
    console.button("Replay").click()
    console.button("Replay 250").click()
    expect(console.page.get_by_text("150 to go")).to_be_visible()
    console.expire_session()
    console.button("Replay all of them").click()
    expect(console.page.get_by_text("Stopped: you are signed out")).to_be_visible()
    assert trail.length(keys.POISON) == 150


def test_a_deletion_asks_first_and_keeps_them_by_default(open_console: OpenConsole, trail: Trail) -> None:
    trail.redis.lpush(keys.POISON, refused("m"))
    console = open_console("operator")
    console.visit("/dead-letters?queue=poison")
    console.page.get_by_label("Select the letter").first.check()
    console.button("Delete…").first.click()
    expect(console.page.get_by_role("link", name="Keep it")).to_be_focused()
    console.check_accessibility()
    console.page.get_by_role("link", name="Keep it").click()
    assert trail.length(keys.POISON) == 1


def test_from_a_page_at_three_in_the_morning_to_its_cause(
    open_console: OpenConsole, trail: Trail, start_service: StartService, moog_stand_in: MoogStandIn
) -> None:
    console = open_console("operator")
    rule = Api(console.service).create_rule(match_string="line card", name="Line cards", team_assignment="CORE")
    Api(console.service).call("PUT", f"/rules/{rule['id']}", {"team_assignment": "CORE-DC3", "reason": "CHG-118"})
    start_service("alerter", **FAST)
    moog_stand_in.behave(status=422)
    start_service("moog-forwarder", **QUICK)
    event_id, entry = queue_entry("chassis: line card 3 fell", "core-rtr-0091.pop2.example")
    trail.send(entry)
    trail.wait_length("mutt:dlq:moog", 1)
    page = console.page
    console.visit("/")
    expect(page.locator("main")).to_contain_text("dead")
    page.get_by_label("Search events").fill("core-rtr-0091.pop2.example")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="chassis: line card 3 fell").first.click()
    page.wait_for_url(f"**/events/{event_id}")
    expect(page.locator("main")).to_contain_text("Moogsoft refused it")
    expect(page.locator("main")).to_contain_text("Line cards")
    console.visit("/dead-letters?queue=moog")
    expect(page.locator("main")).to_contain_text(f"after rule {rule['id']} was changed")
    page.get_by_role("link", name="See the change").click()
    expect(page.locator("main")).to_contain_text("CHG-118")
