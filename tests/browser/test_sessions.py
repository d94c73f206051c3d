"""Sessions that end while somebody types, with and without JavaScript: nothing typed is lost."""

import json
import re

import pytest
from playwright.sync_api import expect

from mutt import keys
from tests.browser.conftest import OpenConsole
from tests.browser.console import Console
from tests.browser.test_journeys_letters import refused
from tests.harness.entries import queue_entry
from tests.harness.waiting import wait_for
from tests.service.trail import Trail
from tests.service.web_api import Api

SAVE = re.compile("^Save ")


@pytest.fixture
def trail(database_url: str, redis_url: str) -> Trail:
    return Trail(database_url, redis_url)


def sign_in_again(console: Console, key: str) -> None:
    """Fill the dialog that stands over the page."""
    dialog = console.page.get_by_role("dialog")
    dialog.get_by_label("Key").fill(key)
    dialog.get_by_role("button", name="Sign in").click()


def test_the_sign_in_opens_in_place_once_and_the_work_goes_on(open_console: OpenConsole) -> None:
    console = open_console("editor")
    console.visit("/rules/new")
    page = console.page
    console.expire_session()
    page.get_by_label("Name", exact=True).fill("typed before")
    page.get_by_label("Team (the host map wins)").fill("NETO")
    text = page.get_by_label("Text or pattern")
    text.fill("fan failed")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Nothing typed is lost")
    console.check_looks()
    sign_in_again(console, "wrong")
    expect(dialog.get_by_role("alert")).to_contain_text("This key is not known")
    sign_in_again(console, "editor-key")
    expect(dialog).to_have_count(0)
    # What was asked for is asked for again, and the form goes out with the new session's token.
    expect(page.locator("[data-report]")).to_contain_text("events caught")
    expect(text).to_have_value("fan failed")
    console.button("Review and save").click()
    page.get_by_role("button", name=SAVE).click()
    page.get_by_text("It holds at once").first.wait_for()
    [rule] = Api(console.service).get("/rules").json()["rules"]
    assert (rule["name"], rule["match_string"]) == ("typed before", "fan failed")


def test_whoever_signs_in_later_goes_on_typing(open_console: OpenConsole) -> None:
    console = open_console("editor")
    console.visit("/rules/new")
    page = console.page
    console.expire_session()
    page.get_by_label("Text or pattern").fill("fan failed")
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Not now").click()
    expect(dialog).to_have_count(0)
    expect(page.get_by_label("Text or pattern")).to_have_value("fan failed")


def test_an_edited_letter_outlives_the_session(open_console: OpenConsole, trail: Trail) -> None:
    trail.redis.lpush(keys.POISON, refused("BGP 10.255.9.1 idle"))
    console = open_console("operator")
    console.visit("/dead-letters?queue=poison")
    page = console.page
    page.get_by_role("row", name="BGP 10.255.9.1 idle").get_by_role("link").first.click()
    editor = page.get_by_label("Edit", exact=True)
    payload = json.loads(editor.input_value())
    console.expire_session()
    editor.fill(json.dumps(payload | {"team": "EDGE"}, indent=2))
    sign_in_again(console, "operator-key")
    page.get_by_text("Valid.").wait_for()
    console.button("Replay this one").click()
    wait_for(lambda: trail.length("mutt:alert_queue") == 1, "the alert in its queue")
    assert b"EDGE" in trail.redis.lrange("mutt:alert_queue", 0, -1)[0]


def test_without_javascript_a_form_waits_for_the_sign_in(open_console: OpenConsole) -> None:
    console = open_console("editor", scripts=False)
    console.visit("/rules/new")
    page = console.page
    page.get_by_label("Text or pattern").fill("line\u202e one")
    page.get_by_label("Team (the host map wins)").fill("<b>NETO</b>")
    console.expire_session()
    console.button("Review and save").click()
    page.get_by_label("Key").fill("wrong")
    console.button("Sign in").click()
    expect(page.locator("main")).to_contain_text("This key is not known")
    page.get_by_label("Key").fill("editor-key")
    console.button("Sign in").click()
    console.button("Send it now").click()
    expect(page.get_by_role("row", name="team assignment")).to_contain_text("<b>NETO</b>")
    page.get_by_role("button", name=SAVE).click()
    expect(page.locator(".flash")).to_contain_text("It holds at once")
    [rule] = Api(console.service).get("/rules").json()["rules"]
    assert (rule["match_string"], rule["team_assignment"]) == ("line\u202e one", "<b>NETO</b>")


def test_without_javascript_rules_letters_and_keys_are_changed(open_console: OpenConsole, trail: Trail) -> None:
    trail.redis.lpush(keys.POISON, refused("BGP 10.255.9.1 idle"))
    console = open_console("admin", scripts=False)
    page = console.page
    rule = Api(console.service).create_rule(match_string="bgp", team_assignment="CORE")
    console.visit(f"/rules/{rule['id']}")
    page.get_by_label("Team (the host map wins)").fill("EDGE")
    console.button("Review and save").click()
    page.get_by_role("button", name=SAVE).click()
    expect(page.locator(".flash")).to_contain_text("It holds at once")
    assert Api(console.service).get(f"/rules/{rule['id']}").json()["team_assignment"] == "EDGE"
    console.visit("/dead-letters?queue=poison")
    page.get_by_role("row", name="BGP 10.255.9.1 idle").get_by_role("link").first.click()
    editor = page.get_by_label("Edit", exact=True)
    payload = json.loads(editor.input_value())
    editor.fill(json.dumps(payload | {"handling": "Log_only"}, indent=2))
    console.button("Check the edit").click()
    expect(page.locator("#dead-faults")).to_contain_text("handling")
    editor.fill(json.dumps(payload | {"team": "EDGE"}, indent=2))
    console.button("Replay this one").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Edited and replayed 1")
    assert trail.length("mutt:alert_queue") == 1
    console.visit("/configuration/moog_rate_limit")
    page.get_by_label("Value").fill("70")
    console.button("Set value").click()
    expect(page.locator(".flash")).to_be_visible()
    assert Api(console.service).get("/config/moog_rate_limit").json()["value"] in (70, "70")


def test_keys_lead_everywhere_and_addresses_hold_the_filters(open_console: OpenConsole, trail: Trail) -> None:
    trail.redis.lpush(keys.POISON, refused("m1"), refused("m2"))
    console = open_console("operator")
    page = console.page
    console.visit("/dead-letters?queue=poison&q=m")
    page.keyboard.press("j")
    page.keyboard.press("x")
    expect(page.get_by_text("1 selected")).to_be_visible()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Edit", exact=True)).to_contain_text("m1")
    assert "q=m" in page.url
    page.go_back()
    expect(page.get_by_label("Search these letters")).to_have_value("m")
    page.keyboard.press("/")
    expect(page.get_by_label("Search events")).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.keyboard.press("r")
    page.wait_for_url("**/rules")
    page.keyboard.press("?")
    page.wait_for_url("**/help#keys")


def test_a_journey_that_is_signed_out_does_not_go_on_saying_that_it_asks(
    open_console: OpenConsole, trail: Trail
) -> None:
    event_id, entry = queue_entry("link down", "core1.example")
    trail.send(entry)
    console = open_console("viewer")
    console.visit(f"/events/{event_id}")
    expect(console.page.get_by_text("Under way, asked every")).to_be_visible()
    console.expire_session()
    expect(console.page.get_by_text("Signed out: reload to sign in")).to_be_visible()
