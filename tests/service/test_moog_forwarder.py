"""The forwarder as a process on a real Redis and PostgreSQL: every class of answer, and what each costs an alert."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from mutt import keys
from tests.harness.credentials import MOOG_API_KEY
from tests.harness.moogsoft import MoogStandIn
from tests.harness.processes import StartService
from tests.harness.waiting import wait_for
from tests.service.moog_stage import ALERTS, TLS_FOLDER, Moogsoft, Reply, Request, Stage, alert

QUICK: dict[str, Any] = {"MOOG_RETRY_BASE_DELAY": "0.05", "MOOG_RETRY_MAX_DELAY": "0.2", "MOOG_RATE_LIMIT": "1000"}
PATIENT: dict[str, Any] = {**QUICK, "MOOG_CIRCUIT_THRESHOLD": "1000"}


@pytest.fixture
def stage(redis_url: str) -> Stage:
    return Stage(redis_url)


@pytest.fixture
def moogsoft() -> Iterator[Moogsoft]:
    server = Moogsoft()
    yield server
    server.close()


def to(moogsoft: Moogsoft, **more: str) -> dict[str, Any]:
    """Return the variables of a forwarder that sends there."""
    return {**PATIENT, "MOOG_WEBHOOK_URL": moogsoft.url, **more}


def test_an_alert_is_delivered_once_and_logged(
    stage: Stage, moog_stand_in: MoogStandIn, start_service: StartService, database_url: str
) -> None:
    (event_id,) = stage.send("disk full", syslog_severity=2, hostname="core1.example")
    forwarder = start_service("moog-forwarder")
    wait_for(lambda: moog_stand_in.stats()["count"] == 1, "the alert at the stand-in")
    (received,) = moog_stand_in.alerts()
    assert received["external_id"] == event_id
    assert received["severity"] == 5
    assert received["source"] == "core1.example"
    wait_for(stage.is_empty, "nothing is left")
    wait_for(lambda: forwarder.metric("mutt_moog_alerts_processed_total", status="success") == 1, "the metric")
    assert forwarder.metric("mutt_moog_requests_total", status="success", reason="") == 1
    assert forwarder.metric("mutt_moog_request_latency_seconds_count") == 1
    assert forwarder.metric("mutt_moog_circuit_state") == 0
    wait_for(lambda: forwarder.metric("mutt_moog_dlq_depth") == 0, "the gauge of dead letters")

    def logged() -> list[tuple[Any, ...]]:
        with psycopg.connect(database_url) as connection:
            return connection.execute("SELECT event_id::text, attempt, status, outcome FROM delivery_log").fetchall()

    assert wait_for(logged, "a row of the delivery log") == [(event_id, 1, 200, "success")]
    wait_for(lambda: list(stage.redis.scan_iter("mutt:slo:forwarder:ok:*")), "the service level's counter")


def test_a_server_error_is_retried_and_then_a_dead_letter(
    stage: Stage, moogsoft: Moogsoft, start_service: StartService
) -> None:
    moogsoft.answer = lambda _: Reply(503, body=b"maintenance")
    (event_id,) = stage.send("disk full")
    forwarder = start_service("moog-forwarder", **to(moogsoft))
    wait_for(stage.dead, "a dead letter")
    (letter,) = stage.dead()
    assert len(moogsoft.requests) == 6
    assert {request.alerts[0]["external_id"] for request in moogsoft.requests} == {event_id}
    assert letter["_mutt"]["retry_count"] == 6
    assert letter["_mutt"]["last_error"]["type"] == "5xx"
    assert "503" in letter["_mutt"]["last_error"]["message"]
    assert "maintenance" in letter["_mutt"]["last_error"]["message"]
    assert letter["event"]["message"] == "disk full"
    wait_for(lambda: forwarder.metric("mutt_moog_alerts_processed_total", status="dlq") == 1, "the metric")
    assert forwarder.metric("mutt_moog_alerts_processed_total", status="error") == 5
    assert forwarder.metric("mutt_moog_requests_total", status="fail", reason="5xx") == 6


@pytest.mark.parametrize("status", [400, 422])
def test_an_alert_that_moogsoft_refuses_is_a_dead_letter_at_once(
    stage: Stage, moogsoft: Moogsoft, start_service: StartService, status: int
) -> None:
    moogsoft.answer = lambda request: Reply(status if request.messages == ["bad"] else 200)
    stage.send("bad", "good")
    forwarder = start_service("moog-forwarder", **to(moogsoft, MOOG_CIRCUIT_THRESHOLD="1"))
    moogsoft.wait_delivered(1)
    wait_for(stage.dead, "a dead letter")
    assert [letter["event"]["message"] for letter in stage.dead()] == ["bad"]
    assert len(moogsoft.requests) == 2
    assert stage.state() == "CLOSED"
    assert forwarder.metric("mutt_moog_requests_total", status="fail", reason="4xx") == 1


def test_throttling_waits_as_asked_and_spends_no_retry(
    stage: Stage, moogsoft: Moogsoft, start_service: StartService
) -> None:
    moogsoft.answer = lambda _: Reply(429, {"Retry-After": "1"}) if len(moogsoft.requests) < 2 else Reply()
    stage.send("disk full")
    forwarder = start_service("moog-forwarder", **to(moogsoft, MOOG_MAX_RETRIES="0", MOOG_CIRCUIT_THRESHOLD="1"))
    moogsoft.wait_delivered(1)
    first, second, third = moogsoft.requests
    assert second.at - first.at >= 0.99
    assert third.at - second.at >= 0.99
    wait_for(stage.is_empty, "nothing is left")
    assert stage.state() == "CLOSED"
    assert forwarder.metric("mutt_moog_requests_total", status="fail", reason="throttled") == 2


@pytest.mark.parametrize("status", [401, 404, 302])
def test_a_misconfiguration_costs_no_alert_anything(
    stage: Stage, moogsoft: Moogsoft, start_service: StartService, status: int
) -> None:
    elsewhere = {"Location": moogsoft.url + "/elsewhere"}
    moogsoft.answer = lambda _: Reply(status, elsewhere)
    stage.send("first", "second")
    forwarder = start_service(
        "moog-forwarder", wait=False, **to(moogsoft, MOOG_CONCURRENCY="1", MOOG_CIRCUIT_OPEN_SECONDS="1")
    )
    body = forwarder.wait_health(503)
    wait_for(lambda: stage.state() == "OPEN" and stage.held() == 0, "the circuit is open, nothing is held")
    body = forwarder.wait_health(503)
    assert str(status) in body
    assert "OPEN" in body
    assert forwarder.metric("mutt_moog_circuit_state") == 1
    assert len(moogsoft.requests) == 1
    assert sorted(stage.queued()) == ["first", "second"]
    moogsoft.answer = lambda _: Reply()
    assert sorted(moogsoft.wait_delivered(2)) == ["first", "second"]
    forwarder.wait_healthy()
    assert stage.dead() == []
    assert forwarder.metric("mutt_moog_requests_total", status="fail", reason="config") == 1


def test_a_new_key_is_used_as_soon_as_the_old_one_is_refused(
    stage: Stage, moogsoft: Moogsoft, start_service: StartService, tmp_path: Any
) -> None:
    key = tmp_path / "key"
    key.write_text("old-key\n")
    moogsoft.answer = lambda request: Reply(200 if request.headers["Authorization"] == "Bearer new-key" else 401)
    start_service("moog-forwarder", **to(moogsoft, MOOG_API_KEY="", MOOG_API_KEY_FILE=str(key)))
    key.write_text("new-key\n")
    stage.send("disk full")
    moogsoft.wait_delivered(1)
    assert [request.headers["Authorization"] for request in moogsoft.requests] == ["Bearer old-key", "Bearer new-key"]
    assert stage.state() == "CLOSED"


@pytest.mark.parametrize(
    ("variables", "sent"),
    [
        ({}, ("Authorization", f"Bearer {MOOG_API_KEY}")),
        ({"MOOG_AUTH_SCHEME": "Basic", "MOOG_API_KEY": "user:word"}, ("Authorization", "Basic dXNlcjp3b3Jk")),
        ({"MOOG_AUTH_SCHEME": "none", "MOOG_AUTH_HEADER": "X-API-Key"}, ("X-API-Key", MOOG_API_KEY)),
    ],
)
def test_the_key_travels_in_the_header_that_is_set(
    stage: Stage, moogsoft: Moogsoft, start_service: StartService, variables: dict[str, str], sent: tuple[str, str]
) -> None:
    header, value = sent
    stage.send("disk full")
    forwarder = start_service("moog-forwarder", **to(moogsoft, LOG_LEVEL="DEBUG", **variables))
    moogsoft.wait_delivered(1)
    assert moogsoft.requests[0].headers[header] == value
    assert value.rpartition(" ")[2] not in forwarder.log(), "a secret is never in a log"


def test_alerts_come_through_once_moogsoft_takes_connections_again(
    stage: Stage, moog_stand_in: MoogStandIn, start_service: StartService
) -> None:
    moog_stand_in.kill()
    ids = stage.send("first", "second")
    forwarder = start_service("moog-forwarder", **PATIENT, MOOG_MAX_RETRIES="1000")
    wait_for(
        lambda: (forwarder.metric("mutt_moog_requests_total", status="fail", reason="connection") or 0) > 2,
        "refused connections",
    )
    moog_stand_in.start()
    wait_for(lambda: moog_stand_in.stats()["distinct"] == 2, "both alerts at the stand-in")
    assert {alert["external_id"] for alert in moog_stand_in.alerts()} == set(ids)
    wait_for(stage.is_empty, "nothing is left")


def test_one_hanging_request_delays_no_other_alert(
    stage: Stage, moogsoft: Moogsoft, start_service: StartService
) -> None:
    released = threading.Event()
    moogsoft.answer = lambda request: Reply(until=released if request.messages == ["hangs"] else None)
    stage.send("hangs", *(f"flows {index}" for index in range(20)))
    forwarder = start_service("moog-forwarder", **to(moogsoft, MOOG_WEBHOOK_TIMEOUT="30", MOOG_CONCURRENCY="2"))
    assert sorted(moogsoft.wait_delivered(20)) == sorted(f"flows {index}" for index in range(20))
    wait_for(lambda: stage.held() == 1, "the hanging alert alone is held")
    wait_for(lambda: forwarder.metric("mutt_moog_processing_list_depth") == 1, "the gauge of the processing list")
    released.set()
    wait_for(stage.is_empty, "nothing is left")


def test_a_request_without_an_answer_times_out_and_is_tried_again(
    stage: Stage, moog_stand_in: MoogStandIn, start_service: StartService
) -> None:
    moog_stand_in.behave(hang=True, times=1)
    (event_id,) = stage.send("disk full")
    forwarder = start_service("moog-forwarder", **PATIENT, MOOG_WEBHOOK_TIMEOUT="0.3")
    wait_for(lambda: moog_stand_in.stats()["count"] == 1, "the second attempt")
    assert moog_stand_in.alerts()[0]["external_id"] == event_id
    assert forwarder.metric("mutt_moog_requests_total", status="fail", reason="timeout") == 1


def test_a_waiting_retry_blocks_nobody(stage: Stage, moogsoft: Moogsoft, start_service: StartService) -> None:
    moogsoft.answer = lambda request: Reply(500 if request.messages == ["fails"] else 200)
    stage.send("fails", *(f"flows {index}" for index in range(10)))
    forwarder = start_service(
        "moog-forwarder", **to(moogsoft, MOOG_RETRY_BASE_DELAY="60", MOOG_RETRY_MAX_DELAY="60", MOOG_CONCURRENCY="1")
    )
    moogsoft.wait_delivered(10)
    wait_for(lambda: len(stage.waiting()) == 1, "one alert waits")
    ((entry, due),) = stage.waiting()
    seconds, _ = stage.redis.time()
    assert entry["_mutt"]["retry_count"] == 1
    assert 50 < due / 1000 - seconds <= 61
    wait_for(lambda: '"queue_depth":1' in forwarder.wait_health(200).replace(" ", ""), "it counts in the depth")


def test_a_clear_never_overtakes_its_problem(stage: Stage, moogsoft: Moogsoft, start_service: StartService) -> None:
    link = "%LINK-3-UPDOWN: Interface Gi0/1, changed state to"
    failures = iter([Reply(503), Reply(503)])
    moogsoft.answer = lambda request: next(failures, Reply()) if request.messages == [f"{link} down"] else Reply()
    stage.send(f"{link} down", f"{link} up", "something else")
    start_service("moog-forwarder", **to(moogsoft, MOOG_RETRY_BASE_DELAY="0.3"))
    delivered = moogsoft.wait_delivered(3)
    assert delivered == ["something else", f"{link} down", f"{link} up"]
    assert [request.alerts[0]["severity"] for request in moogsoft.requests][-1] == 0
    wait_for(stage.is_empty, "nothing is left")


def test_bytes_that_are_no_alert_are_dead_letters(
    stage: Stage, moogsoft: Moogsoft, start_service: StartService
) -> None:
    _, spaced = alert("put there by hand")
    spaced = spaced.replace(b'{"_mutt":{', b'{ "_mutt": {')
    stage.redis.lpush(ALERTS, b"\xff\xfenot json", b'{"_mutt":{"v":1},"event":{}}', spaced)
    stage.send("good")
    forwarder = start_service("moog-forwarder", **to(moogsoft))
    assert moogsoft.wait_delivered(1) == ["good"]
    wait_for(lambda: len(stage.dead()) == 3, "three dead letters")
    assert {letter["_mutt"]["last_error"]["type"] for letter in stage.dead()} == {"undecodable"}
    assert all("raw_base64" in letter for letter in stage.dead())
    wait_for(lambda: forwarder.metric("mutt_moog_alerts_processed_total", status="dlq") == 3, "the metric")


def test_a_batch_is_one_request_and_a_refused_one_is_split(
    stage: Stage, moogsoft: Moogsoft, start_service: StartService
) -> None:
    moogsoft.answer = lambda request: Reply(400 if "bad 7" in request.messages else 200)
    messages = [f"good {index}" for index in range(7)] + ["bad 7"] + [f"good {index}" for index in range(8, 40)]
    stage.send(*messages)
    start_service("moog-forwarder", **to(moogsoft, MOOG_BATCH_MODE="events"))
    delivered = moogsoft.wait_delivered(39)
    assert sorted(delivered) == sorted(message for message in messages if message != "bad 7")
    wait_for(stage.dead, "a dead letter")
    assert [letter["event"]["message"] for letter in stage.dead()] == ["bad 7"]
    assert len(moogsoft.requests) < 20
    assert len(moogsoft.requests[0].alerts) > 10


def test_a_batch_keeps_a_problem_and_its_clear_apart(
    stage: Stage, moogsoft: Moogsoft, start_service: StartService
) -> None:
    messages = [f"Interface Gi0/{port}, changed state to {state}" for state in ("down", "up") for port in range(5)]
    stage.send(*messages)
    start_service("moog-forwarder", **to(moogsoft, MOOG_BATCH_MODE="events"))
    moogsoft.wait_delivered(10)
    assert all(
        len({one["signature"] for one in request.alerts}) == len(request.alerts) for request in moogsoft.requests
    )
    severities: dict[str, list[int]] = {}
    for request in moogsoft.requests:
        for one in request.alerts:
            severities.setdefault(one["signature"], []).append(one["severity"])
    assert all(found[-1] == 0 and len(found) == 2 for found in severities.values())


def test_the_saas_profile_is_sent_when_asked_for(stage: Stage, moogsoft: Moogsoft, start_service: StartService) -> None:
    (event_id,) = stage.send("disk full")
    start_service("moog-forwarder", **to(moogsoft, MOOG_PROFILE="saas"))
    moogsoft.wait_delivered(1)
    assert moogsoft.requests[0].alerts[0]["tags"]["external_id"] == event_id
    assert "dedupe_key" in moogsoft.requests[0].alerts[0]


def test_the_limit_is_shared_and_nothing_is_dropped(
    stage: Stage, moogsoft: Moogsoft, start_service: StartService
) -> None:
    stage.send(*(f"alert {index}" for index in range(30)))
    limit = {"MOOG_RATE_LIMIT": "5", "MOOG_RATE_PERIOD": "0.5", "MOOG_CONCURRENCY": "4"}
    forwarders = [start_service("moog-forwarder", **to(moogsoft, **limit)) for _ in range(2)]
    moogsoft.wait_delivered(30)
    times = sorted(request.at for request in moogsoft.requests)
    assert times[-1] - times[0] >= 2.3
    # The tokens are stamped by Redis, the arrivals here: a request that was late may share a window with the next ones.
    assert all(sum(at <= other < at + 0.4 for other in times) <= 8 for at in times)
    hits = sum(forwarder.metric("mutt_moog_rate_limit_hits_total") or 0 for forwarder in forwarders)
    assert hits > 0
    sent = [forwarder.metric("mutt_moog_requests_total", status="success", reason="") or 0 for forwarder in forwarders]
    assert all(sent)
    assert sum(sent) == 30


def test_the_rate_limit_can_be_changed_while_it_runs(
    stage: Stage, moogsoft: Moogsoft, start_service: StartService
) -> None:
    start_service(
        "moog-forwarder", **to(moogsoft, MOOG_RATE_LIMIT="1", MOOG_RATE_PERIOD="60", DYNAMIC_CONFIG_ENABLED="true")
    )
    stage.send("one", "two", "three")
    moogsoft.wait_delivered(1)
    stage.redis.set("mutt:config:moog_rate_limit", 100)
    stage.redis.publish("mutt:config:updates", "moog_rate_limit")
    moogsoft.wait_delivered(3)


def test_deliveries_go_on_without_postgresql(stage: Stage, moogsoft: Moogsoft, start_service: StartService) -> None:
    stage.send("disk full")
    forwarder = start_service("moog-forwarder", wait=False, **to(moogsoft, DB_PORT="9"))
    moogsoft.wait_delivered(1)
    assert '"postgres":"disconnected"' in forwarder.wait_health(503).replace(" ", "")
    wait_for(stage.is_empty, "nothing is left")
    assert forwarder.terminate() == 0


def test_an_answer_of_any_size_is_taken(stage: Stage, moogsoft: Moogsoft, start_service: StartService) -> None:
    moogsoft.answer = lambda request: Reply(200 if request.messages == ["good"] else 400, body=b"x" * 3_000_000)
    stage.send("bad", "good")
    start_service("moog-forwarder", **to(moogsoft))
    moogsoft.wait_delivered(1)
    wait_for(stage.dead, "a dead letter")
    assert len(stage.dead()[0]["_mutt"]["last_error"]["message"]) < 600


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"MOOG_WEBHOOK_URL": ""}, "MOOG_WEBHOOK_URL is not set"),
        ({"MOOG_WEBHOOK_URL": "http://moog.example/events"}, "MOOG_ALLOW_HTTP=true"),
        ({"MOOG_WEBHOOK_URL": "moog.example"}, "https://host/path"),
        ({"MOOG_WEBHOOK_URL": "https://user:word@moog.example/"}, "MOOG_API_KEY"),
        ({"MOOG_BATCH_MODE": "many"}, "single, events"),
        ({"MOOG_HEARTBEAT_INTERVAL": "20"}, "MOOG_JANITOR_TIMEOUT"),
        ({"MOOG_CA_CERT_PATH": "/nowhere.pem"}, "MOOG_CA_CERT_PATH"),
    ],
)
def test_a_start_with_an_impossible_setting_is_refused_in_words(
    start_service: StartService, variables: dict[str, Any], words: str
) -> None:
    forwarder = start_service("moog-forwarder", wait=False, **variables)
    assert forwarder.process.wait(20) == 78
    assert words in forwarder.log()


def test_the_server_is_verified_and_a_private_authority_can_be_named(stage: Stage, start_service: StartService) -> None:
    moogsoft = Moogsoft(tls=True)
    try:
        stage.send("disk full")
        suspicious = start_service("moog-forwarder", **to(moogsoft, MOOG_MAX_RETRIES="1000"))
        wait_for(
            lambda: (suspicious.metric("mutt_moog_requests_total", status="fail", reason="connection") or 0) > 1,
            "refused certificates",
        )
        assert moogsoft.requests == []
        suspicious.wait_log("CERTIFICATE_VERIFY_FAILED")
        assert suspicious.terminate() == 0
        start_service("moog-forwarder", **to(moogsoft, MOOG_CA_CERT_PATH=str(TLS_FOLDER / "certificate.pem")))
        moogsoft.wait_delivered(1)
    finally:
        moogsoft.close()


def test_requests_are_not_more_at_once_than_is_set(
    stage: Stage, moogsoft: Moogsoft, start_service: StartService
) -> None:
    under_way, most = [0], [0]
    lock = threading.Lock()

    def answer(_request: Request) -> Reply:
        with lock:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        time.sleep(0.02)
        with lock:
            under_way[0] -= 1
        return Reply()

    moogsoft.answer = answer
    stage.send(*(f"alert {index}" for index in range(60)))
    start_service("moog-forwarder", **to(moogsoft, MOOG_CONCURRENCY="4"))
    moogsoft.wait_delivered(60)
    assert 2 <= most[0] <= 4
    assert sorted(moogsoft.ids()) == sorted(set(moogsoft.ids()))


def test_the_circuit_keys_of_a_closed_circuit_are_gone_or_say_so(
    stage: Stage, moogsoft: Moogsoft, start_service: StartService
) -> None:
    stage.send("disk full")
    start_service("moog-forwarder", **to(moogsoft))
    moogsoft.wait_delivered(1)
    wait_for(stage.is_empty, "nothing is left")
    assert stage.redis.get(keys.CIRCUIT_FAILURES) in (None, b"0")
    assert stage.state() == "CLOSED"
