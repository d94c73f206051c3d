"""The ingest route as HTTP: keys, framings, pipelines, slow and broken senders, and what a stop leaves behind."""

import base64
import contextlib
import gzip
import json
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from scripts.devtools.embedded import RedisServer
from tests.harness.credentials import INGEST_API_KEY
from tests.harness.processes import StartService, fetch
from tests.harness.waiting import wait_for
from tests.service.ingest_api import TRACE, Wire, counted, event, post, queued, refused, request


def line(**changes: object) -> bytes:
    return json.dumps(event(**changes)).encode()


def test_every_form_of_a_key_is_taken(start_service: StartService) -> None:
    ingestor = start_service("ingestor", INGEST_API_KEY_NEXT="the:next-key")

    for key in (INGEST_API_KEY, "the:next-key"):
        assert post(ingestor, event(), key=key).status_code == 200
        basic = base64.b64encode(f"anyone:{key}".encode()).decode()
        for value in (f"Bearer {key}", f"bearer {key}", f"Splunk {key}", f"Basic {basic}", f"basic  {basic}"):
            assert post(ingestor, event(), key=None, headers={"Authorization": value}).status_code == 200
    # X-API-KEY decides where both are given.
    refused(post(ingestor, event(), key="wrong", headers={"Authorization": f"Bearer {INGEST_API_KEY}"}), 401)


def test_every_form_of_a_body_is_taken_whatever_its_content_type(start_service: StartService, redis_url: str) -> None:
    ingestor = start_service("ingestor")
    lines = [line(n=number) for number in range(3)]
    forms = {
        "array": b"[" + b",".join(lines) + b"]",
        "ndjson": b"\n".join(lines) + b"\n",
        "crlf": b"\r\n".join(lines),
        "joined": b"".join(lines),
        "pretty": b"\n".join(json.dumps(json.loads(item), indent=2).encode() for item in lines),
        "commas": b",\n".join(lines),
        "mark": b"\xef\xbb\xbf[" + b",".join(lines) + b"]",
    }

    for form, body in forms.items():
        for content_type in ("application/json", "text/plain", "application/x-ndjson"):
            headers = {"Content-Type": content_type}
            assert post(ingestor, body, headers=headers).json()["accepted"] == 3, form
        assert post(ingestor, gzip.compress(body), headers={"Content-Encoding": "gzip"}).json()["accepted"] == 3, form
        assert post(ingestor, gzip.compress(body)).json()["accepted"] == 3, form
    assert post(ingestor, gzip.compress(lines[0]), headers={"Content-Encoding": "gzip"}).json()["status"] == "queued"
    assert len(queued(redis_url)) == len(forms) * 5 * 3 + 1


def test_dirty_syslog_is_kept_and_flagged(start_service: StartService, redis_url: str) -> None:
    ingestor = start_service("ingestor")
    clean = line()[:-1]

    for dirt in (b',"x":"a\xff"}', rb',"x":"a\u0000"}', rb',"x":"a\ud800"}', b',"x":"a\x00"}'):
        assert post(ingestor, clean + dirt).json()["status"] == "queued"
    assert post(ingestor, b'{"_mutt":{"event_id":"x"},' + line()[1:]).status_code == 200
    assert post(ingestor, clean + b',"huge":1e400,"long":' + b"9" * 5000 + b"}").status_code == 200

    *dirty, forged, huge = queued(redis_url)
    assert [(item.fields["x"], item.envelope.sanitized) for item in dirty] == [("a\ufffd", True)] * 4
    assert forged.fields["client__mutt"] == {"event_id": "x"}
    assert (huge.fields["huge"], huge.fields["long"]) == ("1e400", "9" * 5000)


def test_pipelined_requests_are_answered_in_order(start_service: StartService) -> None:
    ingestor = start_service("ingestor")

    with Wire(ingestor) as wire:
        wire.send(
            request(line())
            + b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n"
            + request(line(), key="wrong")
            + request(b"[" + line() + b"," + line() + b"]", path="/ingest")
            + request(b"{")
            + request(line()) * 300
        )
        replies = [wire.read() for _ in range(305)]

    assert [status for status, _, _ in replies[:5]] == [200, 200, 401, 200, 400]
    assert json.loads(replies[1][2])["live"] is True
    assert json.loads(replies[3][2])["accepted"] == 2
    depths = [json.loads(body)["queue_depth"] for _, _, body in replies[5:]]
    assert depths == list(range(4, 304))


def test_a_connection_is_used_again_and_each_of_its_requests_is_judged_anew(start_service: StartService) -> None:
    ingestor = start_service("ingestor")

    with Wire(ingestor) as wire:
        for body in (line(), line(), line(more="x" * 500), b"{", line(), b"[" + line() + b"]"):
            wire.send(request(body, f"X-Correlation-ID: {TRACE}"))
            status, headers, _ = wire.read()
            assert status == (400 if body == b"{" else 200)
            assert "connection" not in headers
            assert "date" in headers
        wire.send(request(line(), key="test-ingest-kez"))
        assert wire.read()[0] == 401
        wire.send(request(line()) + request(line())[:40])
        assert wire.read()[0] == 200
        wire.send(request(line())[40:])
        assert wire.read()[0] == 200


def test_the_connection_is_closed_for_a_sender_that_wants_it(start_service: StartService) -> None:
    ingestor = start_service("ingestor")

    with Wire(ingestor) as wire:
        wire.send(request(line(), "Connection: close"))
        status, headers, _ = wire.read()
        assert (status, headers["connection"]) == (200, "close")
        assert wire.is_closed()
    with Wire(ingestor) as wire:
        wire.send(request(line()).replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert wire.read()[0] == 200
        assert wire.is_closed()


def test_a_sender_that_asks_first_is_told_to_continue_only_with_a_valid_key(start_service: StartService) -> None:
    ingestor = start_service("ingestor")
    body = line()

    with Wire(ingestor) as wire:
        wire.send(request(b"", "Expect: 100-continue", f"Content-Length: {len(body)}"))
        assert wire.read()[0] == 100
        wire.send(body)
        assert wire.read()[0] == 200
    with Wire(ingestor) as wire:
        wire.send(request(b"", "Expect: 100-continue", f"Content-Length: {len(body)}", key="wrong"))
        assert wire.read()[0] == 401
        assert wire.is_closed()
    with Wire(ingestor) as wire:
        wire.send(request(b"", "Expect: 100-continue", "Content-Length: 17000000"))
        assert wire.read()[0] == 413
        assert wire.is_closed()


def test_a_body_may_come_in_chunks_and_byte_by_byte(start_service: StartService, redis_url: str) -> None:
    ingestor = start_service("ingestor")
    body = line(text="é")

    def chunks(size: int) -> Iterator[bytes]:
        for at in range(0, len(body), size):
            piece = body[at : at + size]
            yield f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
        yield b"0\r\n\r\n"

    with Wire(ingestor) as wire:
        for size in (1, 7, 1000):
            wire.send(request(b"", "Transfer-Encoding: chunked"))
            for chunk in chunks(size):
                wire.send(chunk)
            assert wire.read()[0] == 200
        for byte in request(body):
            wire.send(bytes([byte]))
        assert wire.read()[0] == 200
    assert [item.fields["text"] for item in queued(redis_url)] == ["é"] * 4


def test_a_chunked_body_over_the_limit_is_refused_while_it_comes(start_service: StartService) -> None:
    ingestor = start_service("ingestor", INGEST_MAX_BODY_BYTES="10000")

    with Wire(ingestor) as wire:
        wire.send(request(b"", "Transfer-Encoding: chunked"))
        for _ in range(12):
            wire.send(b"400\r\n" + b"x" * 1024 + b"\r\n")
        status, headers, _ = wire.read()
        assert (status, headers["connection"]) == (413, "close")
    with Wire(ingestor) as wire:
        wire.send(request(b"x" * 20_000))
        assert wire.read()[0] == 413
        wire.send(request(line()))
        assert wire.read()[0] == 200, "the rest of a small refused body is thrown away"
    assert counted(ingestor, "too_large") == 2


def test_the_key_is_checked_before_the_body_is_read(start_service: StartService) -> None:
    ingestor = start_service("ingestor")

    with Wire(ingestor) as wire:
        wire.send(request(b"", "Content-Length: 100000", key="wrong"))
        assert wire.read()[0] == 401
        wire.send(b"x" * 100_000 + request(line()))
        assert wire.read()[0] == 200


def test_a_body_that_does_not_come_in_time_is_refused(start_service: StartService) -> None:
    ingestor = start_service("ingestor", INGEST_BODY_TIMEOUT="0.3", INGEST_KEEP_ALIVE="1")

    with Wire(ingestor) as slow, Wire(ingestor) as half, Wire(ingestor) as silent, Wire(ingestor) as refused_one:
        slow.send(request(b"{", "Content-Length: 100"))
        half.send(b"POST /api/v2/ing")
        refused_one.send(request(b"{", "Content-Length: 100", key="wrong"))
        assert slow.read()[0] == 408
        assert refused_one.read()[0] == 401
        for wire in (slow, half, silent, refused_one):
            assert wire.is_closed()
    assert counted(ingestor, "json") == 1


def test_a_request_that_waits_for_redis_is_not_refused_for_the_next_one_that_comes_slowly(
    start_service: StartService, own_redis: RedisServer
) -> None:
    ingestor = start_service("ingestor", INGEST_BODY_TIMEOUT="0.3", REDIS_TIMEOUT="60")

    with Wire(ingestor) as wire, Wire(ingestor) as late:
        own_redis.pause()
        wire.send(request(line()) + b"POST /api/v2/ing")
        assert fetch(ingestor.live_url)[0] == 200
        late.send(b"POST /api/v2/ing")
        assert late.is_closed()
        own_redis.resume()
        assert wire.read()[0] == 200


def test_bodies_under_way_are_bounded_in_all(start_service: StartService) -> None:
    ingestor = start_service("ingestor", INGEST_MAX_IN_FLIGHT_BYTES="100000")

    with Wire(ingestor) as first, Wire(ingestor) as second:
        first.send(request(b"[" + b" " * 70_000, "Content-Length: 70002"))
        wait_for(lambda: post(ingestor, b"[" + b" " * 60_000 + b"]").status_code == 503, "the bound to be reached")
        second.send(request(b"[" + b" " * 60_000 + b"]"))
        status, headers, _ = second.read()
        assert status == 503
        assert int(headers["retry-after"]) >= 1
        first.send(b"]")
        assert first.read()[0] == 200
        second.send(request(b"[" + b" " * 60_000 + b"]"))
        assert second.read()[0] == 200
    with Wire(ingestor) as gone:
        gone.send(request(b"[" + b" " * 70_000, "Content-Length: 70002"))
    wait_for(lambda: post(ingestor, b"[" + b" " * 90_000 + b"]").status_code == 200, "what a sender left to be freed")


def test_a_sender_that_offers_http_2_is_answered_in_http_1(start_service: StartService) -> None:
    ingestor = start_service("ingestor")

    with Wire(ingestor) as wire:
        for _ in range(3):
            wire.send(request(line(), "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMA"))
            assert wire.read()[0] == 200


def test_what_is_no_http_is_refused_without_harm(start_service: StartService) -> None:
    ingestor = start_service("ingestor")

    for noise in (b"<14>1 syslog line\r\n\r\n", b"\x16\x03\x01\x02\x00", request(b"", "Content-Length: -1")):
        with Wire(ingestor) as wire:
            wire.send(noise)
            assert wire.read()[0] == 400
    both = request(b"0\r\n\r\n", "Content-Length: 5", "Transfer-Encoding: chunked")
    with Wire(ingestor) as wire:
        wire.send(both)
        assert wire.read()[0] == 400
    assert post(ingestor, event()).status_code == 200


def test_a_sender_that_reads_no_reply_is_not_read_from_for_ever(start_service: StartService) -> None:
    ingestor = start_service("ingestor")
    unread = request(b"", key="wrong") * 100

    with Wire(ingestor) as wire:
        wire.patience(0.5)
        with pytest.raises(TimeoutError):
            wire.send(unread * (100_000_000 // len(unread)))
    assert post(ingestor, event()).status_code == 200


def test_a_head_that_does_not_end_is_refused(start_service: StartService) -> None:
    ingestor = start_service("ingestor")

    for endless in (b"x-more: " + b"y" * 1000 + b"\r\n", b"z" * 1000):
        with Wire(ingestor) as wire:
            wire.send(b"POST /api/v2/ingest HTTP/1.1\r\nx-first: ")
            with contextlib.suppress(ConnectionError):
                for _ in range(300_000):
                    wire.send(endless)
                raise AssertionError("300 MB of headers were read")


def test_what_follows_a_chunked_body_without_end_is_refused_with_and_without_a_key(start_service: StartService) -> None:
    ingestor = start_service("ingestor")

    for key in (b"", b"X-API-KEY: " + INGEST_API_KEY.encode() + b"\r\n"):
        for begin, endless in ((b"0\r\n", b"x-more: " + b"y" * 1000 + b"\r\n"), (b"0\r\nx-first: ", b"z" * 1000)):
            with Wire(ingestor) as wire:
                wire.send(b"POST /api/v2/ingest HTTP/1.1\r\n" + key + b"Transfer-Encoding: chunked\r\n\r\n" + begin)
                with contextlib.suppress(ConnectionError):
                    for _ in range(300_000):
                        wire.send(endless)
                    raise AssertionError("300 MB of trailers were read")
    assert post(ingestor, event()).status_code == 200


def test_a_large_batch_is_taken_whole(start_service: StartService, redis_url: str) -> None:
    ingestor = start_service("ingestor")
    batch = b"[" + b",".join(line(n=number) for number in range(20_000)) + b"]"

    for body in (batch, gzip.compress(batch)):
        assert post(ingestor, body).json()["accepted"] == 20_000

    assert [item.fields["n"] for item in queued(redis_url)] == [*range(20_000), *range(20_000)]


def test_a_stop_answers_what_is_in_flight_and_takes_nothing_new(
    start_service: StartService, own_redis: RedisServer
) -> None:
    ingestor = start_service("ingestor", REDIS_TIMEOUT="2", INGEST_BODY_TIMEOUT="300")
    body = line()
    with Wire(ingestor) as slow, Wire(ingestor) as idle, ThreadPoolExecutor(4) as threads:
        idle.send(request(line()))
        assert idle.read()[0] == 200
        slow.send(request(body[:5], f"Content-Length: {len(body)}"))
        own_redis.pause()
        waiting = [threads.submit(post, ingestor, event()) for _ in range(4)]
        wait_for(lambda: ingestor.metric("mutt_ingest_queue_depth") is None, "Redis to be missed")
        own_redis.resume()
        ingestor.signal(signal.SIGTERM)
        assert idle.is_closed()
        with pytest.raises(requests.ConnectionError):
            post(ingestor, event())
        slow.send(body[5:])
        status, headers, _ = slow.read()
        assert (status, headers["connection"]) == (200, "close")
        statuses = [reply.result().status_code for reply in waiting]
    assert ingestor.process.wait(60) == 0
    accepted = 2 + statuses.count(200)
    assert set(statuses) <= {200, 503}
    assert len(queued(own_redis.url)) >= accepted


def test_a_hangup_changes_nothing(start_service: StartService) -> None:
    ingestor = start_service("ingestor")

    ingestor.signal(signal.SIGHUP)

    assert post(ingestor, event()).status_code == 200
    assert ingestor.terminate() == 0
