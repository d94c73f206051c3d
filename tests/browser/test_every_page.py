"""Every page with hostile lines in it: nothing runs, nothing scrolls sideways, axe finds nothing, in both themes."""

import pytest

from tests.browser.conftest import OpenConsole
from tests.browser.filled import fill, pages
from tests.harness.processes import StartService
from tests.service.trail import Trail
from tests.service.web_api import Api


@pytest.fixture
def trail(database_url: str, redis_url: str) -> Trail:
    return Trail(database_url, redis_url)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("theme", "width"), [("light", 1440), ("dark", 1440), ("dark", 360)])
def test_every_page_holds_hostile_lines_and_is_accessible(
    open_console: OpenConsole, trail: Trail, start_service: StartService, theme: str, width: int
) -> None:
    console = open_console("admin", theme=theme, width=width)
    filled = fill(trail, Api(console.service), start_service)
    faults = []
    for path in pages(filled):
        try:
            console.visit(path)
            assert "owned" not in console.page.title()
            assert console.page.locator("main script, main img, main b b, main i i").count() == 0
            console.check_width()
            console.check_accessibility()
        except AssertionError as error:
            faults.append(f"{path}: {error}")
    assert not faults, "\n\n".join(faults)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_what_stands_before_the_sign_in_is_accessible(open_console: OpenConsole, theme: str) -> None:
    console = open_console(None, theme=theme)
    console.visit("/rules")
    assert "/sign-in" in console.page.url
    console.check_accessibility()
    console.page.get_by_label("Key").fill("wrong")
    console.button("Sign in").click()
    console.page.get_by_text("This key is not known").wait_for()
    console.check_accessibility()
    console.sign_in("viewer")
    console.visit("/nowhere", 404)
    console.check_accessibility()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pages_in_which_nothing_has_happened_are_accessible(open_console: OpenConsole, theme: str) -> None:
    console = open_console("viewer", theme=theme)
    for path in ("/", "/events", "/unhandled", "/dead-letters", "/rules", "/hosts", "/changes", "/slo"):
        console.visit(path)
        console.check_accessibility()
