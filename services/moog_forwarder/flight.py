"""The alerts that a forwarder holds: which may be sent now, which have to wait for another, which are on their way."""

import asyncio
import itertools
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from mutt.events import DecidedEvent
from mutt.moogsoft import alert_of

GRACE = 2.0  # seconds after its retry is due in which an alert that waited has to come back, to whichever forwarder
BODY_MOST = 4 * 1024 * 1024  # bytes of alerts in one request
# Seconds in which more of the same comes while alerts are on their way, so that one call of a script does for many.
GATHER = 0.002
SETTLE_GATHER = 0.005  # for settles: nobody waits for one, as long as more alerts are held than are on their way


@dataclass(slots=True, eq=False)
class Item:
    """One held alert. `key` is what must not overtake each other, `payload` its JSON as it is sent.

    `alone` forbids company in a request; `exclusive` forbids any other alert beside it: a probe, or an entry that may
    kill its worker. `copies` counts how often the same bytes were claimed.
    """

    entry: bytes
    event: DecidedEvent
    generation: int
    number: int
    key: str | None
    payload: bytes
    alone: bool = False
    exclusive: bool = False
    is_probe: bool = False
    copies: int = 1


class Deferred(NamedTuple):
    """A problem or clear that waits for its retry: until when (monotonic), and which alert it is."""

    until: float
    event_id: str


class Flight:
    """All that is held, with each alert as `profile` wants it; `arrived` wakes the sender, `left` the claims."""

    def __init__(self, profile: str) -> None:
        self._profile = profile
        self.arrived = asyncio.Event()
        self.left = asyncio.Event()
        self._items: dict[bytes, Item] = {}
        self._pending: deque[Item] = deque()
        self._ordered = 0  # of these with a key
        self._busy: set[str] = set()
        self._deferred: dict[str, Deferred] = {}
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._items)

    @property
    def is_exclusive(self) -> bool:
        """Tell whether an alert is held that tolerates no other."""
        return True in [item.exclusive for item in self._items.values()]

    @property
    def holds_probe(self) -> bool:
        """Tell whether the fleet's one probe is held here."""
        return True in [item.is_probe for item in self._items.values()]

    @property
    def blocked(self) -> int:
        """Return how many cannot be sent because another of their key is on its way or comes first."""
        return self._ordered - self._sendable_keys()

    def admit(self, entry: bytes, event: DecidedEvent, generation: int) -> Item:
        """Take an alert in; the same bytes once more are the same alert, which is sent once."""
        item = self._items.get(entry)
        if item is not None:
            item.copies += 1
            return item
        key, payload = alert_of(event, self._profile)
        item = Item(entry, event, generation, next(self._numbers), key, payload)
        self._items[entry] = item
        self._pending.append(item)
        self._ordered += key is not None
        self.arrived.set()
        return item

    def ready(self, size: int) -> int:
        """Return how many requests of up to `size` alerts could be sent now."""
        free = len(self._pending) - self._ordered + self._sendable_keys()
        return -(-free // size)

    def take(self, requests: int, size: int) -> list[list[Item]]:
        """Take out what up to `requests` requests carry; `release` each alert when its request has ended."""
        if size == 1 and not self._ordered:
            return [[self._pending.popleft()] for _ in range(min(requests, len(self._pending)))]
        groups: list[list[Item]] = []
        while len(groups) < requests and (group := self._take_group(size)):
            groups.append(group)
        return groups

    def take_if(self, wanted: Callable[[Item], bool]) -> list[Item]:
        """Take out what was not sent and is `wanted`, in order."""
        taken = [item for item in self._pending if wanted(item)]
        if taken:
            self._pending = deque(item for item in self._pending if not wanted(item))
            self._ordered -= sum(item.key is not None for item in taken)
        return taken

    def take_stale(self, generation: int | None) -> list[Item]:
        """Take out what was not sent and belongs to another generation of the circuit, in order."""
        if {item.generation for item in self._pending} <= {generation}:
            return []
        return self.take_if(lambda item: item.generation != generation)

    def release(self, item: Item) -> None:
        """Let the next of the same key go: this one's request has ended, and where it comes next is settled."""
        if item.key is not None:
            self._busy.discard(item.key)
        self.arrived.set()

    def pass_by(self, item: Item) -> None:
        """Forget that others wait for this alert: it will not come again."""
        waiting = self._deferred.get(item.key or "")
        if waiting is not None and waiting.event_id == item.event.envelope.event_id:
            del self._deferred[item.key or ""]

    def leave(self, item: Item) -> None:
        """Forget an alert: it is settled."""
        self._items.pop(item.entry, None)
        self.left.set()

    def defer(self, item: Item, until: float) -> None:
        """Note that this alert waits for its retry, due before `until`, and lets none of its key overtake it."""
        if item.key is not None:
            self._deferred[item.key] = Deferred(until, item.event.envelope.event_id)

    def take_overtaking(self, now: float) -> list[tuple[Item, float]]:
        """Take out what would overtake an earlier alert of its key that waits for its retry, with the seconds left.

        What waited is claimed a little after it is due; until it has ended, or is not seen for GRACE, it comes first.
        """
        self._deferred = {key: waiting for key, waiting in self._deferred.items() if waiting.until + GRACE > now}
        if not self._deferred:
            return []

        def overtakes(item: Item) -> bool:
            waiting = self._deferred.get(item.key or "")
            return waiting is not None and waiting.event_id != item.event.envelope.event_id

        return [(item, max(0.0, self._deferred[item.key or ""].until - now)) for item in self.take_if(overtakes)]

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Wait for `arrived` or `left`, but not for long: a missed wake-up costs no more than that."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()
        event.clear()

    def _sendable_keys(self) -> int:
        if not self._ordered:
            return 0
        return len({item.key for item in self._pending if item.key is not None and item.key not in self._busy})

    def _take_group(self, size: int) -> list[Item]:
        group: list[Item] = []
        kept: list[Item] = []
        passed_over: set[str] = set()
        weight = 0
        while self._pending and len(group) < size:
            item = self._pending.popleft()
            is_blocked = item.key is not None and (item.key in self._busy or item.key in passed_over)
            if is_blocked or (group and (item.alone or weight + len(item.payload) > BODY_MOST)):
                kept.append(item)
                if item.key is not None:
                    passed_over.add(item.key)
                continue
            if item.key is not None:
                self._busy.add(item.key)
                self._ordered -= 1
            group.append(item)
            weight += len(item.payload)
            if item.alone:
                break
        self._pending.extendleft(reversed(kept))
        return group
