"""The dashboard in its states, on real servers: nothing yet, well, trouble, and Redis silent."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any

import psycopg
import pytest
import redis

from mutt import keys
from scripts.devtools.embedded import PostgresServer, RedisServer
from tests.harness.processes import StartService
from tests.harness.waiting import wait_for
from tests.service.browser import Browser
from tests.service.web_api import Api

# Where the next look at PostgreSQL is waited for.
LOOKS_OFTEN: dict[str, Any] = {"TEST_CONSTANTS": '{"services.web_ui.watcher.LOOK_SECONDS": 2.0}'}
HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e"


def live(browser: Browser) -> str:
    """Return what the dashboard asks for every few seconds."""
    reply = browser.get(browser.service.url + "/dashboard/live", timeout=60)
    assert reply.status_code == 200
    html: str = reply.json()["html"]
    return html


def charts(browser: Browser) -> str:
    """Return what the dashboard asks for every minute."""
    html: str = browser.get(browser.service.url + "/dashboard/charts", timeout=60).json()["html"]
    return html


def count_events(client: redis.Redis, events: int) -> None:
    now = datetime.now(UTC)
    for back in range(3):
        client.set(keys.metrics_minute(now - timedelta(minutes=back)), events)
    client.set(keys.metrics_hour(now), events)


def beat(client: redis.Redis, *services: str) -> None:
    for service in services:
        client.set(f"mutt:heartbeat:{service}:{service}-0", "token", px=29_000)
    client.set(keys.REMEDIATION_LEASE, "remediation-0:1", px=29_000)


def live_and_well(browser: Browser, client: redis.Redis) -> str:
    """Return it while every service beats, so that none of them is what the verdict is about."""
    beat(client, "ingestor", "alerter", "moog")
    return live(browser)


def test_nothing_has_arrived_yet_and_it_says_what_to_do(start_service: StartService, redis_url: str) -> None:
    service = start_service("webui")
    with redis.Redis.from_url(redis_url) as client:
        beat(client, "ingestor", "alerter", "moog")
        page = Browser(service).sign_in().open("/")
    assert "Ready, and nothing has arrived yet" in page
    assert "Three steps to the first page" in page
    assert "curl http" in page


def test_well_is_calm_and_shows_real_figures(start_service: StartService, redis_url: str) -> None:
    service = start_service("webui")
    with redis.Redis.from_url(redis_url) as client:
        beat(client, "ingestor", "alerter", "moog")
        count_events(client, 600)
        page = Browser(service).sign_in().open("/")
    assert "<title>Well: Dashboard" in page
    assert "All well" in page
    assert '<b class="figure">10</b> events/s' in page
    assert "circuit <b>CLOSED</b>: alerts flow" in page
    assert "alerter-0" in page
    assert "Show as table" in page
    assert "s-warn" not in page


def test_without_a_heartbeat_it_does_not_say_well(start_service: StartService, redis_url: str) -> None:
    service = start_service("webui")
    with redis.Redis.from_url(redis_url) as client:
        beat(client, "ingestor", "moog")
        count_events(client, 60)
    page = Browser(service).sign_in().open("/")
    assert "No alerter is alive" in page


def test_dead_letters_and_an_open_circuit_lead_to_what_to_do(start_service: StartService, redis_url: str) -> None:
    service = start_service("webui")
    envelope = {
        "v": 1,
        "event_id": "0190b1a0-0000-7000-8000-000000000000",
        "received_at": "2026-11-24T22:02:00.000000Z",
        "event_timestamp": "2026-11-24T22:02:00.000000Z",
        "last_error": {"type": "Rejected", "message": HOSTILE, "at": "2026-11-24T22:02:01.000000Z"},
    }
    with redis.Redis.from_url(redis_url) as client:
        beat(client, "ingestor", "alerter", "moog")
        count_events(client, 60)
        client.lpush(keys.POISON, '{"_mutt":' + json.dumps(envelope).replace(": ", ":") + ',"event":{}}')
        client.set(keys.CIRCUIT_STATE, "OPEN")
        page = Browser(service).sign_in().open("/")
    assert "Moogsoft does not take alerts" in page
    assert "1 dead letter since" in page
    assert 'href="/dead-letters"' in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert HOSTILE not in page
    assert '<span class="ctl">ESC</span>' in page
    assert 'data-count="/dead-letters"' in page


def test_the_poll_is_small_and_answers_304_while_nothing_changes(start_service: StartService, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        count_events(client, 600)
    service = start_service("webui")
    browser = Browser(service).sign_in()
    address = service.url + "/dashboard/live"
    reply = browser.get(address, headers={"Accept-Encoding": "gzip"}, stream=True, timeout=60)
    assert len(reply.raw.read(decode_content=False)) <= 5 * 1024
    again = browser.get(address, headers={"If-None-Match": reply.headers["ETag"]}, timeout=60)
    assert again.status_code in (200, 304)
    wait_for(
        lambda: (
            browser.get(
                address, headers={"If-None-Match": browser.get(address, timeout=60).headers["ETag"]}, timeout=60
            ).status_code
            == 304
        ),
        "a poll that finds nothing new",
    )
    assert Browser(service).get(address, allow_redirects=False, timeout=60).status_code == 303


def test_who_asks_in_the_same_moment_gets_the_same_piece_but_no_other_roles(
    start_service: StartService, redis_url: str
) -> None:
    """Kept for a minute here, so that each would get the other's if it were not its own."""
    viewer = {"ann": {"sha256": hashlib.sha256(b"viewers-key").hexdigest(), "role": "viewer"}}
    kept = '{"services.web_ui.pages.dashboard.PIECE_SECONDS": 60.0}'
    service = start_service("webui", WEBUI_API_KEYS=json.dumps(viewer), TEST_CONSTANTS=kept)
    with redis.Redis.from_url(redis_url) as client:
        beat(client, "ingestor", "alerter", "moog")
    first, second, other = (Browser(service).sign_in(*key) for key in ((), (), ("viewers-key",)))
    address = service.url + "/dashboard/charts"

    def etags() -> list[str]:
        return [browser.get(address, timeout=60).headers["ETag"] for browser in (first, second)]

    wait_for(lambda: len(set(etags())) == 1, "two that ask within one look at Redis")
    for browser, may_edit in ((first, True), (other, False), (first, True)):
        assert ("/rules/new" in charts(browser)) is may_edit


@pytest.mark.parametrize("path", ["/", "/help", "/slo"])
def test_pages_hold_while_redis_is_silent_and_figures_are_unknown(
    path: str, own_redis: RedisServer, start_service: StartService
) -> None:
    with redis.Redis.from_url(own_redis.url) as client:
        count_events(client, 600)
        client.lpush(keys.QUARANTINE, "x")
    service = start_service("webui")
    browser = Browser(service).sign_in()
    own_redis.kill()
    if path == "/":
        wait_for(lambda: "Redis does not answer" in live(browser), "the verdict")
        page = browser.open("/")
        assert "unknown" in page
        assert "quarantine last seen 1" in page
        assert "What still works" in page
        assert "Do this first" in page
    else:
        browser.open(path)
    own_redis.start()
    service.wait_healthy()
    if path == "/":
        wait_for(lambda: "Redis does not answer" not in live(browser), "the verdict after Redis came back")


def test_changes_and_the_loudest_come_from_the_database(
    start_service: StartService, database_url: str, redis_url: str
) -> None:
    with redis.Redis.from_url(redis_url) as client:
        count_events(client, 60)
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO config_audit_log (changed_by, operation, table_name, record_id, old_values, new_values)"
            " VALUES ('core-editor', 'UPDATE', 'alert_rules', '118',"
            """ '{"team_assignment": "CORE"}', '{"team_assignment": "<b>DC3</b>"}')"""
        )
    browser = Browser(start_service("webui")).sign_in()
    page = browser.get(browser.service.url + "/dashboard/charts", timeout=60).json()["html"]
    assert "Rule 118" in page
    assert "team assignment CORE \u2192 &lt;b&gt;DC3&lt;/b&gt;" in page
    assert "core-editor" in page
    assert "No event in the last hour" in page


def test_each_ingestor_beats_until_it_ends(start_service: StartService, redis_url: str) -> None:
    ingestor = start_service("ingestor")
    with redis.Redis.from_url(redis_url) as client:
        wait_for(lambda: client.keys("mutt:heartbeat:ingestor:*"), "the heartbeat")
        [key] = client.scan_iter("mutt:heartbeat:ingestor:*")
        assert 0 < client.ttl(key) <= keys.INGESTOR_TIMEOUT
        assert ingestor.terminate() == 0
        assert client.exists(key) == 0


@pytest.mark.parametrize(
    ("key", "said"),
    [(keys.CIRCUIT_FAILURES, "mutt:circuit:moog:failures holds"), (keys.QUARANTINE, "WRONGTYPE")],
)
def test_what_cannot_be_read_in_redis_is_said_and_is_neither_silence_nor_well(
    start_service: StartService, redis_url: str, key: str, said: str
) -> None:
    service = start_service("webui")
    with redis.Redis.from_url(redis_url) as client:
        client.set(key, "odd")
        browser = Browser(service).sign_in()
        for _ in range(2):
            page = browser.open("/")
            assert "What Redis holds cannot be read here" in page
            assert said in page
            assert "to every sender" not in page
        client.delete(key)
        count_events(client, 600)
        wait_for(lambda: "cannot be read" not in live(browser), "the dashboard to read Redis again")


def test_a_slow_table_holds_up_no_page_and_is_not_called_a_silent_database(
    start_service: StartService, database_url: str, redis_url: str
) -> None:
    with redis.Redis.from_url(redis_url) as client:
        beat(client, "ingestor", "alerter", "moog")
        count_events(client, 600)
        browser = Browser(start_service("webui", **LOOKS_OFTEN)).sign_in()
        wait_for(lambda: "No event in the last hour" in charts(browser), "the first count")
        with psycopg.connect(database_url) as lock:
            lock.execute("LOCK TABLE event_audit_log IN ACCESS EXCLUSIVE MODE")
            wait_for(lambda: "as of" in charts(browser), "the word that the loudest are old", timeout=90)
            beat(client, "ingestor", "alerter", "moog")
            wait_for(lambda: "All well" in live(browser), "the verdict")
        wait_for(lambda: "as of" not in charts(browser), "a new count")


def test_connections_that_are_all_in_use_are_not_called_a_silent_database(
    start_service: StartService, database_url: str, redis_url: str
) -> None:
    service = start_service("webui", DB_POOL_MIN_CONN="1", DB_POOL_MAX_CONN="1", **LOOKS_OFTEN)
    browser, api, enough = Browser(service), Api(service), Event()

    def use() -> None:
        while not enough.is_set():
            api.get("/dev-hosts")

    with (
        redis.Redis.from_url(redis_url) as client,
        psycopg.connect(database_url) as lock,
        ThreadPoolExecutor(3) as pool,
    ):
        count_events(client, 600)
        lock.execute("LOCK TABLE development_hosts IN ACCESS EXCLUSIVE MODE")
        uses = [pool.submit(use) for _ in range(3)]
        try:
            wait_for(
                lambda: lock.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone(), "the connection's use"
            )
            browser.sign_in()
            said = "No connection of this console to PostgreSQL is free"
            wait_for(lambda: said in live_and_well(browser, client), "the cause", timeout=90)
            assert "PostgreSQL does not answer" not in live_and_well(browser, client)
        finally:
            enough.set()
            lock.rollback()
        for each in uses:
            each.result()
        wait_for(lambda: "All well" in live_and_well(browser, client), "a connection that is free")


def test_while_postgresql_is_away_its_figures_stand_with_their_time(
    own_postgres: PostgresServer, own_database_url: str, start_service: StartService, redis_url: str
) -> None:
    browser = Browser(start_service("webui", **LOOKS_OFTEN)).sign_in()
    with redis.Redis.from_url(redis_url) as client:
        count_events(client, 600)
        wait_for(lambda: "no rules yet" in live_and_well(browser, client), "the first look")
        own_postgres.pause()
        said = "PostgreSQL does not answer"
        wait_for(lambda: said in live_and_well(browser, client), "the verdict", timeout=90)
        assert "no rules yet at " in live(browser)
        assert "as of" in charts(browser)
        assert 'data-count="/rules">?' in browser.open("/help")
        own_postgres.resume()
        wait_for(lambda: "All well" in live_and_well(browser, client), "PostgreSQL to be read again", timeout=90)


@pytest.mark.parametrize("path", ["/dead-letters", "/unhandled", "/configuration", "/configuration/moog_rate_limit"])
def test_a_page_of_redis_gives_up_on_a_hung_one_before_the_client_would(
    path: str, own_redis: RedisServer, start_service: StartService
) -> None:
    browser = Browser(start_service("webui", REDIS_TIMEOUT="60")).sign_in()
    assert browser.get(browser.service.url + path, timeout=60).status_code == 200
    own_redis.pause()
    try:
        reply = browser.get(browser.service.url + path, timeout=40)
    finally:
        own_redis.resume()
    assert reply.status_code == 503
    assert "Redis does not answer" in reply.text


def test_service_levels_are_unknown_where_nobody_answers_for_them(
    own_redis: RedisServer, start_service: StartService
) -> None:
    with redis.Redis.from_url(own_redis.url) as client:
        count_events(client, 600)
        client.set(keys.slo("ingestor", "ok", datetime.now(UTC)), 3)
    browser = Browser(start_service("webui", PROMETHEUS_URL="http://127.0.0.1:9")).sign_in()
    assert "100 % of budget left" in browser.open("/slo")
    own_redis.kill()
    page = browser.open("/slo")
    assert "Neither Prometheus nor Redis answers" in page
    assert "How the service levels stand is unknown" in page
    assert "of budget left" not in page
    own_redis.start()


def test_a_console_that_never_reached_redis_claims_nothing_of_the_senders(
    own_redis: RedisServer, start_service: StartService
) -> None:
    own_redis.kill()
    browser = Browser(start_service("webui", wait=False))
    browser.service.wait_health(503)
    browser.sign_in()
    wait_for(lambda: "Redis does not answer this console" in live(browser), "the verdict")
    assert "to every sender" not in live(browser)


def test_a_refused_try_before_the_first_event_is_no_share_of_a_service(
    start_service: StartService, redis_url: str
) -> None:
    service = start_service("webui", PROMETHEUS_URL="http://127.0.0.1:9")
    with redis.Redis.from_url(redis_url) as client:
        beat(client, "ingestor", "alerter", "moog")
        for outcome in ("fail", "sender"):
            client.set(keys.slo("ingestor", outcome, datetime.now(UTC)), 3)
    browser = Browser(service).sign_in()
    for path in ("/", "/slo"):
        page = browser.open(path)
        assert "3 refused before the first event" in page
        assert '<p class="figure">0 %' not in page


def test_a_missing_remediation_is_said(start_service: StartService, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        beat(client, "ingestor", "alerter", "moog")
        client.delete(keys.REMEDIATION_LEASE)
        count_events(client, 600)
    page = Browser(start_service("webui")).sign_in().open("/")
    assert "no remediation is alive: dead letters get no further try" in page
    assert "All well" not in page
