"""The pages of events and journeys: search, paging, what is hostile, and what each role sees."""

import hashlib
import html
import json
import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from mutt.events import decided_entry, failed
from tests.harness.credentials import WEBUI_API_KEY
from tests.harness.entries import queue_entry
from tests.harness.processes import ServiceProcess, StartService
from tests.service.browser import Browser
from tests.service.trail import Trail

NOW = datetime.now(UTC)
HOSTILE = '<script>alert(1)</script> \u202egnp.exe \x1b[31m \U0001f600 "quoted" & ' + "x" * 60_000


def signed_in(service: ServiceProcess, key: str = WEBUI_API_KEY) -> Browser:
    browser = Browser(service)
    browser.open("/sign-in")
    browser.submit("/sign-in", {"key": key})
    return browser


class Log:
    """The audit, filled by hand."""

    def __init__(self, url: str) -> None:
        self._url = url

    def add(self, *events: dict[str, Any]) -> list[str]:
        """Add events, the later the newer, and return their ids."""
        ids = []
        with psycopg.connect(self._url) as connection:
            for number, changes in enumerate(events):
                event_id = str(uuid.uuid4())
                at = NOW - timedelta(minutes=10) + timedelta(milliseconds=number)
                row: dict[str, Any] = {
                    "event_id": event_id,
                    "correlation_id": event_id,
                    "event_timestamp": at,
                    "received_at": at,
                    "hostname": "core-rtr-1.example",
                    "message": "link down",
                    "team": "NETO",
                    "handling": "Log_only",
                    "environment": "prod",
                    "forwarded": False,
                } | changes
                statement = f"INSERT INTO event_audit_log ({', '.join(row)}) VALUES ({', '.join(['%s'] * len(row))})"
                connection.execute(statement.encode(), tuple(row.values()))
                ids.append(row["event_id"])
        return ids


@pytest.fixture
def log(database_url: str) -> Log:
    """Write to the test's audit."""
    return Log(database_url)


@pytest.fixture
def browser(start_service: StartService) -> Browser:
    """Sign in."""
    return signed_in(start_service("webui"))


def listed(page: str) -> list[str]:
    return re.findall(r'<tr data-row data-id="([^"]+)"', page)


def test_the_pages_ask_for_a_session(start_service: StartService) -> None:
    browser = Browser(start_service("webui"))
    for path in ("/events", "/events/newer?cursor=x", f"/events/{uuid.uuid4()}", "/unhandled"):
        reply = browser.get(browser.service.url + path, allow_redirects=False, timeout=60)
        assert reply.status_code == 303, path
        assert reply.headers["Location"].startswith("/sign-in?next=")


def test_an_empty_log_says_what_will_be_there(browser: Browser) -> None:
    assert "Events appear here as soon as an alerter has audited them." in browser.open("/events")


def test_the_line_finds_by_host_rule_handling_and_text(browser: Browser, log: Log) -> None:
    page, rule, other, old = log.add(
        {"handling": "Page_and_ticket", "hostname": "edge-7"},
        {"rule_id": 118, "message": "fan tray 7 removed"},
        {"message": "something else"},
        {"event_timestamp": NOW - timedelta(days=3), "hostname": "edge-7", "message": "fan"},
    )
    for line, found in (
        ("", [other, rule, page, old]),
        ("EDGE-7.", [page, old]),
        ("edge-7 handling:page", [page]),
        ("rule:118", [rule]),
        ("fan tray", [rule]),
        ("edge", [page]),
        ("handling:log fan", [rule]),
        ("7 removed", [rule]),
    ):
        assert listed(browser.open(f"/events?search={line}")) == found, line
    assert listed(browser.open("/events?search=fan&range=7d")) == [rule, old]
    assert listed(browser.open(f"/events?search=fan&start={(NOW - timedelta(days=4)).date()}")) == [rule, old]


def test_a_uuid_leads_to_the_journey(browser: Browser) -> None:
    wanted = str(uuid.uuid4())
    reply = browser.get(f"{browser.service.url}/events?search={wanted.upper()}", allow_redirects=False, timeout=60)
    assert (reply.status_code, reply.headers["Location"]) == (303, f"/events/{wanted}")


def test_filters_are_words_that_can_be_taken_away(browser: Browser, log: Log) -> None:
    log.add({"rule_id": 118})
    page = browser.open("/events?search=rule:118+link&range=6h")
    hrefs = [html.unescape(href) for href in re.findall(r'<a href="([^"]*)" aria-label="Remove', page)]
    assert hrefs == [
        "/events?search=link&range=6h",
        "/events?search=rule%3A118&range=6h",
        "/events?search=rule%3A118+link",
    ]


def test_what_is_not_understood_is_said(browser: Browser) -> None:
    page = browser.open("/events?search=rule:x&start=soon&cursor=?")
    assert "write it as rule:118" in page
    assert "start is no date or time" in page
    assert "the newest are shown" in page


def test_a_search_without_a_find_offers_a_wider_one(browser: Browser, log: Log) -> None:
    log.add({"event_timestamp": NOW - timedelta(days=3), "hostname": "edge-7"})
    page = browser.open("/events?search=edge-7&range=24h")
    assert "No event of edge-7 in the last 24 h." in page
    assert "Its newest is from" in page
    assert "Search 30 days</a>" in page
    assert "No event of this host was ever audited here." in browser.open("/events?search=host:nobody")


def test_pages_follow_each_other_without_loss(start_service: StartService, log: Log) -> None:
    browser = signed_in(start_service("webui", AUDIT_LOG_PAGE_SIZE="2"))
    ids = log.add(*[{}] * 5)[::-1]
    seen: list[str] = []
    path = "/events"
    while path:
        page = browser.open(path)
        seen += listed(page)
        found = re.search(r'<a rel="next" href="([^"]+)"', page)
        path = html.unescape(found.group(1)) if found else ""
    assert seen == ids


def test_the_pill_counts_what_came_since(browser: Browser, log: Log) -> None:
    log.add({})
    page = browser.open("/events?search=link")
    found = re.search(r'data-url="([^"]+)"', page)
    assert found is not None
    url = html.unescape(found.group(1))
    assert json.loads(browser.open(url)) == {"newer": 0, "most": 100}
    log.add({"event_timestamp": datetime.now(UTC)}, {"event_timestamp": datetime.now(UTC), "message": "other"})
    assert json.loads(browser.open(url))["newer"] == 1
    browser.open("/events/newer", 400)


def test_a_journey_shows_its_outcome_its_stations_and_its_texts(browser: Browser, log: Log, trail: Trail) -> None:
    rule = trail.rule(match_string="link")
    sent = {"handling": "Page_and_ticket", "forwarded": True, "rule_id": rule, "rule_version": 1}
    _, event_id = log.add({"message": "before it"}, sent)
    trail.sql(
        "INSERT INTO delivery_log (event_id, at, attempt, status, outcome)"
        " SELECT event_id, received_at + interval '1 s', 1, 200, 'success' FROM event_audit_log WHERE event_id = %s",
        (event_id,),
    )
    page = browser.open(f"/events/{event_id}")
    assert "Paged NETO: Moogsoft took it after 1.00 s" in page
    assert f"Matched by rule {rule}" in page
    assert "<mark>" in page
    assert "Sent to Moogsoft" in page
    assert "Rebuilt from the audit row" in page
    assert "before it" in page
    assert "1 event" in page


def test_an_event_that_waits_has_a_page_and_one_that_is_nowhere_says_so(browser: Browser, trail: Trail) -> None:
    event_id, entry = queue_entry("still here")
    trail.send(entry)
    page = browser.open(f"/events/{event_id}")
    assert "Waits to be matched" in page
    assert "data-under-way" in page
    assert "neither in the audit nor in a queue" in browser.open(f"/events/{uuid.uuid4()}", 404)
    assert "an event's id is a UUID" in html.unescape(browser.open("/events/4711", 404))


def test_a_dead_event_leads_to_its_letter(browser: Browser, trail: Trail) -> None:
    event_id, entry = queue_entry("BGP down")
    entry = decided_entry(entry, handling="Page_and_ticket", team="T", rule_id=1, rule_version=1, environment="prod")
    dead = failed(entry, error_type="4xx", message="HTTP 422", at="2026-11-24T22:00:00.000000Z", retry_count=1)
    trail.redis.lpush("mutt:dlq:moog", dead)
    page = browser.open(f"/events/{event_id}")
    found = re.search(r'href="(/dead-letters[^"]+)"', page.partition("<main")[2])
    assert found is not None
    assert "HTTP 422" in browser.open(html.unescape(found.group(1)))


def test_events_of_one_trace_are_listed_with_their_outcomes(browser: Browser, log: Log) -> None:
    trace = str(uuid.uuid4())
    ids = log.add({"correlation_id": trace}, {"correlation_id": trace, "handling": "Suppress"})
    page = browser.open(f"/events/{trace}")
    assert "2 events share this correlation id" in page
    assert all(f'href="/events/{event_id}"' in page for event_id in ids)


def test_hostile_text_is_shown_and_does_nothing(browser: Browser, log: Log) -> None:
    (event_id,) = log.add(
        {"message": HOSTILE, "hostname": '"><img src=x>', "team": "<b>", "raw": '{"<i>": "</script><script>"}'}
    )
    for path in ("/events", f"/events/{event_id}", "/events?search=" + quote('<script>"x')):
        page = browser.open(path)
        assert "<script>alert" not in page, path
        assert "<img src=x>" not in page
        assert "</script><script>" not in page
        assert "style=" not in page
    assert '<span class="ctl">RLO</span>' in browser.open("/events")


def test_a_viewer_sees_no_button_that_would_be_refused(start_service: StartService, log: Log) -> None:
    keys = {"eve": {"sha256": hashlib.sha256(b"eve-key").hexdigest(), "role": "viewer"}}
    browser = signed_in(start_service("webui", WEBUI_API_KEYS=json.dumps(keys)), "eve-key")
    (event_id,) = log.add({"handling": "Unhandled"})
    page = browser.open(f"/events/{event_id}")
    assert "Make a rule" not in page
    assert "Explain with today" in page
    admin = signed_in(browser.service)
    way = f'href="/rules/new?event_id={event_id}"'
    assert way in admin.open(f"/events/{event_id}")
    assert way in admin.open("/events")
    assert way not in browser.open("/events")


def test_one_event_fills_a_rule_for_its_likes(browser: Browser, log: Log) -> None:
    trap = {"message": "fan 7   failed in  tray 12, see manual", "trap_oid": "1.3.6.1.4.1.9.9", "syslog_severity": 2}
    (event_id,) = log.add(trap)
    page = browser.open(f"/rules/new?event_id={event_id}")
    # The blanks of the message are not those of its pattern, and so only what stands in both is asked for.
    assert re.search(r'name="match_string"[^>]*>\s*see manual</textarea>', page)
    assert 'value="1.3.6.1.4.1.9.9"' in page
    assert re.search(r'value="oid_prefix" checked', page)
    assert re.search(r'<option value="2" selected>2 crit', page)
    assert "data-autorun" in page
    assert f'<a href="/events/{event_id}">one event</a>' in page
    browser.open("/rules/new?event_id=nonsense", 400)
    browser.open("/rules/new?event_id=00000000-0000-4000-8000-000000000000", 404)
