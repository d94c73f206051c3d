"""The patterns of unmatched events, over the API and as a page."""

import re
import time
from typing import Any

import pytest
import requests
from redis import Redis

from mutt import keys
from mutt.patterns import pattern_of
from tests.harness.credentials import WEBUI_API_KEY
from tests.harness.entries import queue_entry
from tests.harness.processes import StartService
from tests.harness.waiting import wait_for
from tests.service.browser import Browser
from tests.service.trail import Trail
from tests.service.web_api import Api, error_of

EXPIRY = 86_400


@pytest.fixture
def api(start_service: StartService) -> Api:
    """Run a web UI."""
    return Api(start_service("webui"))


@pytest.fixture
def cache(redis_url: str) -> Redis:
    """Speak to the test's Redis."""
    return Redis.from_url(redis_url)


def count(cache: Redis, message: str, times: int, age: float = 3600) -> str:
    """Count a message's pattern as settle.lua does, since `age` seconds."""
    pattern = pattern_of(message)
    key = f"mutt:unhandled:{pattern.hash}"
    cache.set(key, times, ex=int(EXPIRY - age))
    cache.zadd(keys.UNHANDLED_PATTERNS, {key: (time.time() + EXPIRY - age) * 1000})
    cache.hset(
        f"{keys.UNHANDLED_INFO_PREFIX}:{pattern.hash}", mapping={"template": pattern.template, "sample": message}
    )
    return pattern.hash


def wait_counted(api: Api, times: int) -> list[dict[str, Any]]:
    """Wait until a pattern is counted so often, which follows the audit, and return the patterns."""

    def look() -> list[dict[str, Any]]:
        patterns: list[dict[str, Any]] = api.get("/unhandled").json()["patterns"]
        return patterns if any(each["count"] == times for each in patterns) else []

    return wait_for(look, f"a pattern counted {times} times")


def test_patterns_are_listed_nearest_to_the_threshold_first(api: Api, cache: Redis) -> None:
    crossed = count(cache, "fan 7 removed", 140)
    calm = count(cache, "NTP lost 10.0.0.1", 3)
    near = count(cache, "drops 18231 packets", 94)
    cache.zadd(keys.UNHANDLED_PATTERNS, {"mutt:unhandled:gone": (time.time() - 5) * 1000})
    cache.set("mutt:unhandled:overflow", 12)
    document = api.get("/unhandled").json()
    assert [each["pattern"] for each in document["patterns"]] == [near, calm, crossed]
    assert [each["state"] for each in document["patterns"]] == ["near", "counting", "alert_sent"]
    first = document["patterns"][0]
    assert (first["template"], first["sample"]) == ("drops <num> packets", "drops 18231 packets")
    assert (first["count"], first["threshold"], first["crossing_at"] is not None) == (94, 100, True)
    assert EXPIRY - 3610 <= first["ttl"] <= EXPIRY - 3590
    assert first["first_seen"].endswith("Z")
    totals = {name: document[name] for name in ("total", "near", "alert_sent", "threshold", "overflow", "max_patterns")}
    assert totals == {
        "total": 3, "near": 1, "alert_sent": 1, "threshold": 100, "overflow": 12, "max_patterns": 10_000,
    }  # fmt: skip
    assert [each["pattern"] for each in api.get("/unhandled?limit=1&offset=1").json()["patterns"]] == [calm]
    assert "mutt_webui_redis_scan_latency_seconds_count 2.0" in requests.get(api.service.metrics_url, timeout=60).text
    assert "limit" in error_of(api.get("/unhandled?limit=0"), 400)["details"]


def test_what_an_alerter_counts_is_what_is_shown(api: Api, trail: Trail, start_service: StartService) -> None:
    start_service("alerter")
    trail.send(*[queue_entry(f"lamp {number} is blue")[1] for number in range(7)])
    trail.wait_rows(7)
    patterns = wait_counted(api, 7)
    assert [(each["template"], each["count"]) for each in patterns] == [("lamp <num> is blue", 7)]
    assert patterns[0]["first_seen"] is not None
    browser = Browser(api.service)
    browser.open("/sign-in")
    browser.submit("/sign-in", {"key": WEBUI_API_KEY})
    page = browser.open(f"/unhandled?open={pattern_of('lamp 1 is blue').hash}")
    row = page.partition('<svg class="day"')[2].partition("</svg>")[0]
    assert 'aria-label="7 in 24 h by hour' in row
    assert row.count("<rect") == 24
    hours = re.findall(r'<td class="num">(\d+)</td></tr>', page.partition("Show its hours as table")[2])
    assert (len(hours), sum(map(int, hours))) == (24, 7)
    assert "The rule it would start from" in page


def test_the_course_of_a_day_is_shown_and_what_was_counted_before_is_no_zero(api: Api, cache: Redis) -> None:
    count(cache, "counted by an older alerter 1", 40)
    rising = count(cache, "fan 7 removed", 30, age=20 * 3600)
    hour = int(time.time()) // 3600
    for back in range(1, 4):
        cache.hset(f"{keys.UNHANDLED_HOURS_PREFIX}:{rising}", str(hour - back), 10 - back)
    browser = Browser(api.service)
    browser.open("/sign-in")
    browser.submit("/sign-in", {"key": WEBUI_API_KEY})
    page = browser.open("/unhandled")
    assert page.count('<td class="wide-only hours">') == 2
    assert "no data" in page
    assert "rising, 8 an hour" in page


def test_the_open_row_names_the_hosts(api: Api, trail: Trail, start_service: StartService) -> None:
    start_service("alerter")
    hosts = ["edge-1", "edge-1", "edge-2"]
    trail.send(*[queue_entry(f"lamp {number} is blue", host)[1] for number, host in enumerate(hosts)])
    trail.send(queue_entry("lamp is blue", "edge-9")[1])
    trail.wait_rows(4)
    wait_counted(api, 3)
    browser = Browser(api.service)
    browser.open("/sign-in")
    browser.submit("/sign-in", {"key": WEBUI_API_KEY})
    page = browser.open(f"/unhandled?open={pattern_of('lamp 1 is blue').hash}")
    opened = re.sub(r"<[^>]*>", "", page.partition('<tr class="opened">')[2].partition("</tr>")[0])
    assert "Hosts: edge-1 2, edge-2 1" in " ".join(opened.split())


def test_the_page_shows_each_state_and_the_way_to_a_rule(api: Api, cache: Redis) -> None:
    browser = Browser(api.service)
    browser.open("/sign-in")
    browser.submit("/sign-in", {"key": WEBUI_API_KEY})
    assert "No unhandled events." in browser.open("/unhandled")
    near = count(cache, "drops 18231 packets", 94)
    hostile = count(cache, '<script>alert("x")</script> \x1b[31m \u202e 5', 120)
    page = browser.open("/unhandled")
    assert "near 100" in page
    assert "alert sent" in page
    assert f'href="/rules/new?from_unhandled={near}"' in page
    assert "<script>alert" not in page
    opened = browser.open(f"/unhandled?open={hostile}")
    assert "&lt;script&gt;" in opened
    assert '<span class="ctl">ESC</span>' in opened
    assert '<span class="ctl">RLO</span>' in opened
    assert "packets" not in browser.open("/unhandled?view=alert_sent").partition("<tbody>")[2]
    assert "No pattern is like that." in browser.open("/unhandled?q=nothing")
    assert browser.get(api.service.url + "/unhandled?page=x&view=x", timeout=60).status_code == 200
