"""Who reads bodies, in turn by peer: one that sends a hundred keeps nobody else's waiting.

Of the peers that wait, the one whose bodies took the least time is next. The time is the processor's: what a body costs
can be told neither from its packed size nor from its records. Whoever begins to wait stands no further ahead than the
one that is read, so that a newcomer does not make the others wait for what they had before it came.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Generic, TypeVar

from mutt.intake import Taken
from services.ingestor.peers import Peer, Peers

MOST_COMPARED = 50  # peers, of those that wait the longest: comparing thousands would take longer than a body

Reading = asyncio.Future[Taken]
Job = TypeVar("Job")


class _Lanes(Generic[Job]):
    """Jobs by peer."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        self._lanes: dict[Peer, deque[Job]] = {}

    def __bool__(self) -> bool:
        return bool(self._lanes)

    def add(self, peer: Peer, job: Job) -> None:
        if peer not in self._lanes:
            peer.read_seconds = max(peer.read_seconds, self._peers.read_seconds)
            self._lanes[peer] = deque()
        self._lanes[peer].append(job)

    def next(self, may: Callable[[Peer], bool] = lambda _peer: True) -> tuple[Peer, Job] | None:
        """Take the next job, of the peers that may have one."""
        some = islice(filter(may, self._lanes), MOST_COMPARED)
        peer = min(some, key=lambda peer: peer.read_seconds, default=None)
        if peer is None:
            return None
        self._peers.read_seconds = max(peer.read_seconds, self._peers.read_seconds)
        lane = self._lanes.pop(peer)
        job = lane.popleft()
        if lane:
            self._lanes[peer] = lane
        return peer, job


class LoopReader:
    """Reads bodies in the event loop, one a round: between two of them it hears whoever else has come."""

    def __init__(self, peers: Peers) -> None:
        self._lanes: _Lanes[Callable[[], None]] = _Lanes(peers)

    def read(self, peer: Peer, work: Callable[[], None]) -> None:
        """Have `work` done when it is the peer's turn."""
        if not self._lanes:
            asyncio.get_running_loop().call_soon(self._step)
        self._lanes.add(peer, work)

    def _step(self) -> None:
        found = self._lanes.next()
        assert found is not None  # noqa: S101  (a step is for one job)
        peer, work = found
        if self._lanes:
            asyncio.get_running_loop().call_soon(self._step)
        began = time.thread_time()
        work()
        peer.read_seconds += time.thread_time() - began


class _Job:
    def __init__(
        self, peer: Peer, work: Callable[[], Taken], done: Callable[[Reading], None], is_moot: Callable[[], bool]
    ) -> None:
        self.peer = peer
        self.done = done
        self.is_moot = is_moot
        self.seconds = 0.0
        self._work = work

    def run(self) -> Taken:
        began = time.thread_time()
        try:
            return self._work()
        finally:
            self.seconds = time.thread_time() - began


class Readers:
    """Threads that read large bodies; a peer has one less than there are, so that one is always free for another's."""

    def __init__(self, threads: int, name: str, peers: Peers) -> None:
        self._threads = ThreadPoolExecutor(threads, name)
        self._free = threads
        self._most = max(1, threads - 1)
        self._lanes: _Lanes[_Job] = _Lanes(peers)
        self._under_way: Counter[Peer] = Counter()

    def read(
        self, peer: Peer, work: Callable[[], Taken], done: Callable[[Reading], None], is_moot: Callable[[], bool]
    ) -> None:
        """Have `work` done in a thread when it is the peer's turn; `done` is called in the event loop.

        Neither happens where it `is_moot` by then.
        """
        self._lanes.add(peer, _Job(peer, work, done, is_moot))
        self._start()

    def _start(self) -> None:
        while self._free:
            found = self._lanes.next(lambda peer: self._under_way[peer] < self._most)
            if found is None:
                return
            peer, job = found
            if job.is_moot():
                continue
            self._free -= 1
            self._under_way[peer] += 1
            reading = asyncio.get_running_loop().run_in_executor(self._threads, job.run)
            reading.add_done_callback(partial(self._ended, job))

    def _ended(self, job: _Job, reading: Reading) -> None:
        peer = job.peer
        peer.read_seconds += job.seconds
        self._free += 1
        self._under_way[peer] -= 1
        if not self._under_way[peer]:
            del self._under_way[peer]
        self._start()
        job.done(reading)
