"""Splunk's HTTP Event Collector on a real ingestor: its words, its codes, and the ingest route's promise."""

import contextlib
import gzip
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests
from backports import zstd

from tests.harness.credentials import INGEST_API_KEY
from tests.harness.programs import program
from tests.service.doors import BASIC, SPLUNK, Doors, wait_answer
from tests.service.ingest_api import TRACE, Wire, request

BASE = "/services/collector"
EVENT, RAW = f"{BASE}/event", f"{BASE}/raw"
SUCCESS = {"text": "Success", "code": 0}
PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "senders.md"


def refused(reply: requests.Response, status: int, code: int, text: str) -> dict[str, Any]:
    """Return a refusal's body once it is Splunk's."""
    body: dict[str, Any] = reply.json()
    assert (reply.status_code, body["code"], body["text"]) == (status, code, text)
    assert body["detail"]
    assert len(body["correlation_id"]) == 36
    assert reply.headers["Content-Type"] == "application/json"
    return body


def test_events_are_taken_on_every_path_of_splunks(doors: Doors) -> None:
    for path in (BASE, EVENT, f"{EVENT}/1.0", f"{EVENT}?channel=5f0c7c5e-8f0e-4c8b-9f0a-6d2f7d0a9b11"):
        reply = doors.post(path, b'{"event":"one","host":"sw1"}\n{"event":"two","host":"sw1"}')
        assert reply.status_code == 200
        assert reply.json() == SUCCESS
    for path in (RAW, f"{RAW}/1.0"):
        assert doors.post(f"{path}?host=sw1", b"one\ntwo\n").json() == SUCCESS

    assert [(item.hostname, item.message) for item in doors.events()] == [("sw1", "one"), ("sw1", "two")] * 6


def test_the_key_comes_in_splunks_forms_and_not_in_the_address(doors: Doors) -> None:
    body, before = b'{"event":"x"}', doors.counted("auth")
    for headers in (SPLUNK, BASIC, {"X-API-KEY": INGEST_API_KEY}, {"Authorization": f"Bearer {INGEST_API_KEY}"}):
        assert doors.post(EVENT, body, headers).json() == SUCCESS

    refused(doors.post(EVENT, body, {}), 401, 2, "Token is required")
    for wrong in ("Splunk", "Splunk ", "Token abc", INGEST_API_KEY):
        refused(doors.post(EVENT, body, {"Authorization": wrong}), 401, 3, "Invalid authorization")
    for wrong in ("Splunk wrong", "Basic eDp3cm9uZw==", "Splunk caf\xe9"):
        refused(doors.post(EVENT, body, {"Authorization": wrong}), 403, 4, "Invalid token")
    reply = doors.post(f"{EVENT}?token={INGEST_API_KEY}", body, {})
    refused(reply, 400, 16, "Query string authorization is not enabled")
    assert doors.counted("auth") == before + 9
    assert len(doors.events()) == 4


def test_packed_bodies_are_unpacked(doors: Doors) -> None:
    body = b'{"event":"caf\xc3\xa9","host":"h"}'
    assert doors.post(EVENT, gzip.compress(body), {**SPLUNK, "Content-Encoding": "gzip"}).json() == SUCCESS
    assert doors.post(EVENT, zstd.compress(body), {**SPLUNK, "Content-Encoding": "zstd"}).json() == SUCCESS
    assert doors.post(RAW, gzip.compress(b"line"), SPLUNK).json() == SUCCESS
    assert [item.message for item in doors.events()] == ["caf\xe9", "caf\xe9", "line"]
    for bomb in (gzip.compress(bytes(5_000_000)), zstd.compress(bytes(5_000_000))):
        refused(doors.post(EVENT, bomb), 413, 27, "Request entity too large")
    refused(doors.post(EVENT, body, {**SPLUNK, "Content-Encoding": "br"}), 400, 6, "Invalid data format")
    refused(doors.post(EVENT, gzip.compress(body)[:-4]), 400, 6, "Invalid data format")


def test_one_bad_event_alone_is_refused_with_its_code(doors: Doors) -> None:
    cases: list[tuple[bytes, int, str]] = [
        (b"", 5, "No data"),
        (b"text", 6, "Invalid data format"),
        (b'{"event":"x","time":"soon"}', 6, "Invalid data format"),
        (b'{"host":"h"}', 12, "Event field is required"),
        (b'{"event":""}', 13, "Event field cannot be blank"),
        (b'{"event":"x","fields":1}', 15, "Error in handling indexed fields"),
    ]
    for body, code, text in cases:
        found = refused(doors.post(EVENT, body), 400, code, text)
        assert found.get("invalid-event-number") == (None if code == 5 else 0)
    refused(doors.post(RAW, b"\n"), 400, 5, "No data")
    refused(doors.post(EVENT, b'{"event":"' + b"x" * 5000 + b'"}'), 413, 27, "Request entity too large")
    refused(doors.post(EVENT, b"x" * 300_000), 413, 27, "Request entity too large")
    refused(doors.post(EVENT, b'{"event":1}' * 151), 413, 27, "Request entity too large")
    refused(doors.post(f"{EVENT}?host={'h' * 300}", b'{"event":1}'), 400, 6, "Invalid data format")
    assert doors.events() == []
    assert doors.quarantined() == 0


def test_bad_events_among_good_ones_are_quarantined_and_named(doors: Doors) -> None:
    before, validation = doors.counted(""), doors.counted("validation")

    reply = doors.post(EVENT, b'{"event":"one"}{"event":""}{"event":"x","host":7}{"event":"two"}')

    body = reply.json()
    assert reply.status_code == 200
    assert (body["text"], body["code"], body["accepted"], body["rejected"]) == ("Success", 0, 2, 2)
    assert [item["index"] for item in body["errors"]] == [1, 2]
    assert doors.quarantined() == 2
    assert [item.message for item in doors.events()] == ["one", "two"]
    assert (doors.counted(""), doors.counted("validation")) == (before + 2, validation + 2)
    refused(doors.post(EVENT, b'{"a"{"b"'), 400, 6, "Invalid data format")


def test_a_repeated_event_with_an_id_is_the_same_event(doors: Doors) -> None:
    body = json.dumps({"event": {"message": "m", "correlation_id": TRACE}, "host": "h"}).encode()
    for _ in range(2):
        assert doors.post(EVENT, body).json() == SUCCESS
    first, second = doors.events()
    assert first.envelope.event_id == second.envelope.event_id


def test_a_full_queue_and_an_absent_redis_are_busy_and_tell_when_to_come_back(doors: Doors) -> None:
    with doors.full():
        for path, body in ((EVENT, b'{"event":"x"}'), (RAW, b"x")):
            reply = doors.post(path, body)
            refused(reply, 503, 9, "Server is busy")
            assert 5 <= int(reply.headers["Retry-After"]) <= 15
        assert doors.get(f"{BASE}/health").json()["code"] == 18
    assert doors.get(f"{BASE}/health").json() == {"text": "HEC is healthy", "code": 17}
    with doors.without_redis():
        reply = doors.post(EVENT, b'{"event":"x"}')
        refused(reply, 503, 9, "Server is busy")
        assert int(reply.headers["Retry-After"]) >= 1
        found = wait_answer(doors, f"{BASE}/health/1.0", 503)
        assert found.json() == {"text": "HEC is unhealthy, queues are full", "code": 18}
    assert doors.post(EVENT, b'{"event":"x"}').json() == SUCCESS


def test_acknowledgements_are_said_to_be_unnecessary_and_count_as_nothing(doors: Doors) -> None:
    before = sum(doors.counted(reason) for reason in ("auth", "json", "validation"))
    headers = {**SPLUNK, "X-Splunk-Request-Channel": TRACE}
    assert doors.post(EVENT, b'{"event":"x"}', headers).json() == SUCCESS
    for path in (f"{BASE}/ack", f"{BASE}/ack?channel={TRACE}"):
        reply = doors.post(path, b'{"acks":[0,1]}', headers)
        assert "200 is the acknowledgement" in refused(reply, 400, 14, "ACK is disabled")["detail"]
    assert sum(doors.counted(reason) for reason in ("auth", "json", "validation")) == before
    refused(doors.post(f"{BASE}/ack", b"{}", {}), 401, 2, "Token is required")


def test_other_methods_and_paths_are_answered_with_words(doors: Doors) -> None:
    for path in (BASE, EVENT, RAW, f"{BASE}/ack"):
        assert doors.get(path).status_code == 405
        assert requests.head(doors.ingestor.url + path, timeout=60).status_code == 405
    for path in (f"{BASE}/", f"{BASE}/s2s", f"{EVENT}/2.0"):
        reply = doors.post(path, b'{"event":"x"}')
        assert reply.status_code == 404
        assert "there is no" in reply.json()["message"]
    assert doors.post(f"{BASE}/health", b"").status_code == 405


def test_a_body_that_does_not_arrive_is_busy_and_not_the_events_fault(doors: Doors) -> None:
    with Wire(doors.ingestor) as slow, Wire(doors.ingestor) as keyless:
        slow.send(request(b'{"event":', "Content-Length: 100", path=EVENT))
        keyless.send(request(b"{", "Content-Length: 100", path=EVENT, key=None))
        assert keyless.read()[0] == 401
        status, headers, body = slow.read()
        assert (status, json.loads(body)["code"]) == (503, 9)
        assert int(headers["retry-after"]) >= 1
        assert slow.is_closed()
        assert keyless.is_closed()


def test_pipelined_requests_of_all_kinds_are_answered_in_their_order(doors: Doors) -> None:
    event = b'{"event":"x","host":"h"}'
    native = b'{"message":"n","hostname":"h","timestamp":1795000000}'
    wrong = request(event, path=EVENT, key="wrong")
    with Wire(doors.ingestor) as wire:
        wire.send(
            request(event, path=EVENT)
            + request(native)
            + wrong
            + b"GET /live HTTP/1.1\r\nHost: h\r\n\r\n"
            + request(b"line", path=f"{RAW}?host=h")
            + request(b"6\r\nline 2\r\n0\r\n\r\n", "Transfer-Encoding: chunked", path=RAW)
            + request(native)
        )
        replies = [wire.read() for _ in range(7)]
    assert [status for status, _, _ in replies] == [200, 200, 403, 200, 200, 200, 200]
    assert [json.loads(replies[place][2])["code"] for place in (0, 2, 4, 5)] == [0, 4, 0, 0]
    assert [item.message for item in doors.events() if item.message != "n"] == ["x", "line", "line 2"]


def test_a_connection_keeps_its_protocols_apart(doors: Doors) -> None:
    """What a connection sent before is known by sight on the ingest route, and must not be mistaken for another's."""
    native = request(b'{"message":"n","hostname":"h","timestamp":1795000000}'), "status"
    event = request(b'{"event":"x"}', path=EVENT), "text"
    with Wire(doors.ingestor) as wire:
        for sent, key in (native, native, event, event, native, event):
            wire.send(sent)
            status, _, body = wire.read()
            assert status == 200
            assert key in json.loads(body)


def test_a_wait_for_permission_to_send_is_answered_before_the_body(doors: Doors) -> None:
    with Wire(doors.ingestor) as wire:
        wire.send(request(b"", "Content-Length: 13", "Expect: 100-continue", path=EVENT))
        assert wire.read()[0] == 100
        wire.send(b'{"event":"x"}')
        assert wire.read()[0] == 200
    with Wire(doors.ingestor) as wire:
        wire.send(request(b"", "Content-Length: 13", "Expect: 100-continue", path=EVENT, key="wrong"))
        assert wire.read()[0] == 403


def test_hostile_bodies_harm_nobody(doors: Doors) -> None:
    for body in (
        b"\x00" * 5000,
        b"\xff\xfe" * 500,
        b"[" * 100_000,
        b'{"event":' * 5000,
        b'{"event":{"a":' + b'{"a":' * 500 + b"1" + b"}" * 502,
        b'{"event":"x","time":' + b"9" * 3000 + b"}",
        b'{"event":"x","time":1e999}',
        b'{"event":{"message":"x","n":' + b"9" * 3000 + b"}}",
        b'{"event":"\xed\xa0\x80\\ud800\\u0000"}',
        b'{"event":"x","event":""}',
    ):
        for path in (EVENT, RAW):
            assert doors.post(path, body).status_code in {200, 400, 413}
    assert doors.counted("internal") == 0
    for item in doors.events():
        assert "\x00" not in item.message
    with Wire(doors.ingestor) as gone, contextlib.suppress(ConnectionError):
        gone.send(request(b'{"event"', "Content-Length: 100", path=EVENT))
    assert doors.post(EVENT, b'{"event":"x"}').json() == SUCCESS


@pytest.mark.parametrize(
    ("title", "host", "message"),
    [("Splunk HTTP Event Collector", "sw1", "link down"), ("OTLP", "app1", "payment failed")],
)
def test_the_examples_of_the_page_are_taken_and_answered_as_it_says(
    doors: Doors, title: str, host: str, message: str
) -> None:
    section = PAGE.read_text(encoding="utf-8").split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]
    [(command, answer)] = re.findall(r"```sh\n(.+?)```\n+```json\n(.+?)```", section, re.DOTALL)
    curl = program("curl")
    environment = {
        **curl.environment,
        "PATH": f"{curl.path.parent}:{curl.environment['PATH']}",
        "MUTT_URL": doors.ingestor.url,
        "MUTT_API_KEY": INGEST_API_KEY,
        "no_proxy": "*",
    }

    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads(answer)
    [found] = doors.events()
    assert (found.hostname, found.message, found.severity) == (host, message, 3)
