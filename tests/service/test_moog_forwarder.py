"""The forwarder as a process on a real Redis and PostgreSQL: every class of answer, and what each costs an alert."""

import threading
from datetime import datetime
from typing import Any

import psycopg
import pytest

from mutt import keys
from tests.harness.moogsoft import MoogStandIn
from tests.harness.processes import StartService, fetch
from tests.harness.waiting import wait_for
from tests.service.moog_stage import ALERTS, LONG_OPEN, PATIENT, Moogsoft, Reply, Stage, alert, to


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
    wait_for(lambda: forwarder.metric("mutt_moog_requests_total", status="fail", reason="4xx") == 1, "the metric")


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
    wait_for(lambda: forwarder.metric("mutt_moog_requests_total", status="fail", reason="throttled") == 2, "the metric")


@pytest.mark.parametrize("status", [401, 404, 302])
def test_a_misconfiguration_costs_no_alert_anything(
    stage: Stage, moogsoft: Moogsoft, start_service: StartService, status: int
) -> None:
    elsewhere = {"Location": moogsoft.url + "/elsewhere"}
    moogsoft.answer = lambda _: Reply(status, elsewhere)
    stage.send("first", "second")
    forwarder = start_service("moog-forwarder", wait=False, **to(moogsoft, MOOG_CONCURRENCY="1", **LONG_OPEN))
    wait_for(lambda: stage.state() == "OPEN" and stage.held() == 0, "the circuit is open, nothing is held")

    def told() -> bool:
        found, body = fetch(forwarder.health_url)
        return found == 503 and str(status) in body and "OPEN" in body

    wait_for(told, "the reason in health")
    wait_for(lambda: forwarder.metric("mutt_moog_circuit_state") == 1, "the gauge of the circuit")
    assert len(moogsoft.requests) == 1
    assert sorted(stage.queued()) == ["first", "second"]
    moogsoft.answer = lambda _: Reply()
    stage.let_open_time_pass()
    assert sorted(moogsoft.wait_delivered(2)) == ["first", "second"]
    forwarder.wait_healthy()
    assert stage.dead() == []
    wait_for(lambda: forwarder.metric("mutt_moog_requests_total", status="fail", reason="config") == 1, "the metric")


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
    forwarder = start_service("moog-forwarder", **to(moogsoft, MOOG_WEBHOOK_TIMEOUT="60", MOOG_CONCURRENCY="2"))
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
    forwarder = start_service("moog-forwarder", **PATIENT, MOOG_WEBHOOK_TIMEOUT="3")
    wait_for(lambda: moog_stand_in.stats()["count"] == 1, "the second attempt")
    assert moog_stand_in.alerts()[0]["external_id"] == event_id
    wait_for(lambda: forwarder.metric("mutt_moog_requests_total", status="fail", reason="timeout") == 1, "the metric")


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
    assert due / 1000 - seconds <= 61
    assert due / 1000 - datetime.fromisoformat(entry["_mutt"]["last_error"]["at"]).timestamp() > 50
    wait_for(lambda: '"queue_depth":1' in forwarder.wait_health(200).replace(" ", ""), "it counts in the depth")


def test_a_clear_never_overtakes_its_problem(stage: Stage, moogsoft: Moogsoft, start_service: StartService) -> None:
    link = "%LINK-3-UPDOWN: Interface Gi0/1, changed state to"
    failures = iter([Reply(503), Reply(503)])
    moogsoft.answer = lambda request: next(failures, Reply()) if request.messages == [f"{link} down"] else Reply()
    stage.send(f"{link} down", f"{link} up", "something else")
    start_service("moog-forwarder", **to(moogsoft, MOOG_RETRY_BASE_DELAY="0.3"))
    delivered = moogsoft.wait_delivered(3)
    assert [message for message in delivered if message != "something else"] == [f"{link} down", f"{link} up"]
    assert [
        one["severity"] for request in moogsoft.requests for one in request.alerts if "up" in one["description"]
    ] == [0]
    wait_for(stage.is_empty, "nothing is left")


def test_bytes_that_are_no_alert_are_dead_letters(
    stage: Stage, moogsoft: Moogsoft, start_service: StartService
) -> None:
    _, spaced = alert("put there by hand")
    spaced = spaced.replace(b'{"_mutt":{', b'{ "_mutt": {')
    _, twice = alert("two envelopes, one of them in disguise")
    mutt, _, rest = twice.partition(b',"event":')
    twice = mutt + b',"\\u005fmutt":' + mutt.replace(b'{"_mutt":{', b"{ ") + b',"event":' + rest
    stage.redis.lpush(ALERTS, b"\xff\xfenot json", b'{"_mutt":{"v":1},"event":{}}', spaced, twice)
    stage.send("good")
    forwarder = start_service("moog-forwarder", **to(moogsoft))
    assert moogsoft.wait_delivered(1) == ["good"]
    wait_for(lambda: len(stage.dead()) == 4, "four dead letters")
    assert {letter["_mutt"]["last_error"]["type"] for letter in stage.dead()} == {"undecodable"}
    assert all("raw_base64" in letter for letter in stage.dead())
    wait_for(lambda: forwarder.metric("mutt_moog_alerts_processed_total", status="dlq") == 4, "the metric")


def test_deliveries_go_on_without_postgresql(stage: Stage, moogsoft: Moogsoft, start_service: StartService) -> None:
    stage.send("disk full")
    forwarder = start_service("moog-forwarder", wait=False, **to(moogsoft, DB_PORT="9"))
    moogsoft.wait_delivered(1)
    assert '"postgres":"disconnected"' in forwarder.wait_health(503).replace(" ", "")
    wait_for(stage.is_empty, "nothing is left")
    assert forwarder.terminate() == 0


def test_the_circuit_keys_of_a_closed_circuit_are_gone_or_say_so(
    stage: Stage, moogsoft: Moogsoft, start_service: StartService
) -> None:
    stage.send("disk full")
    start_service("moog-forwarder", **to(moogsoft))
    moogsoft.wait_delivered(1)
    wait_for(stage.is_empty, "nothing is left")
    assert stage.redis.get(keys.CIRCUIT_FAILURES) in (None, b"0")
    assert stage.state() == "CLOSED"
