"""The keys that do something: what they press and what they leave alone; and two editors without JavaScript."""

import json

import pytest
from playwright.sync_api import expect

from mutt import keys
from tests.browser.conftest import OpenConsole
from tests.browser.test_journeys_letters import refused
from tests.service.trail import Trail
from tests.service.web_api import Api

TEAM, TEXT = "Team (the host map wins)", "Text or pattern"


@pytest.fixture
def trail(database_url: str, redis_url: str) -> Trail:
    return Trail(database_url, redis_url)


def test_a_rule_is_tried_reviewed_and_saved_by_keys(open_console: OpenConsole) -> None:
    console = open_console("editor")
    page = console.page
    rule = Api(console.service).create_rule(match_string="bgp", team_assignment="CORE")
    console.visit("/rules")
    page.keyboard.press("j")
    page.keyboard.press("e")
    page.wait_for_url(f"**/rules/{rule['id']}")
    page.keyboard.press("e")
    expect(page.get_by_label(TEXT)).to_be_focused()
    # In a field the same key is a letter, and the keys with Ctrl act.
    page.keyboard.press("End")
    page.keyboard.type("ep")
    expect(page.get_by_label(TEXT)).to_have_value("bgpep")
    with page.expect_response("**/api/v2/rules/dry-run") as started:
        page.keyboard.press("Control+Enter")
    assert started.value.status == 202
    expect(page.locator("[data-report]")).to_contain_text("events caught")
    page.keyboard.press("Control+s")
    page.get_by_role("button", name="Save").wait_for()
    page.keyboard.press("Control+s")
    page.get_by_text("It holds at once").first.wait_for()
    assert Api(console.service).get(f"/rules/{rule['id']}").json()["match_string"] == "bgpep"


def test_what_is_live_is_paused_by_a_key(open_console: OpenConsole) -> None:
    console = open_console("viewer")
    page = console.page
    console.visit("/")
    expect(console.button("Pause")).to_be_visible()
    page.keyboard.press("p")
    expect(console.button("Pause")).to_have_count(0)
    page.keyboard.press("p")
    expect(console.button("Pause")).to_be_visible()


def test_dead_letters_are_selected_in_ranges_and_edited_by_keys(open_console: OpenConsole, trail: Trail) -> None:
    trail.redis.lpush(keys.POISON, *(refused(f"m{n}") for n in range(4)))
    console = open_console("operator")
    page = console.page
    console.visit("/dead-letters?queue=poison")
    for key in ("j", "x", "j", "j", "Shift+X"):
        page.keyboard.press(key)
    expect(page.get_by_text("3 selected")).to_be_visible()
    page.keyboard.press("Enter")
    editor = page.get_by_label("Edit", exact=True)
    editor.wait_for()
    page.keyboard.press("e")
    expect(editor).to_be_focused()
    editor.fill(json.dumps(json.loads(editor.input_value()) | {"handling": "Log_only"}))
    page.keyboard.press("Control+Enter")
    expect(page.locator("#dead-faults")).to_contain_text("handling")


def test_two_editors_without_javascript_lose_nothing(open_console: OpenConsole) -> None:
    first, second = open_console("editor", scripts=False), open_console("admin", scripts=False)
    rule = Api(first.service).create_rule(match_string="bgp", team_assignment="CORE")
    for console, team in ((first, "FIRST"), (second, "SECOND")):
        console.visit(f"/rules/{rule['id']}")
        console.page.get_by_label(TEAM).fill(team)
    for console in (first, second):
        console.button("Review and save").click()
        if console is second:
            # What was typed is still there beside what the other saved, and may be saved knowingly.
            expect(console.page.get_by_role("alert")).to_contain_text("noc-editor saved rule")
            expect(console.page.locator("#compare")).to_contain_text("FIRST")
            expect(console.page.get_by_label(TEAM)).to_have_value("SECOND")
            console.button("Review and save").click()
        console.page.get_by_role("button", name="Save").click()
        expect(console.page.locator(".flash")).to_contain_text("It holds at once")
    assert Api(first.service).get(f"/rules/{rule['id']}").json()["team_assignment"] == "SECOND"
