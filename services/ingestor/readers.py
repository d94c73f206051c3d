"""Threads that read large bodies, in turn by peer: one that sends a hundred keeps nobody else's waiting."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from mutt.intake import Taken
from services.ingestor.peers import Peer

Reading = asyncio.Future[Taken]


class _Job:
    def __init__(self, peer: Peer, work: Callable[[], Taken], done: Callable[[Reading], None]) -> None:
        self.peer = peer
        self.done = done
        self.seconds = 0.0
        self._work = work

    def run(self) -> Taken:
        began = time.thread_time()
        try:
            return self._work()
        finally:
            self.seconds = time.thread_time() - began


class Readers:
    """Of the peers that wait, the one whose bodies took the least time of late is next.

    The time is the processor's: what a body costs can be told neither from its packed size nor from its records.
    A peer has one thread less than there are, so that one is always free for another peer's body.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._threads = ThreadPoolExecutor(threads, name)
        self._free = threads
        self._most = max(1, threads - 1)
        self._lanes: dict[Peer, deque[_Job]] = {}
        self._under_way: Counter[Peer] = Counter()

    def read(self, peer: Peer, work: Callable[[], Taken], done: Callable[[Reading], None]) -> None:
        """Have `work` done in a thread when it is the peer's turn; `done` is called in the event loop."""
        self._lanes.setdefault(peer, deque()).append(_Job(peer, work, done))
        self._start()

    def _start(self) -> None:
        while self._free:
            ready = [peer for peer in self._lanes if self._under_way[peer] < self._most]
            if not ready:
                return
            peer = min(ready, key=lambda peer: peer.read_seconds)
            job = self._lanes[peer].popleft()
            if not self._lanes[peer]:
                del self._lanes[peer]
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
