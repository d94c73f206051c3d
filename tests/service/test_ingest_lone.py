"""What a connection sends again and again is answered as if each request were its first."""

import asyncio
import json
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mutt.intake import Accepted
from services.ingestor import replies
from services.ingestor.door import Door
from services.ingestor.exchange import SMALL_BYTES, Exchange
from services.ingestor.head import Head
from services.ingestor.lone import Lone
from services.ingestor.turns import Refusal, Submission
from services.runtime.app import registry
from services.runtime.instruments import IngestorInstruments
from tests.service.ingest_api import event
from tests.service.test_ingest_gathering import bodies
from tests.service.test_ingest_parts import Pushed, Sink, begun

IDS = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
REFUSAL = Refusal(503, "redis", "send again", 3, {"queue_depth": 7})
PLAIN = json.dumps(event()).encode()
KEY = (b"x-api-key", b"k")
TYPES = [(b"content-type", b"application/json"), (b"content-type", b"application/x-ndjson")]


class Refusing(Pushed):
    """Takes every other event."""

    def submit(self, *submissions: Submission) -> None:
        for submission in submissions:
            self.events += 1
            if self.events % 2:
                submission.taken(self.events)
            else:
                submission.refused(REFUSAL)


Answer = Callable[[Door, Sink, Head, bytes, bool], Exchange]


def afresh(door: Door, sink: Sink, head: Head, body: bytes, keep: bool = True) -> Exchange:
    """Have a body read as the first on its connection."""
    exchange = Exchange(door, sink, head, 0.0)
    exchange.keep_alive = keep
    exchange.judge()
    exchange.start()
    exchange.feed(body)
    exchange.end()
    return exchange


class Again:
    """Has bodies read as those that follow it."""

    lone: Lone | None = None

    def __call__(self, door: Door, sink: Sink, head: Head, body: bytes, keep: bool = True) -> Exchange:
        if self.lone is None or self.lone.is_spent:
            self.lone = Lone(door, sink, head, 0.0)
        self.lone.keep_alive = keep
        self.lone.again(body, 0.0)
        return self.lone


async def told(answer: Answer, commit: Pushed, head: Head, sent: list[bytes], room: int, *, keep: bool) -> Any:
    """Return all that can be seen of how bodies were answered, the ids apart."""
    instruments = IngestorInstruments(registry())
    door, sink, _ = begun(commit, instruments)
    door.max_in_flight, door.half_in_flight = room, room // 2
    for body in sent:
        exchange = answer(door, sink, head, body, keep)
        while not exchange.response_complete:  # noqa: ASYNC110  (a round of the loop or two)
            await asyncio.sleep(0)
        assert (exchange.entries, exchange.size, exchange.waits_for_reply) == ((), 0, False)
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for metric in instruments.registry.collect()
        for sample in metric.samples
        if sample.name.startswith("mutt_") and not sample.name.endswith(("_created", "_sum", "_bucket"))
    }
    seen = re.sub(rb"retry-after: \d+", b"", IDS.sub(b"", sink.sent))
    return seen, sink.closed, samples, door.in_flight, sink.peer.in_flight, sink.peer.quiet


@settings(max_examples=40)
@given(
    st.lists(st.one_of(st.just(PLAIN), bodies, st.just(b"[%b,{}]" % PLAIN), st.just(b"")), max_size=6),
    st.sampled_from([Pushed, Refusing]),
    st.builds(
        partial(Head, keep_alive=True),
        st.tuples(st.just(KEY), st.sampled_from(TYPES)),
        deprecated=st.booleans(),
    ),
    st.booleans(),
    st.sampled_from([100, 1_000_000]),
)
@example([PLAIN, PLAIN], Pushed, Head([KEY, TYPES[0]], deprecated=False, keep_alive=True), True, 1_000_000)
def test_a_request_that_is_known_is_answered_like_any_other(
    sent: list[bytes], commit: type[Pushed], head: Head, keep: bool, room: int
) -> None:
    async def both() -> tuple[Any, Any]:
        return (
            await told(Again(), commit(), head, sent, room, keep=keep),
            await told(afresh, commit(), head, sent, room, keep=keep),
        )

    again, fresh = asyncio.run(both())

    assert again == fresh


async def test_one_object_serves_a_connection_until_it_has_said_anything_unusual() -> None:
    door, sink, _ = begun(Pushed(), IngestorInstruments(registry()))
    head, answer = Head([KEY], deprecated=False, keep_alive=True), Again()
    served = []
    for body in (PLAIN, PLAIN, b"{}", PLAIN, b"{" + b" " * SMALL_BYTES + PLAIN[1:], PLAIN):
        served.append(exchange := answer(door, sink, head, body))
        while not exchange.response_complete:  # noqa: ASYNC110  (a round of the loop or two)
            await asyncio.sleep(0)

    assert [served.index(each) for each in served] == [0, 0, 0, 3, 3, 5]


async def test_a_refusal_of_a_known_request_names_the_correlation_id_of_its_event() -> None:
    door, sink, _ = begun(Refusing(), IngestorInstruments(registry()))
    head, answer, name = Head([KEY], deprecated=False, keep_alive=True), Again(), "0190b8a0-0000-7000-8000-000000000001"
    for _ in range(2):
        exchange = answer(door, sink, head, json.dumps(event(correlation_id=name)).encode())
        while not exchange.response_complete:  # noqa: ASYNC110  (a round of the loop or two)
            await asyncio.sleep(0)

    refusal = sink.sent[sink.sent.index(b"HTTP/1.1 503 ") :]
    assert name.encode() in refusal


@pytest.mark.parametrize("depth", [1, 9, 10, 99_999, 100_000])
def test_the_reply_to_a_single_event_is_the_one_that_is_made_from_scratch(depth: int) -> None:
    queued, accepted = replies.QueuedReplies(), Accepted(b"", "a" * 36, "b" * 36)
    for date in (b"", b"date: Mon, 30 Nov 2026 12:00:00 GMT\r\n", b"date: Mon, 30 Nov 2026 12:00:01 GMT\r\n"):
        for behind in (0, 1):
            expected = replies.response(200, replies.queued_event(accepted, depth + behind), date)
            assert queued.reply(accepted, depth + behind, date) == expected
