"""What services report of their own work to the dashboard: recorded where it happens, gone with its instance."""

import msgspec
from redis import Redis

from mutt import keys
from mutt.events import amend
from mutt.figures import MoogAnswer, Report, percentile, rate
from tests.harness.entries import queue_entry
from tests.harness.moogsoft import MoogStandIn
from tests.harness.processes import StartService, fetch
from tests.harness.waiting import wait_for
from tests.service.browser import Browser
from tests.service.ingest_api import event, post
from tests.service.moog_stage import Stage
from tests.service.trail import Trail

OLD = "2020-01-01T00:00:00.000000Z"


def report(client: Redis, service: str) -> Report | None:
    data = client.get(keys.figures(service, "one"))
    return msgspec.json.decode(data, type=Report) if isinstance(data, bytes) else None


def told(client: Redis, service: str, done: int) -> Report:
    """Wait for a report of so much done and return it."""
    found: list[Report] = []

    def look() -> bool:
        seen = report(client, service)
        if seen is None or seen.done != done:
            return False
        found.append(seen)
        return True

    wait_for(look, f"a report of {done} by the {service}")
    return found[-1]


def dashboard(service_url: str, browser: Browser) -> str:
    html: str = browser.get(f"{service_url}/dashboard/live", timeout=60).json()["html"]
    return html


def test_the_alerter_reports_its_rate_and_times_and_takes_the_report_back_at_its_end(
    trail: Trail, start_service: StartService
) -> None:
    alerter = start_service("alerter", POD_NAME="one")
    trail.send(*(queue_entry(f"fan {number} failed")[1] for number in range(30)))
    seen = told(trail.redis, "alerter", 30)
    assert sum(seen.buckets) == 30
    assert percentile([seen], 0.95)
    assert rate([seen])
    assert 0 < trail.redis.ttl(keys.figures("alerter", "one")) <= 20
    assert '"status": "healthy"' in fetch(seen.health)[1].replace('":"', '": "')
    console = start_service("webui")
    browser = Browser(console).sign_in()
    page = dashboard(console.url, browser)
    assert "events/" in page
    assert "p95 <b>" in page
    alerter.terminate()
    assert report(trail.redis, "alerter") is None
    wait_for(lambda: "p95" not in dashboard(console.url, browser), "a page without the instance that is gone")
    assert '<b class="figure dim">no data</b>' in dashboard(console.url, browser)


def test_the_ingestor_reports_how_long_its_replies_take(start_service: StartService, redis_url: str) -> None:
    ingestor = start_service("ingestor", POD_NAME="one")
    with Redis.from_url(redis_url) as client:
        assert post(ingestor, [event(), event()]).status_code == 200
        seen = told(client, "ingestor", 2)
    assert sum(seen.buckets) == 1
    console = start_service("webui")
    assert "p99 <b>" in dashboard(console.url, Browser(console).sign_in())


def test_moogsofts_last_answer_and_the_forwarders_rate_are_on_the_dashboard(
    redis_url: str, moog_stand_in: MoogStandIn, start_service: StartService
) -> None:
    stage = Stage(redis_url)
    console = start_service("webui")
    browser = Browser(console).sign_in()
    assert "not asked yet" in dashboard(console.url, browser)
    start_service("moog-forwarder", POD_NAME="one")
    stage.send("disk full", "disk full again")
    seen = told(stage.redis, "moog-forwarder", 2)
    assert sum(seen.buckets) == 2
    wait_for(lambda: stage.redis.exists(keys.MOOG_ANSWER) == 1, "the last answer")
    data = stage.redis.get(keys.MOOG_ANSWER)
    assert isinstance(data, bytes)
    assert msgspec.json.decode(data, type=MoogAnswer).status == 200
    wait_for(lambda: '<b class="figure">200</b> answered' in dashboard(console.url, browser), "the answer on the page")
    page = dashboard(console.url, browser)
    assert "alerts/min" in page
    assert "p95 <b>" in page
    moog_stand_in.kill()
    stage.send("disk full once more")
    wait_for(
        lambda: '<b class="figure dim">no answer</b>' in dashboard(console.url, browser), "the silence on the page"
    )


def test_lag_is_the_age_of_the_oldest_entry_that_an_instance_holds(start_service: StartService, redis_url: str) -> None:
    with Redis.from_url(redis_url) as client:
        for name in ("one", "two"):
            client.set(f"mutt:heartbeat:alerter:{name}", "token", px=29_000)
        client.lpush("mutt:processing:alerter:one", amend(queue_entry("old")[1], received_at=OLD))
        console = start_service("webui")
        page = dashboard(console.url, Browser(console).sign_in())
    one, two = (page.partition(f"<span>{name}</span>")[2].partition("</tr>")[0] for name in ("one", "two"))
    assert " d " in one
    assert " d " not in two
