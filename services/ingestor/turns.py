"""What waits for a push, in turn by peer: one with a thousand requests delays another's first by one turn."""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from services.ingestor.peers import Peer

GROUP_EVENTS = 10_000
GROUP_BYTES = 8 * 1024 * 1024
TURN_BYTES = 64 * 1024  # what a peer may put into a group before it is the next one's turn


class Refusal(NamedTuple):
    """Why a request was not taken; `retry_after` in seconds, `details` for the reply's body."""

    status: int
    reason: str
    message: str
    retry_after: int | None
    details: dict[str, int]


class Submission(Protocol):
    """A request that waits for its push; exactly one of `taken` and `refused` is called."""

    @property
    def peer(self) -> Peer:
        """Whose request it is."""

    @property
    def single(self) -> bool:
        """Whether it is one event alone."""

    @property
    def entries(self) -> Sequence[bytes]:
        """The queue entries."""

    @property
    def quarantine(self) -> Sequence[bytes]:
        """The quarantine's entries."""

    @property
    def size(self) -> int:
        """Bytes that it holds."""

    def taken(self, depth: int) -> None:
        """Redis has acknowledged the push; `depth` is the queue's."""

    def refused(self, refusal: Refusal) -> None:
        """Nothing of it was pushed, or nobody knows."""


class Group(NamedTuple):
    """What goes into one push, and how many events of it are whose."""

    singles: list[Submission]
    batches: list[Submission]
    shares: Sequence[tuple[Peer, int]]

    def all(self) -> list[Submission]:
        """Return the requests of both kinds."""
        return self.singles + self.batches


class Turns:
    """Requests by peer; the peers take turns of so many bytes."""

    def __init__(self) -> None:
        self._peers: deque[Peer] = deque()

    def __bool__(self) -> bool:
        return bool(self._peers)

    def add(self, items: Iterable[Submission]) -> None:
        """Let requests wait for their peers' turns."""
        for item in items:
            peer = item.peer
            if not peer.waiting:
                self._peers.append(peer)
            peer.waiting.append(item)

    def next_group(self) -> Group:
        """Take what goes into one push."""
        group = Group([], [], shares := [])
        singles, batches, peers = group.singles, group.batches, self._peers
        total = size = 0
        while peers and total < GROUP_EVENTS and size < GROUP_BYTES:
            peer = peers.popleft()
            waiting = peer.waiting
            # A large request is paid for in the turns that follow it; a peer that waits alone has no turns.
            budget = peer.budget + TURN_BYTES if peers else GROUP_BYTES
            end = min(size + budget, GROUP_BYTES)
            events = 0
            before = size
            while waiting and size < end and total + events < GROUP_EVENTS:
                item = waiting.popleft()
                size += item.size
                if item.single:
                    singles.append(item)
                    events += 1
                else:
                    batches.append(item)
                    events += len(item.entries)
            total += events
            shares.append((peer, events))
            peer.budget = 0
            if waiting:
                peer.budget = min(0, budget - (size - before))
                peers.append(peer)
        return group

    def take_all(self) -> list[Submission]:
        """Take all that waits."""
        everything = [item for peer in self._peers for item in peer.waiting]
        for peer in self._peers:
            peer.waiting.clear()
            peer.budget = 0
        self._peers.clear()
        return everything
