"""Every page with hostile lines in it: nothing runs, nothing scrolls sideways, axe finds nothing, in both themes."""

from uuid import uuid4

import pytest
from playwright.sync_api import Error

from mutt import keys
from scripts.devtools.embedded import RedisServer
from services.web_ui.pages.navigation import items
from tests.browser.conftest import OpenConsole
from tests.browser.console import Console
from tests.browser.filled import HOSTILE, Filled, fill, pages
from tests.harness.processes import StartService
from tests.service.trail import Trail
from tests.service.web_api import RULE, Api


@pytest.fixture
def trail(database_url: str, redis_url: str) -> Trail:
    return Trail(database_url, redis_url)


def check(console: Console) -> None:
    """Fail where a line became more than text, or where the page cannot be read by everybody."""
    assert "owned" not in console.page.title()
    assert console.page.locator("main script, main img, main b b, main i i").count() == 0
    console.check_looks()


@pytest.mark.timeout(600)
def test_every_page_holds_hostile_lines_and_is_accessible(
    open_console: OpenConsole, trail: Trail, start_service: StartService
) -> None:
    console = open_console("admin")
    filled = fill(trail, Api(console.service), start_service)
    wanted = pages(filled)
    assert {page.path for _, group in items({}, "/") for page in group} <= {path.partition("?")[0] for path in wanted}
    faults = []
    for path in wanted:
        try:
            console.visit(path, 404 if "nowhere" in path else 200)
            check(console)
        except AssertionError as error:
            faults.append(f"{path}: {error}")
    walks = (
        checked_letter,
        asked_before_editing,
        replayed,
        asked_before_deleting,
        deleted,
        gone_letter,
        gone_letter_checked,
        imported_rules,
        imported,
        imported_too_late,
        reviewed,
        saved_too_late,
        dry_run,
        caught_by_the_dry_run,
        refused_value,
    )
    for walk in walks:
        try:
            walk(console, filled)
            check(console)
        except (AssertionError, Error) as error:
            faults.append(f"{walk.__name__}: {error}")
    assert not faults, "\n\n".join(faults)


def checked_letter(console: Console, filled: Filled) -> None:
    """Open the letter's editor with a diff."""
    console.visit(f"/dead-letters?queue=poison&letter={filled.letter}&sha256={filled.digest}")
    editor = console.page.get_by_label("Edit", exact=True)
    editor.fill(editor.input_value().replace("NETO", "<b>EDGE</b>"))
    console.button("Check the edit").click()
    console.page.locator(".diff").wait_for()


def asked_before_deleting(console: Console, filled: Filled) -> None:
    """Open the confirmation of a deletion."""
    console.visit(f"/dead-letters?queue=poison&letter={filled.letter}&sha256={filled.digest}")
    console.page.locator("#letter .dead-delete").click()
    console.button("Delete 1").wait_for()


def deleted(console: Console, _filled: Filled) -> None:
    """Open the outcomes of the deletion that was asked about."""
    console.button("Delete 1").click()
    console.page.get_by_role("heading", name="Deleted 1").wait_for()


def asked_before_editing(console: Console, _filled: Filled) -> None:
    """Open the confirmation of an edit of several letters."""
    console.visit("/dead-letters?queue=moog")
    console.page.get_by_label("Select the letter").first.check()
    console.button("Edit and replay").click()
    console.page.get_by_label("Team").wait_for()


def replayed(console: Console, _filled: Filled) -> None:
    """Open the outcomes of an edit and replay that was asked about."""
    console.page.get_by_label("Team").fill("<b>EDGE</b>")
    console.button("Edit and replay 1").click()
    console.page.locator("[data-outcomes]").wait_for()


def gone_letter(console: Console, filled: Filled) -> None:
    """Open the letter that was deleted."""
    console.visit(f"/dead-letters?queue=poison&letter={filled.letter}&sha256={filled.digest}")
    console.page.get_by_text("does not lie here any more").wait_for()


def gone_letter_checked(console: Console, _filled: Filled) -> None:
    """Send the edit of a letter that somebody took meanwhile, as a page: 409."""
    console.visit("/dead-letters?queue=moog")
    console.page.locator("tr[data-row] .host a").first.click()
    console.page.get_by_label("Edit", exact=True).wait_for()
    taken = """const form = document.querySelector("[data-dead-editor]");
        form.elements.letter.value = "019ac7d2-1f64-7c10-9e0b-5d0c8be1a7f3";
        form.action = "/dead-letters/check";
        HTMLFormElement.prototype.submit.call(form);"""
    with console.page.expect_navigation():
        console.page.evaluate(taken)
    console.page.get_by_role("heading", name="Already changed").wait_for()


def imported(console: Console, _filled: Filled) -> None:
    """Compare a file of teams with what there is."""
    console.visit("/hosts/import/teams")
    table = 'hostname,team_assignment\ncore-1.example,"<b>NEW</b>"\ncore-2.example,CORE\n'
    console.page.get_by_label("Or its text").fill(table)
    console.button("Compare").click()
    console.page.get_by_text("What it would change").wait_for()


def imported_rules(console: Console, _filled: Filled) -> None:
    """Compare a file of rules with what there is."""
    console.visit("/rules/import")
    rule = "match_string: <i>fan</i>, match_type: contains, priority: 10, prod_handling: Log_only"
    text = f"rules:\n- {{{rule}, dev_handling: Log_only, team_assignment: NETO, name: <b>new</b>}}\n"
    console.page.get_by_label("Or its text").fill(text)
    console.button("Compare").click()
    console.page.get_by_text("What it would change").wait_for()


def imported_too_late(console: Console, _filled: Filled) -> None:
    """Make its changes once somebody made others: 409."""
    Api(console.service).call("POST", "/teams", {"hostname": "core-2.example", "team_assignment": "NETO"})
    console.button("Make 2 changes").click()
    console.page.get_by_role("alert").wait_for()


def saved_too_late(console: Console, filled: Filled) -> None:
    """Save it once somebody else has: 409, with both."""
    Api(console.service).call("PUT", f"/rules/{filled.rule_id}", {"team_assignment": "<b>EDGE</b>"})
    console.page.get_by_role("button", name="Save").click()
    console.page.get_by_text("saved rule").first.wait_for()


def dry_run(console: Console, _filled: Filled) -> None:
    """Open a dry run as the page that it is without JavaScript."""
    rule = RULE | {"match_string": HOSTILE[0][:30], "name": "<b>tried</b>"}
    started = Api(console.service).call("POST", "/rules/dry-run", {"rule": rule}).json()
    console.visit(f"/rules/dry-run/{started['id']}")
    console.page.locator('[data-state="done"]').wait_for()


def caught_by_the_dry_run(console: Console, _filled: Filled) -> None:
    """Open the list of what it caught."""
    console.visit(console.page.url.removeprefix(console.service.url) + "/caught")


def reviewed(console: Console, filled: Filled) -> None:
    """Review a change of a rule."""
    console.visit(f"/rules/{filled.rule_id}")
    console.page.get_by_label("Description").fill(HOSTILE[0])
    console.button("Review and save").click()
    console.page.get_by_role("button", name="Save").wait_for()


def refused_value(console: Console, _filled: Filled) -> None:
    """Let a value be refused."""
    console.visit("/configuration/moog_rate_limit")
    console.page.get_by_label("Value").fill("<b>many</b>")
    console.button("Set value").click()
    console.page.locator("main .error").first.wait_for()


def test_what_stands_before_the_sign_in_is_accessible(open_console: OpenConsole) -> None:
    console = open_console(None)
    console.visit("/rules")
    assert "/sign-in" in console.page.url
    check(console)
    console.page.get_by_label("Key").fill("wrong")
    console.button("Sign in").click()
    console.page.get_by_text("This key is not known").wait_for()
    check(console)


def test_pages_of_errors_are_accessible(open_console: OpenConsole, trail: Trail) -> None:
    console = open_console("viewer")
    for path, status in (("/nowhere", 404), ("/rules/999999", 404), ("/rules/new", 403)):
        console.visit(path, status)
        check(console)
    # A list of another type stands where the letters should: a fault that no page knows.
    trail.redis.set(keys.POISON, "no list")
    console.page.goto("/dead-letters?queue=poison")
    console.page.get_by_text("Correlation id").wait_for()
    check(console)


@pytest.mark.timeout(300)
def test_pages_while_redis_is_away_are_accessible(open_console: OpenConsole, own_redis: RedisServer) -> None:
    console = open_console("operator")
    console.page.goto("/help")
    own_redis.kill()
    for path in ("/", "/dead-letters", "/unhandled", "/configuration", f"/events/{uuid4()}"):
        console.page.goto(path)
        console.page.get_by_role("heading", level=1).wait_for()
        check(console)


@pytest.mark.timeout(300)
def test_pages_in_which_nothing_has_happened_are_accessible(open_console: OpenConsole) -> None:
    console = open_console("viewer")
    for path in ("/", "/events", "/unhandled", "/dead-letters", "/rules", "/hosts", "/changes", "/slo"):
        console.visit(path)
        console.check_looks()
