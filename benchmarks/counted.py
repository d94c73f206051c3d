"""One piece of the product's work, done so many times: what benchmarks/instructions.py counts the instructions of.

    python benchmarks/counted.py PIECE ROUNDS INPUT

It is run by its path and imports nothing of benchmarks/, so that it can work on another commit's mutt/ and services/.
"""

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

Given = Mapping[str, Any]
Once = Callable[[], object]  # does the work for EVENTS events

EVENTS = 100
TEAM = "NETO"
KEY = "key"


def _intake() -> Any:
    from mutt.intake import Intake, Limits

    return Intake(("timestamp", "message", "hostname"), Limits(), os.urandom)


def _read(given: Given, kind: str) -> list[Any]:
    from mutt.intake import Receipt

    intake, bodies = _intake(), [text.encode() for text in given[kind]]
    taken = [intake.read(body, "", "application/json", Receipt(time.time_ns() // 1000)) for body in bodies]
    return [accepted for each in taken for accepted in each.accepted]


def _book(given: Given) -> Any:
    from mutt.matching import RuleBook
    from mutt.rules import Rule

    return RuleBook(Rule(number, *rule) for number, rule in enumerate(given["rules"], 1))


def read_single(given: Given) -> Once:
    """Read bodies of one event each."""
    from mutt.intake import Receipt

    read, bodies = _intake().read, [text.encode() for text in given["singles"]]

    def once() -> None:
        for body in bodies:
            read(body, "", "application/json", Receipt(time.time_ns() // 1000))

    return once


def read_batch(given: Given) -> Once:
    """Read a body of a hundred events."""
    from mutt.intake import Receipt

    read, body = _intake().read, given["batches"][0].encode()
    return lambda: read(body, "", "application/json", Receipt(time.time_ns() // 1000))


def request(given: Given) -> Once:
    """Answer requests of one event each on as many connections; the queue behind them takes everything at once."""
    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from mutt.settings import IngestorSettings, load
    from services.ingestor.auth import KeyRing
    from services.ingestor.door import Clock, Door
    from services.ingestor.outcomes import Outcomes
    from services.ingestor.peers import Peers
    from services.ingestor.protocol import IngestProtocol
    from services.ingestor.room import Room
    from services.runtime.app import registry
    from services.runtime.instruments import IngestorInstruments
    from services.runtime.secrets import EnvironmentSecrets

    loop: Any = SimpleNamespace(call_later=lambda *_: SimpleNamespace(cancel=lambda: None))
    instruments, peers = IngestorInstruments(registry()), Peers()
    process: Any = SimpleNamespace(settings=load(IngestorSettings, {}), instruments=instruments)
    queue: Any = SimpleNamespace(submit=lambda *requests: [each.taken(1) for each in requests])
    room = Room(peers, lambda: 1_000_000, 0)
    keys = KeyRing(EnvironmentSecrets({"INGEST_API_KEY": KEY}))
    door = Door(process, keys, Clock(), queue, Outcomes(instruments), room=room)
    config = Config(None, log_config=None, lifespan="off", ws="none", interface="asgi3")  # type: ignore[arg-type]
    config.loaded, config.loaded_app, config.ws_protocol_class = True, None, None
    state = ServerState()
    state.default_headers = [(b"date", b"Mon, 30 Nov 2026 12:00:00 GMT")]
    replies: list[bytes] = []
    transport: Any = SimpleNamespace(
        get_extra_info=lambda name, default=None: ("127.0.0.1", 1) if name in {"peername", "sockname"} else default,
        write=replies.append,
        is_closing=lambda: False,
        pause_reading=lambda: None,
        resume_reading=lambda: None,
    )
    bodies = [text.encode() for text in given["singles"]]
    head = b"POST /api/v2/ingest HTTP/1.1\r\nHost: a\r\nX-API-KEY: %s\r\nContent-Length: %%d\r\n\r\n" % KEY.encode()
    requests = []
    for body in bodies:
        protocol = IngestProtocol(door, config=config, server_state=state, app_state={}, _loop=loop)
        protocol.connection_made(transport)
        requests.append((protocol, head % len(body) + body))

    async def answered() -> None:
        replies.clear()
        for protocol, data in requests:
            protocol.data_received(data)
        while len(replies) < len(requests):  # noqa: ASYNC110  (rounds of the loop are what is counted)
            await asyncio.sleep(0)
        assert all(answer.startswith(b"HTTP/1.1 200 ") for answer in replies)

    return lambda: asyncio.run(answered())


def reply(given: Given) -> Once:
    """Make the replies to single events."""
    from services.ingestor import replies

    accepted, date = _read(given, "singles"), b"date: Mon, 30 Nov 2026 12:00:00 GMT\r\n"

    def once() -> None:
        for depth, event in enumerate(accepted):
            replies.response(200, replies.queued_event(event, depth), date, deprecated=False, close=False)

    return once


def judge_and_pack(given: Given) -> Once:
    """Decode queue entries, match and decide them, pack their audit rows."""
    from mutt.handling import Hosts
    from mutt.judge import judge

    book, hosts = _book(given), Hosts()
    entries = [accepted.entry for accepted in _read(given, "batches")]

    def once() -> None:
        for entry in entries:
            judge(entry, book, hosts, TEAM)

    return once


def match(given: Given) -> Once:
    """Find each message's rule."""
    first_match = _book(given).first_match
    messages = [json.loads(text)["message"] for text in given["singles"]]

    def once() -> None:
        for message in messages:
            first_match(message, 3, None)

    return once


PIECES: Mapping[str, Callable[[Given], Once]] = {
    "read_single": read_single,
    "read_batch": read_batch,
    "request": request,
    "reply": reply,
    "judge_and_pack": judge_and_pack,
    "match": match,
}


def main() -> None:
    """Do it; the modules that are used are those that PYTHONPATH leads to, which is said."""
    piece, rounds, file = sys.argv[1:]
    once = PIECES[piece](json.loads(Path(file).read_text(encoding="utf-8")))
    gc.collect()
    gc.freeze()
    for _ in range(int(rounds)):
        once()
    print(sys.modules["mutt"].__path__[0])


if __name__ == "__main__":
    main()
