"""What services report of their own work to the dashboard: recorded where it happens, gone with its instance."""

import re
from collections.abc import Callable

import msgspec
from redis import Redis

from mutt import keys
from mutt.events import amend
from mutt.figures import MoogAnswer, Report, percentile, rate
from scripts.devtools.embedded import RedisServer
from tests.harness.entries import queue_entry
from tests.harness.moogsoft import MoogStandIn
from tests.harness.processes import StartService, fetch
from tests.harness.proxy import Proxy
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
    console = start_service("webui")
    with Redis.from_url(redis_url) as client:
        for name in ("one", "two"):
            client.set(f"mutt:heartbeat:alerter:{name}", "token", px=29_000)
        client.lpush("mutt:processing:alerter:one", amend(queue_entry("old")[1], received_at=OLD))
        page = dashboard(console.url, Browser(console).sign_in())
    one, two = (page.partition(f"<span>{name}</span>")[2].partition("</tr>")[0] for name in ("one", "two"))
    assert re.search(r"\d d\b", one)
    assert not re.search(r"\d d\b", two)


def test_while_redis_is_away_services_are_asked_for_their_own_words(
    own_redis: RedisServer, start_service: StartService
) -> None:
    ingestor, console = start_service("ingestor", POD_NAME="one"), start_service("webui")
    start_service("alerter", POD_NAME="two")
    browser = Browser(console).sign_in()
    assert post(ingestor, event()).status_code == 200
    wait_for(lambda: "p99" in (page := dashboard(console.url, browser)) and "p95" in page, "both reports on the page")
    own_redis.kill()
    page = wait_for(lambda: _if("What each service says", dashboard(console.url, browser)), "their words")
    assert "redis: disconnected" in page
    assert "<td>503</td>" in page
    assert "<td>waiting</td>" in page
    assert "<b>1</b> of 1 instance up" in page
    ingestor.kill()
    wait_for(lambda: "<td>silent</td>" in dashboard(console.url, browser), "the ingestor's silence")
    own_redis.start()
    wait_for(lambda: "What each service says" not in dashboard(console.url, browser), "the usual page")


def test_a_console_that_alone_does_not_reach_redis_says_so(
    own_redis: RedisServer, start_service: StartService, proxy: Callable[[str], Proxy]
) -> None:
    start_service("alerter", POD_NAME="two")
    with Redis.from_url(own_redis.url) as client:
        wait_for(lambda: client.exists(keys.figures("alerter", "two")) == 1, "the report")
    between = proxy(own_redis.url)
    console = start_service("webui", REDIS_PORT=str(between.port))
    browser = Browser(console).sign_in()
    between.cut()
    page = wait_for(lambda: _if("This console does not reach Redis", dashboard(console.url, browser)), "the verdict")
    assert "redis: connected" in page
    assert "503" not in page


def test_the_first_run_names_the_last_try_that_was_refused(start_service: StartService, redis_url: str) -> None:
    ingestor = start_service("ingestor", POD_NAME="one")
    assert post(ingestor, event(), key="wrong").status_code == 401
    with Redis.from_url(redis_url) as client:
        wait_for(lambda: client.exists(keys.INGEST_REFUSED, keys.figures("ingestor", "one")) == 2, "what was refused")
        webui = start_service("webui")
        for service in ("alerter", "moog"):
            client.set(f"mutt:heartbeat:{service}:{service}-0", "token", px=29_000)
        client.set(keys.REMEDIATION_LEASE, "remediation-0:1", px=29_000)
        page = Browser(webui).sign_in().open("/")
    assert "Ready, and nothing has arrived yet" in page
    assert "Last try refused: 401," in page
    assert "from <bdi" in page
    assert "127.0.0.1" in page
    assert f":{ingestor.url.rpartition(':')[2]}/api/v2/ingest" in page


def _if(text: str, page: str) -> str:
    return page if text in page else ""
