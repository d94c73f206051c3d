"""Parts of the ingestor that need no server: heads known by sight, replies, failures within."""

import gc
import json
import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutt.intake import Taken
from mutt.settings import IngestorSettings, load
from services.ingestor import exchange as exchange_module
from services.ingestor.auth import KeyRing
from services.ingestor.door import Clock, Door
from services.ingestor.exchange import INLINE_BYTES, SMALL_BYTES, Exchange
from services.ingestor.head import Head, KnownHead, without_upgrade
from services.ingestor.outcomes import Outcomes
from services.ingestor.peers import Peer, Peers
from services.ingestor.room import Room
from services.ingestor.turns import Submission
from services.runtime.app import registry
from services.runtime.instruments import IngestorInstruments
from services.runtime.secrets import EnvironmentSecrets
from tests.harness.waiting import eventually
from tests.service.ingest_api import event

HEAD = b"POST /api/v2/ingest HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nX-API-KEY: k\r\n\r\n"


class Parsed:
    """What the HTTP parser makes of some bytes."""

    def __init__(self, data: bytes) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.bodies: list[bytes] = []
        self.complete = 0
        self.keep_alive = False
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.keep_alive = self.parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        self.bodies.append(body)

    def on_message_complete(self) -> None:
        self.complete += 1


def learn(data: bytes) -> KnownHead | None:
    parsed = Parsed(data)
    head = Head(parsed.headers, deprecated=False, keep_alive=parsed.keep_alive)
    return KnownHead.of_request(data, head, 1)


mutations = st.one_of(
    st.binary(max_size=12),
    st.sampled_from([b"", b"hello", b"Content-Length: 3\r\n", b"\r\n\r\n", b"Transfer-Encoding: chunked\r\n", b"0"]),
)


@given(st.integers(0, len(HEAD) + 5), st.integers(0, 4), mutations, st.binary(max_size=12))
def test_what_is_known_by_sight_is_what_the_parser_would_read(at: int, cut: int, put: bytes, body: bytes) -> None:
    known = learn(HEAD + b"hello")
    assert known is not None
    whole = HEAD.replace(b" 5\r\n", b" %d\r\n" % len(body)) + body
    assert known.body_of(whole) == body
    other = whole[:at] + put + whole[at + cut :]

    seen = known.body_of(other)

    if seen is not None:
        parsed = Parsed(other)
        assert parsed.complete == 1
        assert b"".join(parsed.bodies) == seen
        assert (parsed.url, dict(parsed.headers)[b"x-api-key"]) == (b"/api/v2/ingest", b"k")


@pytest.mark.parametrize(
    "data",
    [
        HEAD.replace(b"HTTP/1.1\r\n", b"HTTP/1.1\r\nExpect: 100-continue\r\n") + b"hello",
        HEAD.replace(b"HTTP/1.1\r\n", b"HTTP/1.1\r\nConnection: close\r\n") + b"hello",
        HEAD.replace(b"Content-Length: 5", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
        HEAD + b"hello" + HEAD + b"hello",
        HEAD + b"hel",
    ],
)
def test_a_head_that_says_more_than_a_length_is_not_learnt(data: bytes) -> None:
    assert learn(data) is None


def test_an_offer_of_another_protocol_is_taken_out_of_the_head_alone() -> None:
    data = b"POST / HTTP/1.1\r\nUPGRADE: h2c\r\n\r\n\r\nupgrade: body"

    assert without_upgrade(data) == b"POST / HTTP/1.1\r\nx-offered: h2c\r\n\r\n\r\nupgrade: body"
    assert without_upgrade(HEAD) == HEAD


@dataclass
class Sink:
    """A connection of which only what is sent matters."""

    peer: Peer
    sent: bytes = b""
    closed: list[bool] = field(default_factory=list)

    def send(self, data: bytes) -> None:
        self.sent += data

    def date(self) -> bytes:
        return b""

    def sender(self) -> str:
        return "192.0.2.1"

    def finished(self, _now: float, *, close: bool) -> None:
        self.closed.append(close)


class Pushed:
    """In the place of the queue: takes everything at once."""

    def __init__(self) -> None:
        self.events = 0

    def submit(self, *submissions: Submission) -> None:
        for submission in submissions:
            self.events += len(submission.entries)
            submission.taken(self.events)


def begun(commit: Any, instruments: IngestorInstruments) -> tuple[Door, Sink, Exchange]:
    """Return a request whose body is still to come."""
    process: Any = SimpleNamespace(settings=load(IngestorSettings, {}), instruments=instruments)
    keyring = KeyRing(EnvironmentSecrets({"INGEST_API_KEY": "k"}))
    room = Room(Peers(), lambda: 1, 0)
    door = Door(process, keyring, Clock(), commit, Outcomes(instruments), room=room)
    sink = Sink(room.peers.arrived("192.0.2.1"))
    head = Head([(b"x-api-key", b"k")], deprecated=False, keep_alive=True)
    exchange = Exchange(door, sink, head, 0.0)
    exchange.judge()
    return door, sink, exchange


def test_a_failure_within_the_ingestor_is_a_500_that_says_so_and_no_silence() -> None:
    instruments = IngestorInstruments(registry())
    # Without a queue behind the door every valid event fails.
    door, sink, exchange = begun(SimpleNamespace(submit=None), instruments)
    exchange.start()
    exchange.feed(b"[]")
    exchange.end()

    status, _, body = sink.sent.partition(b"\r\n\r\n")
    assert status.startswith(b"HTTP/1.1 500 ")
    assert json.loads(body)["status"] == "error"
    assert sink.closed == [False]
    assert door.in_flight == 0
    labels = {"status": "fail", "reason": "internal"}
    assert instruments.registry.get_sample_value("mutt_ingest_requests_total", labels) == 1


def test_a_connection_that_stays_open_keeps_nothing_of_what_was_answered() -> None:
    commit = Pushed()
    _, sink, exchange = begun(commit, IngestorInstruments(registry()))
    exchange.start()
    exchange.feed(json.dumps([event(), event(), {}]).encode())
    exchange.end()

    assert sink.sent.startswith(b"HTTP/1.1 200 ")
    assert commit.events == 2
    kept = gc.get_referents(exchange)
    assert not any(isinstance(value, Taken) or (isinstance(value, list) and value) for value in kept)


@pytest.mark.parametrize("size", [SMALL_BYTES + 1, INLINE_BYTES + 1])
async def test_a_body_whose_sender_gave_up_before_its_turn_is_not_read(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(exchange_module, "LATE_SECONDS", 0.0)
    commit, turn = Pushed(), threading.Event()
    door, sink, exchange = begun(commit, IngestorInstruments(registry()))
    exchange.start()

    def read_another() -> Taken:
        turn.wait()
        return Taken(single=False, accepted=[], rejected=[])

    door.readers.read(sink.peer, read_another, lambda _: None, lambda: False)
    exchange.feed(json.dumps([event()] * 2).encode() + b" " * size)
    exchange.end()
    exchange.disconnect()
    assert door.in_flight > size
    turn.set()

    await eventually(lambda: door.in_flight == 0, "the bytes of who has gone")
    assert (commit.events, sink.sent) == (0, b"")


def test_a_pipelined_request_whose_sender_goes_before_its_turn_is_nobodys_fault() -> None:
    instruments = IngestorInstruments(registry())
    door, sink, exchange = begun(Pushed(), instruments)
    exchange.feed(json.dumps(event()).encode())
    exchange.end()
    exchange.disconnect()
    exchange.start()

    assert (door.in_flight, sink.sent) == (0, b"")
    labels = {"status": "fail", "reason": "json"}
    assert instruments.registry.get_sample_value("mutt_ingest_requests_total", labels) == 0


async def test_a_key_is_valid_before_the_secrets_tell_that_they_were_read(tmp_path: Path) -> None:
    file = tmp_path / "next"
    file.write_text("", encoding="utf-8")
    secrets = EnvironmentSecrets({"INGEST_API_KEY": "k", "INGEST_API_KEY_NEXT_FILE": str(file)})
    keyring = KeyRing(secrets)
    before, generation = secrets.read_at, keyring.generation
    told: list[float] = []
    secrets.follow(lambda: told.append(secrets.read_at))
    file.write_text("n", encoding="utf-8")
    assert not keyring.admits({b"x-api-key": b"n"})
    await secrets.refresh()
    assert keyring.admits({b"x-api-key": b"n"})
    assert keyring.admits({b"x-api-key": b"k"})
    assert keyring.generation == generation + 1
    assert told == [before] != [secrets.read_at]
