"""What people come to the console for, from the first click to the last: rules."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenConsole
from tests.browser.console import Console
from tests.harness.entries import queue_entry
from tests.harness.processes import StartService
from tests.harness.waiting import wait_for
from tests.service.trail import FAST, QUEUE, Trail
from tests.service.web_api import Api


@pytest.fixture
def trail(database_url: str, redis_url: str) -> Trail:
    return Trail(database_url, redis_url)


def type_rule(page: Page, text: str, handling: str = "Page_and_ticket", team: str = "NETO") -> None:
    """Fill the editor of a rule that looks for a text."""
    page.get_by_label("Name", exact=True).fill(f"Rule of {text}")
    page.get_by_label("Text or pattern").fill(text)
    page.get_by_label("Priority, 1 to 1000").fill("500")
    page.get_by_label("Production").select_option(handling)
    page.get_by_label("Development hosts").select_option("Log_only")
    page.get_by_label("Team (the host map wins)").fill(team)


def review_and_save(console: Console) -> None:
    """Press both buttons."""
    console.page.get_by_role("button", name="Review and save").click()
    console.page.get_by_role("button", name="Save").click()
    console.page.get_by_text("It holds at once").first.wait_for()


def audited(trail: Trail, *entries: bytes) -> None:
    """Let an alerter handle events, and count the patterns of those that no rule matched."""
    trail.send(*entries)
    trail.wait_rows(len(entries))
    wait_for(lambda: trail.length(QUEUE) == 0 and trail.nothing_is_held(), "all settled")


def test_from_the_first_sign_in_to_the_first_rule(
    open_console: OpenConsole, trail: Trail, start_service: StartService
) -> None:
    console = open_console(None)
    console.visit("/")
    console.page.get_by_label("Key").fill("editor-key")
    console.button("Sign in").click()
    console.page.get_by_role("navigation").get_by_role("link", name="Rules").first.click()
    console.page.get_by_role("link", name="Write the first rule").click()
    type_rule(console.page, "fan failed")
    review_and_save(console)
    start_service("alerter", **FAST)
    audited(trail, queue_entry("chassis: fan failed in tray 2")[1])
    assert (trail.rows()[0]["handling"], trail.rows()[0]["team"]) == ("Page_and_ticket", "NETO")


def test_a_dry_run_changes_ones_mind(open_console: OpenConsole, trail: Trail, start_service: StartService) -> None:
    start_service("alerter", **FAST)
    audited(trail, *(queue_entry(f"link down on port {n}", f"sw-{n}.example")[1] for n in range(40)))
    console = open_console("editor")
    console.visit("/rules/new")
    type_rule(console.page, "link")
    report = console.page.locator("[data-report]")
    expect(report).to_contain_text("40events caught")
    # Forty pages are too many: the same rule, but only a ticket.
    console.page.get_by_label("Production").select_option("Ticket_only")
    expect(report).to_contain_text("0 today")
    console.page.get_by_label("Text or pattern").fill("port 7")
    expect(report).to_contain_text("1event caught")
    review_and_save(console)
    [rule] = Api(console.service).get("/rules").json()["rules"]
    assert (rule["match_string"], rule["prod_handling"]) == ("port 7", "Ticket_only")


def test_an_unhandled_pattern_becomes_a_rule_in_two_clicks(
    open_console: OpenConsole, trail: Trail, start_service: StartService
) -> None:
    start_service("alerter", **FAST)
    audited(trail, *(queue_entry(f"cabinet door {n} was opened")[1] for n in range(5)))
    console = open_console("editor")
    console.visit("/unhandled")
    console.page.get_by_role("link", name="Make a rule").first.click()
    expect(console.page.get_by_label("Text or pattern")).not_to_have_value("")
    expect(console.page.locator("[data-report]")).to_contain_text("5events caught")
    console.page.get_by_label("Team (the host map wins)").fill("Facilities")
    review_and_save(console)
    trail.send(queue_entry("cabinet door 9 was opened")[1])
    wait_for(lambda: any(row["rule_id"] for row in trail.rows()), "an event that the new rule matched")


def test_an_event_becomes_a_rule_in_two_clicks(
    open_console: OpenConsole, trail: Trail, start_service: StartService
) -> None:
    start_service("alerter", **FAST)
    audited(trail, *(queue_entry(f"pump {n} is dry", "plant-1.example")[1] for n in range(3)))
    console = open_console("editor")
    console.visit("/events")
    console.page.get_by_role("link", name="Make one").first.click()
    expect(console.page.get_by_label("Text or pattern")).to_have_value("is dry")
    expect(console.page.locator("[data-report]")).to_contain_text("3events caught")
    console.page.get_by_role("link", name="one event").click()
    console.page.get_by_role("link", name="Make a rule from it").click()
    expect(console.page.locator("[data-report]")).to_contain_text("3events caught")


def test_a_warning_is_mended_by_its_button_and_the_dry_run_goes_on(
    open_console: OpenConsole, trail: Trail, start_service: StartService
) -> None:
    trail.rule(match_string="pump", priority=600)
    start_service("alerter", **FAST)
    audited(trail, *(queue_entry(f"pump {n} is dry")[1] for n in range(3)))
    console = open_console("editor")
    console.visit("/rules/new")
    type_rule(console.page, "is dry")
    report = console.page.locator("[data-report]")
    expect(report).to_contain_text("0events caught")
    console.page.get_by_role("button", name="Set priority to 601").click()
    expect(console.page.get_by_label("Priority, 1 to 1000")).to_have_value("601")
    expect(report).to_contain_text("3events caught")
    console.page.get_by_label("Text or pattern").fill("pump 1 is dry")
    expect(report).to_contain_text("1event caught")
    chart = report.locator("svg[data-chart]")
    chart.focus()
    chart.press("ArrowLeft")
    expect(report.locator("[data-readout]")).to_contain_text("pages in the worst minute, today")


def test_a_bad_rule_is_reverted(open_console: OpenConsole) -> None:
    console = open_console("editor")
    rule = Api(console.service).create_rule(match_string="bgp", team_assignment="CORE")
    Api(console.service).call("PUT", f"/rules/{rule['id']}", {"team_assignment": "CORE-DC3"})
    console.visit(f"/rules/{rule['id']}/history")
    expect(console.page.locator("main")).to_contain_text("CORE-DC3")
    console.page.get_by_role("button", name="Revert").first.click()
    console.page.locator(".flash").wait_for()
    wait_for(
        lambda: Api(console.service).get(f"/rules/{rule['id']}").json()["team_assignment"] == "CORE",
        "the team as it was",
    )
    changes = Api(console.service).get("/config-audit").json()["changes"]
    assert changes[0]["changed_by"] == "noc-editor"


def test_two_editors_at_once_lose_nothing(open_console: OpenConsole) -> None:
    first = open_console("editor")
    second = open_console("admin")
    rule = Api(first.service).create_rule(match_string="bgp", team_assignment="CORE")
    for console, team in ((first, "FIRST"), (second, "SECOND")):
        console.visit(f"/rules/{rule['id']}")
        console.page.get_by_label("Team (the host map wins)").fill(team)
    review_and_save(first)
    second.page.get_by_role("button", name="Review and save").click()
    second.page.get_by_text("saved rule").first.wait_for()
    assert "noc-editor" in second.text()
    # What was typed is still there, and may be saved knowingly.
    expect(second.page.get_by_label("Team (the host map wins)")).to_have_value("SECOND")
    second.check_accessibility()
    review_and_save(second)
    assert Api(first.service).get(f"/rules/{rule['id']}").json()["team_assignment"] == "SECOND"


def test_a_session_that_ends_while_a_form_is_filled_loses_nothing(open_console: OpenConsole) -> None:
    console = open_console("editor")
    console.visit("/rules/new")
    type_rule(console.page, "what was typed")
    expect(console.page.locator("[data-report]")).to_contain_text("events caught")
    console.expire_session()
    console.page.get_by_role("button", name="Review and save").click()
    console.page.get_by_label("Key").fill("editor-key")
    console.button("Sign in").click()
    console.page.get_by_text("is still here").wait_for()
    console.check_accessibility()
    console.button("Send it now").click()
    console.page.get_by_role("button", name="Save").click()
    console.page.get_by_text("It holds at once").first.wait_for()
    [rule] = Api(console.service).get("/rules").json()["rules"]
    assert rule["match_string"] == "what was typed"


def test_a_viewer_sees_no_button_that_would_be_refused(open_console: OpenConsole) -> None:
    console = open_console("viewer")
    rule = Api(console.service).create_rule()
    for path in ("/rules", f"/rules/{rule['id']}", "/hosts", "/configuration", "/changes", "/unhandled"):
        console.visit(path)
        forms = console.page.locator('main form[method="post"]')
        assert forms.locator("button:enabled").count() == 0, path
