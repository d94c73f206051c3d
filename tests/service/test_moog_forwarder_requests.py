"""The forwarder's requests: what they carry, how they are secured, how many there are."""

import gzip
import threading
import time

import pytest

from tests.harness.credentials import MOOG_API_KEY
from tests.harness.processes import StartService
from tests.harness.waiting import wait_for
from tests.service.moog_stage import TLS_FOLDER, Moogsoft, Reply, Request, Stage, to


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
    limit = {"MOOG_RATE_LIMIT": "5", "MOOG_RATE_PERIOD": "0.5", "MOOG_CONCURRENCY": "4"}
    forwarders = [start_service("moog-forwarder", **to(moogsoft, **limit)) for _ in range(2)]
    begun = time.monotonic()
    stage.send(*(f"alert {index}" for index in range(30)))
    moogsoft.wait_delivered(30)
    times = sorted(request.at - begun for request in moogsoft.requests)
    # A request may arrive late, but none before its token, of which there are five each half second.
    assert all(at >= index // 5 * 0.5 - 0.05 for index, at in enumerate(times)), times
    hits = sum(forwarder.metric("mutt_moog_rate_limit_hits_total") or 0 for forwarder in forwarders)
    assert hits > 0

    def sent() -> list[float]:
        name = "mutt_moog_requests_total"
        return [forwarder.metric(name, status="success", reason="") or 0 for forwarder in forwarders]

    # Moogsoft knows of a request before the forwarder has read the answer and counted it.
    wait_for(lambda: sum(sent()) >= 30, "an answer to each request")
    assert sum(sent()) == 30
    assert all(sent())


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


def test_an_answer_of_any_size_is_taken(stage: Stage, moogsoft: Moogsoft, start_service: StartService) -> None:
    moogsoft.answer = lambda request: Reply(200 if request.messages == ["good"] else 400, body=b"x" * 3_000_000)
    stage.send("bad", "good")
    start_service("moog-forwarder", **to(moogsoft))
    moogsoft.wait_delivered(1)
    wait_for(stage.dead, "a dead letter")
    assert len(stage.dead()[0]["_mutt"]["last_error"]["message"]) < 600


def test_a_denial_is_read_from_a_server_that_compresses_for_whoever_takes_it(
    stage: Stage, moogsoft: Moogsoft, start_service: StartService
) -> None:
    denial = b'{"success": false, "message": "the queue is full"}'

    def answer(request: Request) -> Reply:
        if moogsoft.requests:
            return Reply()
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            return Reply(headers={"Content-Encoding": "gzip"}, body=gzip.compress(denial))
        return Reply(body=denial)

    moogsoft.answer = answer
    (event_id,) = stage.send("disk full")
    start_service("moog-forwarder", **to(moogsoft))
    wait_for(lambda: len(moogsoft.requests) > 1, "a second attempt")
    assert {alert["external_id"] for request in moogsoft.requests for alert in request.alerts} == {event_id}


def test_a_start_with_an_impossible_setting_is_refused_in_words(start_service: StartService) -> None:
    forwarder = start_service("moog-forwarder", wait=False, MOOG_CA_CERT_PATH="/nowhere.pem")
    assert forwarder.process.wait(60) == 78
    assert "MOOG_CA_CERT_PATH='/nowhere.pem' cannot be read" in forwarder.log()


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
        suspicious.wait_log("is signed by nobody trusted here: name its authority in MOOG_CA_CERT_PATH")
        assert suspicious.terminate() == 0
        start_service("moog-forwarder", **to(moogsoft, MOOG_CA_CERT_PATH=str(TLS_FOLDER / "certificate.pem")))
        moogsoft.wait_delivered(1)
    finally:
        moogsoft.close()


def test_requests_are_not_more_at_once_than_is_set(
    stage: Stage, moogsoft: Moogsoft, start_service: StartService
) -> None:
    under_way, most = [0], [0]
    lock, all_there = threading.Lock(), threading.Event()

    def answer(_request: Request) -> Reply:
        with lock:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
            if under_way[0] == 4:
                all_there.set()
        all_there.wait(30)
        time.sleep(0.02)  # for one more to come, if it would
        with lock:
            under_way[0] -= 1
        return Reply()

    moogsoft.answer = answer
    stage.send(*(f"alert {index}" for index in range(60)))
    start_service("moog-forwarder", **to(moogsoft, MOOG_CONCURRENCY="4", MOOG_WEBHOOK_TIMEOUT="60"))
    moogsoft.wait_delivered(60)
    assert most[0] == 4
    assert sorted(moogsoft.ids()) == sorted(set(moogsoft.ids()))
