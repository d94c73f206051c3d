"""Who sends, as shares are counted: what each peer holds, has waiting and was given lately."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from mutt import shares
from services.logging_utils import get_logger

if TYPE_CHECKING:
    from services.ingestor.turns import Submission

TICK_SECONDS = 1.0
QUIET_TICKS = 30  # after which a peer no longer counts; longer than the longest Retry-After, so that its retry does
DECAY = 0.9  # of what a peer was given, at each tick: some 10 s are remembered
NOTHING = 0.5  # events; less than this was given long ago
TELL_TICKS = 10
MOST_TOLD = 5  # peers in one line of the log

log = get_logger(__name__)


class Peer:
    """One sender; `in_flight` in bytes, `taken` in events of late, `quiet` in ticks since its last request."""

    __slots__ = ("budget", "connections", "in_flight", "name", "quiet", "read_seconds", "taken", "waiting")

    def __init__(self, name: str) -> None:
        self.name = name
        self.connections = 0
        self.in_flight = 0
        self.taken = 0.0
        self.quiet = QUIET_TICKS + 1
        self.read_seconds = 0.0
        self.waiting: deque[Submission] = deque()
        self.budget = 0


class Peers:
    """All peers, from their first connection until they have been away for so long that nothing is left to know."""

    def __init__(self, count: Callable[[int], None] = lambda _events: None) -> None:
        self._count = count  # of events that are refused for the sake of others
        self._all: dict[str, Peer] = {}
        self._over: Counter[str] = Counter()
        self.active = 0
        self.read_seconds = 0.0  # those of whose body was begun last: where a peer stands that begins to wait
        self._taken = self._squares = 0.0

    def arrived(self, address: str) -> Peer:
        """Return the peer of a new connection: the one place that says whose share a request uses."""
        name = shares.sender_of(address)
        peer = self._all.get(name)
        if peer is None:
            peer = self._all[name] = Peer(name)
        peer.connections += 1
        return peer

    def left(self, peer: Peer) -> None:
        """Note that a connection has ended; what its peer was given is remembered."""
        peer.connections -= 1

    def asked(self, peer: Peer) -> None:
        """Note that a peer wants its share."""
        if peer.quiet > QUIET_TICKS:
            self.active += 1
        peer.quiet = 0

    def took(self, peer: Peer, events: int) -> None:
        """Note what a peer was given."""
        self._squares += events * (2 * peer.taken + events)
        peer.taken += events
        self._taken += events

    def limit(self, peer: Peer, cap: int, part: int = shares.QUEUE_PART) -> int:
        """Return how full the queue may be for one more of this peer's.

        Its share is what the sender of the average event had: hundreds that send now and then make nobody else greedy.
        """
        share = self._squares / self._taken if self._taken else 0.0
        return shares.limit(cap, peer.taken, share, self.active, part)

    def refused(self, peer: Peer, events: int) -> None:
        """Note what a peer was refused that others would have been given."""
        self._over[peer.name] += events
        self._count(events)

    def tick(self) -> None:
        """Let what was be of less weight; drop who has gone."""
        self.active, self._taken, self._squares = 0, 0.0, 0.0
        for name, peer in list(self._all.items()):
            peer.quiet += 1
            peer.taken *= DECAY
            self._taken += peer.taken
            self._squares += peer.taken**2
            if peer.quiet <= QUIET_TICKS:
                self.active += 1
            elif not peer.connections and not peer.in_flight and peer.taken < NOTHING:
                del self._all[name]

    def tell(self) -> None:
        """Log who was refused for having had its share: one line, however many."""
        if self._over:
            worst = dict(self._over.most_common(MOST_TOLD))
            log.warning("senders over their share were refused", senders=len(self._over), events=worst)
            self._over.clear()

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            for _ in range(TELL_TICKS):
                await asyncio.sleep(TICK_SECONDS)
                self.tick()
            self.tell()
