"""What moves while an operator looks: new events behind a pill or put in front, and a journey under way."""

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenConsole
from tests.harness.entries import queue_entry
from tests.harness.moogsoft import MoogStandIn
from tests.harness.processes import StartService
from tests.service.trail import FAST, Trail


@pytest.fixture
def trail(database_url: str, redis_url: str) -> Trail:
    return Trail(database_url, redis_url)


def test_new_events_wait_behind_a_pill_until_they_are_asked_for(
    open_console: OpenConsole, trail: Trail, start_service: StartService
) -> None:
    start_service("alerter", **FAST)
    trail.send(queue_entry("the first")[1])
    trail.wait_rows(1)
    console = open_console("viewer")
    console.visit("/events")
    page = console.page
    rows = page.locator("[data-tail-rows] > tr")
    expect(rows).to_have_count(1)
    trail.send(queue_entry("<b>second</b>")[1], queue_entry("third")[1])
    trail.wait_rows(3)
    pill = page.locator("[data-tail-pill]")
    expect(pill).to_have_text("2 new events")
    expect(rows).to_have_count(1)
    page.get_by_label("Show new events as they come").check()
    expect(rows).to_have_count(3)
    expect(pill).to_be_hidden()
    assert "<b>second</b>" in console.text()
    console.button("Pause").click()
    expect(page.locator("[data-tail-state]")).to_have_text("Paused")


def test_a_journey_under_way_ends_before_the_reader_s_eyes(
    open_console: OpenConsole, trail: Trail, start_service: StartService, moog_stand_in: MoogStandIn
) -> None:
    trail.rule(match_string="page me")
    event_id, entry = queue_entry("page me")
    trail.send(entry)
    console = open_console("viewer")
    console.visit(f"/events/{event_id}")
    outcome = console.page.locator("#outcome")
    expect(outcome).to_contain_text("Waits to be matched")
    start_service("alerter", **FAST)
    start_service("moog-forwarder")
    expect(outcome).to_contain_text("Paged NETO: Moogsoft took it after")
    expect(console.page.locator("[data-under-way]")).to_have_count(0)
    tabs = console.page.locator("[data-tabs]")
    tabs.get_by_role("link", name="Audit row").click()
    expect(tabs.locator(".body:visible")).to_contain_text('"handling": "Page_and_ticket"')
    assert moog_stand_in.stats()["count"] == 1
