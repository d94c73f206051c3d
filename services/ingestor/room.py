"""Whether there is room in the queue for one more of a peer's, and what it is told when there is none."""

import random
import time
from collections.abc import Callable

from mutt import shares
from services.ingestor.peers import Peer, Peers
from services.ingestor.turns import Group, Refusal, Submission

RETRY_FULL = (5, 15)  # seconds, from and to: a sender's retries must not come back all at once
FRESH_SECONDS = 0.1  # what Redis said is believed for so long, when a request is turned away without asking again


class Room:
    """What Redis said last of its queue and its memory; `is_short` once shares count."""

    def __init__(self, peers: Peers, cap: Callable[[], int], max_memory_percent: int) -> None:
        self.peers = peers
        self.cap = cap
        self._most_memory = max_memory_percent * 10
        self._depth = 0
        self._memory = 0
        self._seen_at = float("-inf")
        self.is_short = False

    def seen(self, depth: int, memory: int) -> None:
        """Note the queue's depth and the share of its memory that Redis uses (per mille, 0: unknown, -1: as it was)."""
        self._depth = depth
        if memory >= 0:
            self._memory = memory
        self._seen_at = time.monotonic()
        self.is_short = shares.is_pressed(depth, self.cap()) or (
            self._most_memory > 0 and shares.is_pressed(self._memory, self._most_memory, shares.MEMORY_PART)
        )

    def runs_short(self, events: int) -> bool:
        """Say whether shares count once so many events more are in the queue."""
        return self.is_short or shares.is_pressed(self._depth + events, self.cap())

    def turned_away(self, peer: Peer, count: Callable[[], int]) -> tuple[Refusal, int] | None:
        """Return the refusal of a request that need not be read, and its events; None where it has to be looked at."""
        self.peers.asked(peer)
        if time.monotonic() - self._seen_at > FRESH_SECONDS or self._is_free_for(peer, self._depth, 1):
            return None
        events = count()
        return self._full_for(peer, self._depth, events), events

    def sift(self, group: Group) -> tuple[Group, list[tuple[Submission, Refusal]]]:
        """Return what there is room for, and the rest with its refusals; who had least of late comes first."""
        kept = Group([], [], [])
        refused: list[tuple[Submission, Refusal]] = []
        depth = self._depth
        for item in sorted(group.all(), key=lambda item: item.peer.taken):
            peer, events = item.peer, len(item.entries)
            if self._is_free_for(peer, depth, events):
                depth += events
                self.peers.took(peer, events)
                (kept.singles if item.single else kept.batches).append(item)
            else:
                refused.append((item, self._full_for(peer, depth, events)))
        return kept, refused

    def full(self, depth: int | None, *, memory: bool) -> Refusal:
        """Return the refusal of whoever comes when nothing more is taken."""
        used = f"Redis uses over {self._most_memory // 10} % of its maxmemory"
        problem = used if memory else f"the queue is full: {depth} of {self.cap()} events"
        return self._refusal(problem, depth)

    def _is_free_for(self, peer: Peer, depth: int, events: int) -> bool:
        if self._is_over_memory(peer):
            return False
        cap = self.cap()
        if self.peers.active <= 1:
            return depth < cap
        return depth < cap and shares.has_room(depth, events, self.peers.limit(peer, cap))

    def _is_over_memory(self, peer: Peer) -> bool:
        most = self._most_memory
        return most > 0 and self._memory > self.peers.limit(peer, most, shares.MEMORY_PART)

    def _full_for(self, peer: Peer, depth: int, events: int) -> Refusal:
        if self._most_memory and self._memory > self._most_memory:
            return self.full(depth, memory=True)
        if depth >= self.cap():
            return self.full(depth, memory=False)
        self.peers.refused(peer, events)
        if self._is_over_memory(peer):
            problem = "Redis's memory is filling, and this sender has had its share of it"
        elif depth >= self.peers.limit(peer, self.cap()):
            problem = "the queue is filling, and this sender has had its share of it"
        else:
            problem = (
                f"the queue is filling, and {events} events at once are more than is left for one sender: send fewer"
            )
        return self._refusal(problem, depth)

    def _refusal(self, problem: str, depth: int | None) -> Refusal:
        cap = self.cap()
        details = {"queue_limit": cap} if depth is None else {"queue_depth": depth, "queue_limit": cap}
        return Refusal(503, "queue_full", f"{problem}; try again later", random.randint(*RETRY_FULL), details)
