"""What the dashboard costs on the wire, as the browser counts it, with a system of some size behind it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from playwright.sync_api import Page
from redis import Redis

from mutt import keys
from mutt.figures import MoogAnswer, Report
from tests.browser.conftest import OpenConsole
from tests.harness.entries import queue_entry
from tests.harness.processes import StartService
from tests.harness.waiting import wait_for
from tests.service.trail import FAST, Trail
from tests.service.web_api import Api

FIRST_LOAD, POLL = 100 * 1024, 5 * 1024  # bytes, heads of the replies included
INSTANCES, RULES, HOSTS = 40, 200, 300
# Ages are told in seconds, so only polls within one second find the same.
ASK_TWICE = """async () => {
    const first = await fetch("/dashboard/live", { cache: "no-store" });
    await first.text();
    const tag = first.headers.get("etag");
    const second = await fetch("/dashboard/live", { cache: "no-store", headers: { "If-None-Match": tag } });
    await second.text();
}"""
BOUNDS = tuple(0.001 * 2**each for each in range(15))


def beat(client: Redis) -> None:
    """Let many instances live, for less than half a minute."""
    for service, prefix, number in each_instance():
        client.set(f"mutt:heartbeat:{prefix}:{name_of(service, number)}", "token", px=29_000 - 137 * number)


def each_instance() -> Iterator[tuple[str, str, int]]:
    """Return service, the word for it in keys, and number."""
    for service, prefix in (("ingestor", "ingestor"), ("alerter", "alerter"), ("moog-forwarder", "moog")):
        for number in range(INSTANCES):
            yield service, prefix, number


def name_of(service: str, number: int) -> str:
    """Return an instance's name."""
    return f"{service}-{number:02}.dc{number % 3}.example"


def count(client: Redis) -> None:
    """Let each instance have figures of its own, and every counter hold something."""
    now = datetime.now(UTC)
    for service, prefix, number in each_instance():
        name = name_of(service, number)
        report = Report(
            60, 60 * number, BOUNDS, tuple(range(number, number + 16)), f"http://10.0.0.{number}:8082/health"
        )
        client.set(keys.figures(service, name), msgspec.json.encode(report))
        client.lpush(f"mutt:processing:{prefix}:{name}", queue_entry(f"held {number}")[1])
    for back in range(121):
        client.set(keys.metrics_minute(now - timedelta(minutes=back)), 50_000 + 977 * back % 9001)
    for back in range(48):
        client.set(keys.metrics_hour(now - timedelta(hours=back)), 3_000_000 + 97_001 * back % 900_001)
    for component, outcome in (("ingestor", "ok"), ("ingestor", "fail"), ("forwarder", "ok"), ("forwarder", "fail")):
        for back in range(24):
            client.set(keys.slo(component, outcome, now - timedelta(hours=back)), 3000 + 7 * back)
    client.set(keys.MOOG_ANSWER, msgspec.json.encode(MoogAnswer(200, now.isoformat())))
    client.set(keys.CIRCUIT_STATE, "CLOSED")
    client.lpush(keys.POISON, queue_entry("given up")[1])


def fill(trail: Trail, api: Api, start_service: StartService) -> None:
    """Make rules, hosts, teams and events of many of them."""
    for number in range(RULES):
        trail.rule(match_string=f"fault {number:03}", priority=number + 1, team_assignment=f"TEAM-{number % 40}")
    for number in range(5):
        api.create_rule(name=f"A rule with a name of its own {number}", match_string=f"never {number}")
    alerter = start_service("alerter", **FAST)
    entries = [
        queue_entry(f"fault {number % RULES:03} on line", f"host-{number % HOSTS:03}.dc1.example")[1]
        for number in range(1200)
    ]
    trail.send(*entries)
    trail.wait_rows(len(entries))
    alerter.terminate()


def test_the_dashboard_loads_within_100_kb_and_asks_within_5_kb(
    open_console: OpenConsole, start_service: StartService, database_url: str, redis_url: str
) -> None:
    trail = Trail(database_url, redis_url)
    console = open_console("viewer")
    fill(trail, Api(console.service, "admin-key"), start_service)
    count(trail.redis)
    beat(trail.redis)
    page = console.page
    wire = Wire(page)
    console.visit("/")
    page.wait_for_load_state("networkidle")
    loaded = wire.finished("")
    assert any(url.endswith("/css/base.css") for url, _, _ in loaded)
    assert any(url.endswith("/js/dashboard.js") for url, _, _ in loaded)
    assert all(url.startswith(console.service.url) for url, _, _ in loaded)
    assert sum(size for _, _, size in loaded) <= FIRST_LOAD, loaded

    def all_live() -> bool:
        beat(trail.redis)
        return f"{3 * INSTANCES} live" in console.text()

    wait_for(all_live, "each instance on the page")

    def fresh() -> list[tuple[str, int, int]]:
        return [each for each in wire.finished("/dashboard/live") if each[1] == 200]

    def unchanged() -> list[tuple[str, int, int]]:
        page.evaluate(ASK_TWICE)
        return [each for each in wire.finished("/dashboard/live") if each[1] == 304]

    polls = wait_for(fresh, "a poll")
    assert max(size for _, _, size in polls) <= POLL, polls
    nothing_new = wait_for(unchanged, "a poll that finds nothing new")
    assert max(size for _, _, size in nothing_new) < 1024, nothing_new


class Wire:
    """What a page's browser received since: address, status and bytes, heads and compressed bodies together."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._replies: dict[str, tuple[str, int]] = {}
        self._sizes: dict[str, int] = {}
        session = page.context.new_cdp_session(page)
        session.on("Network.responseReceived", self._answered)
        session.on("Network.loadingFinished", self._loaded)
        session.send("Network.enable")
        session.send("Network.setCacheDisabled", {"cacheDisabled": True})

    def finished(self, end: str) -> list[tuple[str, int, int]]:
        """Return what came from addresses that end so."""
        self._page.evaluate("0")  # lets what the browser has to tell arrive
        return [
            (url, status, self._sizes[key])
            for key, (url, status) in self._replies.items()
            if key in self._sizes and url.endswith(end)
        ]

    def _answered(self, told: dict[str, Any]) -> None:
        self._replies[told["requestId"]] = told["response"]["url"], told["response"]["status"]

    def _loaded(self, told: dict[str, Any]) -> None:
        self._sizes[told["requestId"]] = int(told["encodedDataLength"])
