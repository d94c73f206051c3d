"""One bad sender beside a good one: readers, pushes, memory and the queue are shared by address."""

import asyncio
import gzip
import json
import signal
import time
from contextlib import ExitStack
from functools import partial
from typing import Any

import redis

from scripts.devtools.embedded import RedisServer
from services.ingestor.peers import Peer, Peers
from services.ingestor.readers import MOST_COMPARED, LoopReader
from tests.harness.processes import ServiceProcess, StartService, fetch
from tests.harness.waiting import wait_for
from tests.service.ingest_api import QUEUE, Wire, counted, event, queued, request

BAD, GOOD = "127.0.0.2", "127.0.0.3"


def batch(events: int, **changes: Any) -> bytes:
    """Return a body."""
    return json.dumps([event(**changes)] * events).encode()


def packed(body: bytes) -> bytes:
    """Return a request with a packed body."""
    return request(gzip.compress(body, 1), "Content-Encoding: gzip")


def senders(url: str) -> list[str]:
    """Return who sent the queue's events, the first one first."""
    return [item.fields["who"] for item in queued(url)]


class Sender:
    """A connection from an address."""

    def __init__(self, stack: ExitStack, service: ServiceProcess, source: str) -> None:
        self._wire = stack.enter_context(Wire(service, source))

    def ask(self, body: bytes) -> tuple[int, str]:
        """Send a body; return the status and the message of a refusal."""
        self._wire.send(request(body))
        status, headers, reply = self._wire.read()
        assert (status == 503) == ("retry-after" in headers)
        return status, json.loads(reply).get("message", "")


def test_a_large_body_does_not_wait_for_all_large_bodies_of_another_sender(
    start_service: StartService, redis_url: str
) -> None:
    ingestor = start_service("ingestor")
    with ExitStack() as stack:
        ingestor.signal(signal.SIGSTOP)
        bad = [stack.enter_context(Wire(ingestor, BAD)) for _ in range(16)]
        for wire in bad:
            wire.send(packed(batch(4000, who="bad")))
        good = stack.enter_context(Wire(ingestor, GOOD))
        good.send(packed(batch(4000, who="good")))
        ingestor.signal(signal.SIGCONT)

        assert {wire.read()[0] for wire in (good, *bad)} == {200}

    found = senders(redis_url)
    assert len(found) == 17 * 4000
    # Those that are read and pushed when it comes are before it, and one more that was begun beside it.
    assert found.index("good") <= 5 * 4000


async def test_the_event_loop_reads_a_body_of_who_had_little_before_the_many_of_another() -> None:
    peers, read = Peers(), list[str]()
    reader = LoopReader(peers)
    bad, good, all_read = peers.arrived(BAD), peers.arrived(GOOD), asyncio.Event()

    def work(peer: Peer) -> None:
        until = time.thread_time() + 0.001
        while time.thread_time() < until:
            pass
        read.append(peer.name)
        if len(read) == 21:
            all_read.set()

    for peer in (*[bad] * 20, good):
        reader.read(peer, partial(work, peer))
    await all_read.wait()

    assert read.index(GOOD) <= 1


async def test_newcomers_do_not_make_another_wait_for_what_it_had_before_they_came() -> None:
    peers, read, all_read = Peers(), list[str](), asyncio.Event()
    reader = LoopReader(peers)

    def work(name: str, most: int) -> None:
        until = time.thread_time() + 0.001
        while time.thread_time() < until:
            pass
        read.append(name)
        if len(read) == most:
            all_read.set()

    for _ in range(20):
        reader.read(peers.arrived(GOOD), partial(work, GOOD, 20))
    await all_read.wait()
    all_read.clear()
    for _ in range(20):
        reader.read(peers.arrived(BAD), partial(work, BAD, 41))
    reader.read(peers.arrived(GOOD), partial(work, GOOD, 41))
    await all_read.wait()

    assert GOOD in read[20:25]


async def test_of_hundreds_who_wait_each_is_read_once_before_any_is_read_twice() -> None:
    peers, read = Peers(), list[str]()
    reader = LoopReader(peers)
    all_read, everybody = asyncio.Event(), [f"10.0.0.{number}" for number in range(3 * MOST_COMPARED)]

    def work(name: str) -> None:
        read.append(name)
        if len(read) == 2 * len(everybody):
            all_read.set()

    for name in everybody:
        for _ in range(2):
            reader.read(peers.arrived(name), partial(work, name))
    await all_read.wait()

    assert set(read[: len(everybody)]) == set(everybody)


def test_a_push_holds_something_of_everybody_who_waits(start_service: StartService, own_redis: RedisServer) -> None:
    ingestor = start_service("ingestor", REDIS_TIMEOUT="60")
    with ExitStack() as stack:
        assert Sender(stack, ingestor, GOOD).ask(batch(1, who="first"))[0] == 200
        own_redis.pause()
        bad = [stack.enter_context(Wire(ingestor, BAD)) for _ in range(60)]
        for wire in bad:
            wire.send(request(batch(600, who="bad")))
        good = stack.enter_context(Wire(ingestor, GOOD))
        good.send(request(batch(1, who="good")))
        assert fetch(ingestor.live_url, 60)[0] == 200
        own_redis.resume()
        assert {wire.read()[0] for wire in (good, *bad)} == {200}

    found = senders(own_redis.url)
    assert len(found) == 2 + 60 * 600
    # It is in the second push at the latest, of the four that there are.
    assert found.index("good") <= 2 * 11_000


def test_a_full_queue_takes_from_who_had_little_and_refuses_who_had_most(
    start_service: StartService, redis_url: str
) -> None:
    ingestor = start_service("ingestor", MAX_INGEST_QUEUE_SIZE="1000")
    with ExitStack() as stack, redis.Redis.from_url(redis_url) as client:
        bad, good = Sender(stack, ingestor, BAD), Sender(stack, ingestor, GOOD)
        # Alone it may have all of the queue.
        assert [bad.ask(batch(100))[0] for _ in range(10)] == [200] * 10
        assert "the queue is full: 1000 of 1000" in bad.ask(batch(100))[1]
        assert good.ask(batch(10))[0] == 503

        client.ltrim(QUEUE, 0, 899)

        wait_for(lambda: good.ask(batch(10))[0] == 200, "an event of the sender that had nothing")
        status, message = bad.ask(batch(100))
        assert (status, "has had its share" in message) == (503, True)
        assert good.ask(batch(10))[0] == 200
        # With room for both it is not kept out.
        client.ltrim(QUEUE, 0, 299)
        wait_for(lambda: bad.ask(batch(100))[0] == 200, "an event of the sender that had most")
    # Each event that was refused is counted, also where its request was turned away unread.
    assert counted(ingestor, "queue_full") % 10 == 0
    assert 100 <= (ingestor.metric("mutt_ingest_over_share_total") or 0) <= counted(ingestor, "queue_full")
    ingestor.terminate()
    assert "senders over their share were refused" in ingestor.log()
    assert BAD in ingestor.log()


def test_a_batch_that_is_larger_than_what_is_left_is_told_so_and_a_smaller_one_is_taken(
    start_service: StartService,
) -> None:
    ingestor = start_service("ingestor", MAX_INGEST_QUEUE_SIZE="1000")
    with ExitStack() as stack:
        bad, good = Sender(stack, ingestor, BAD), Sender(stack, ingestor, GOOD)
        assert [sender.ask(batch(10))[0] for sender in (bad, good)] == [200, 200]
        assert bad.ask(batch(780))[0] == 200

        status, message = good.ask(batch(300))
        assert (status, "300 events at once are more than is left" in message) == (503, True)
        assert good.ask(batch(100))[0] == 200


def test_the_memory_of_redis_is_shared_like_its_queue(start_service: StartService, own_redis: RedisServer) -> None:
    ingestor = start_service("ingestor")
    with ExitStack() as stack, redis.Redis.from_url(own_redis.url) as client:
        bad, good = Sender(stack, ingestor, BAD), Sender(stack, ingestor, GOOD)
        assert good.ask(batch(1))[0] == 200
        for _ in range(10):
            assert bad.ask(batch(1000))[0] == 200

        def is_refused() -> bool:
            memory: Any = client.info("memory")
            # 73.6 % of it are used: less than the 75 that all of MUTT may use, more than one sender at its share may.
            client.config_set("maxmemory", memory["used_memory"] * 1000 // 736)
            status, message = bad.ask(batch(1))
            return status == 503 and "Redis's memory is filling" in message

        wait_for(is_refused, "the refusal of the sender that had most")
        assert good.ask(batch(1))[0] == 200


def test_bodies_under_way_leave_room_for_others(start_service: StartService) -> None:
    ingestor = start_service("ingestor", INGEST_MAX_IN_FLIGHT_BYTES="1000000", INGEST_MAX_BODY_BYTES="1000000")
    with ExitStack() as stack:

        def begin(source: str, size: int) -> Wire:
            """Begin a body that never ends."""
            wire = stack.enter_context(Wire(ingestor, source))
            wire.send(request(b" " * size, f"Content-Length: {size + 1}"))
            return wire

        begin(BAD, 300_000)
        begin(BAD, 300_000)
        wait_for(lambda: ingestor.metric("mutt_ingest_in_flight_bytes") == 600_000, "the bodies under way")
        good = Sender(stack, ingestor, GOOD)
        assert good.ask(batch(2000))[0] == 200

        status, headers, reply = begin(BAD, 300_000).read()

        assert status == 503
        assert "retry-after" in headers
        assert "its share" in json.loads(reply)["message"]
        assert good.ask(batch(2000))[0] == 200


def test_what_a_packed_body_has_become_counts_until_redis_has_it(
    start_service: StartService, own_redis: RedisServer
) -> None:
    # Some 1.5 MB are what each of the bodies becomes; packed they are a few kB.
    ingestor = start_service("ingestor", INGEST_MAX_IN_FLIGHT_BYTES="4000000", REDIS_TIMEOUT="60")
    with ExitStack() as stack:
        assert Sender(stack, ingestor, GOOD).ask(batch(1))[0] == 200
        own_redis.pause()
        wires = [stack.enter_context(Wire(ingestor, GOOD)) for _ in range(4)]
        for wire in wires:
            wire.send(packed(batch(5000)))
        wait_for(lambda: counted(ingestor, "queue_full") == 2 * 5000, "the refusal of two bodies")
        own_redis.resume()

        assert sorted(wire.read()[0] for wire in wires) == [200, 200, 503, 503]
