"""The Events page says which months of a search have left the database, and how to get at them."""

import html
import re
from datetime import UTC, datetime

import psycopg

from scripts import archive_old_events
from tests.harness.processes import StartService
from tests.service.browser import Browser
from tests.service.trail import Trail
from tests.service.web_api import Api

ADD = (
    "INSERT INTO archives (table_name, month, part, state, source, location, rows, bytes, checksum, restored_until)"
    " VALUES (%s, %s, %s, %s, 'x', 'x', 1, 1, '1', %s)"
)
UNTIL = datetime(2030, 1, 2, 3, 4, tzinfo=UTC)


def notes(page: str) -> str:
    found = re.findall(r'<div class="note n-info">.*?</div></div>', page, re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", "".join(found))).split())


def test_a_search_is_told_what_it_cannot_reach(start_service: StartService, database_url: str) -> None:
    browser = Browser(start_service("webui")).sign_in()
    assert notes(browser.open("/events")) == ""
    with psycopg.connect(database_url) as connection:
        for table, month, part, state, until in (
            ("event_audit_log", "2018-03-01", 1, "expired", None),
            ("event_audit_log", "2024-01-01", 1, "archived", None),
            ("event_audit_log", "2024-02-01", 1, "archived", None),
            ("event_audit_log", "2024-02-01", 2, "detached", None),
            ("event_audit_log", "2024-03-01", 1, "archived", UNTIL),
            ("event_audit_log", "2024-04-01", 1, "verified", None),
            ("delivery_log", "2024-05-01", 1, "archived", None),
        ):
            connection.execute(ADD, (table, month, part, state, until))

    everything = notes(browser.open("/events"))
    assert "Archived, and not searched here: 2024-01 to 2024-02." in everything
    assert "2024-03 is restored until" in everything
    assert "Removed after seven years: 2018-03." in everything
    page = browser.open('/events?search=host:router1+text:"a+b"&start=2024-02-01&end=2024-02-29')
    assert notes(page) == (
        "Archived, and not searched here: 2024-02. To search them where they lie: python scripts/archive_old_events.py "
        "--search --hostname router1 --q 'a b' --start 2024-02-01 --end 2024-02-29 To bring a month back for a time: "
        "python scripts/archive_old_events.py --restore 2024-02"
    )
    assert "No event of this host is in the database." in page
    assert notes(browser.open("/events?start=2024-04-01&end=2024-04-30")) == ""
    assert notes(browser.open("/events?range=30d")) == ""

    # The page of an event that is not in the database says where it may be.
    event = "/events/0197A000-0000-7000-8000-000000000001"
    assert notes(browser.open(event, 404)) == (
        "Archived, and not searched here: 2024-01 to 2024-02. To search them where they lie: python "
        "scripts/archive_old_events.py --search --event-id 0197a000-0000-7000-8000-000000000001 To bring a month back "
        "for a time: python scripts/archive_old_events.py --restore 2024-02 "
        "2024-03 is restored until 2 Jan 2030 03:04 . Removed after seven years: 2018-03."
    )

    # With the schema of before, the page is as before.
    Trail(database_url, "redis://127.0.0.1:9").sql("DROP TABLE archives")
    assert notes(browser.open("/events")) == ""
    assert notes(browser.open(event, 404)) == ""


def test_a_key_is_changed_while_the_archive_is_at_work(start_service: StartService, database_url: str) -> None:
    api = Api(start_service("webui"))
    with psycopg.connect(database_url, autocommit=True) as archive, archive_old_events._alone(archive):
        assert api.call("PUT", "/config/moog_rate_limit", {"value": 60}).status_code == 200
