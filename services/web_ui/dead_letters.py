"""The dead letters as they lie in Redis: read a page at a time, grouped over the newest, found by id and digest."""

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from redis.asyncio import Redis

from mutt import keys
from mutt.dead_groups import Filter, Group, group
from mutt.dead_letters import NO_ID, Kind, Letter, Queue, read
from mutt.settings import QueueNames
from services.protocol.script import beside

PAGE = 100  # entries in one reply: at most some 6 MB
LOOKED_AT = 5000  # newest entries that a listing or the groups look at; they say so
LOOKED_AT_BYTES = 32 * 1024 * 1024
FIND_PAGE = 2000  # entries that one script looks through

_find = beside(__file__, "find")


class Found(NamedTuple):
    """A letter and where it lay when it was seen: 0 is the newest."""

    place: int
    letter: Letter


class Listing(NamedTuple):
    """Letters, newest first; `next` is the index to go on at, None at the end; `total` counts the whole list."""

    letters: list[Found]
    next: int | None
    total: int


class Survey(NamedTuple):
    """The groups of the newest `looked_at` of `total` letters."""

    groups: list[Group]
    looked_at: int
    total: int


class DeadLetters:
    """One list of dead letters."""

    def __init__(self, redis: Redis, names: QueueNames, queue: Queue) -> None:
        self.queue = queue
        self.key = list_of(names, queue)
        self._redis = redis

    async def depth(self) -> int:
        """Return how many letters there are."""
        return int(await self._redis.llen(self.key))

    async def listing(self, wanted: Filter, start: int, limit: int, looked_at: int = LOOKED_AT) -> Listing:
        """Return up to `limit` letters that the filter lets through, from an index on."""
        letters: list[Found] = []
        following: int | None = None
        total = await self.depth()
        async for found in self._walk(start, looked_at):
            if len(letters) == limit:
                following = found.place
                break
            if wanted.lets(found.letter):
                letters.append(found)
            following = found.place + 1
        return Listing(letters, following if following is not None and following < total else None, total)

    async def survey(self, wanted: Filter) -> Survey:
        """Group the newest letters that the filter lets through by what they died of."""
        total, looked_at = await self.depth(), 0
        letters = []
        async for found in self._walk(0, LOOKED_AT):
            looked_at += 1
            if wanted.lets(found.letter):
                letters.append(found.letter)
        return Survey(group(letters), looked_at, total)

    async def find(self, event_id: str, digest: str | None = None, near: int = 0) -> Found | None:
        """Return the letter of an id, the very one of a digest where one is given; None when it is gone."""
        return (await self.find_all([(event_id, digest, near)])).get((event_id, digest))

    async def find_all(self, names: Sequence[tuple[str, str | None, int]]) -> dict[tuple[str, str | None], Found]:
        """Return those of the named letters that lie here, by id and digest.

        The third of a name is the index at which it was seen: from a little in front of it on, it is found at once
        however long the list is. Only for those that are not there the whole list is looked through, once for all.
        """
        found: dict[tuple[str, str | None], Found] = {}
        left = {(event_id, digest) for event_id, digest, _ in names}
        for start in _starts(near for _, _, near in names):
            await self._look(start, left, found)
        await self._look_through(left, found, None)
        return found

    async def newest_of(self, event_ids: Iterable[str], most: int) -> dict[str, Letter]:
        """Return the newest letter of each id that has one among the `most` newest."""
        found: dict[tuple[str, str | None], Found] = {}
        await self._look_through({(event_id, None) for event_id in event_ids}, found, most)
        return {event_id: each.letter for (event_id, _), each in found.items()}

    async def _look_through(
        self, left: set[tuple[str, str | None]], found: dict[tuple[str, str | None], Found], most: int | None
    ) -> None:
        start, is_end = 0, False
        while left and not is_end and (most is None or start < most):
            is_end = await self._look(start, left, found)
            start += FIND_PAGE

    async def _look(
        self, start: int, left: set[tuple[str, str | None]], found: dict[tuple[str, str | None], Found]
    ) -> bool:
        """Move what one part of the list holds from `left` to `found`; tell whether the list ends in it."""
        if not left:
            return True
        ids = {"" if event_id == NO_ID else event_id for event_id, _ in left}
        looked_at, *pairs = await _find(self._redis, [self.key], [start, start + FIND_PAGE - 1, *ids])
        for place, entry in zip(pairs[::2], pairs[1::2], strict=True):
            letter = read(self.queue, entry)
            for name in ((letter.mutt.event_id, letter.digest), (letter.mutt.event_id, None)):
                if name in left:
                    left.remove(name)
                    found[name] = Found(place, letter)
        return bool(looked_at < FIND_PAGE)

    async def _walk(self, start: int, most: int) -> AsyncIterator[Found]:
        """Yield letters from an index on, at most `most`, and at most LOOKED_AT_BYTES of them."""
        index, size, end = start, 0, start + most
        while index < end and size < LOOKED_AT_BYTES:
            last = min(index + PAGE, end) - 1
            page: list[Any] = await self._redis.lrange(self.key, index, last)
            for entry in page:
                yield Found(index, read(self.queue, entry))
                index += 1
                size += len(entry)
            if len(page) < PAGE:
                return


def _starts(nears: Iterable[int]) -> Iterator[int]:
    """Yield where parts of a list begin that hold every one of the indexes, each a little in front of its first."""
    end = -1
    for near in sorted(nears):
        if near >= end:
            start = max(0, near - FIND_PAGE // 2)
            end = start + FIND_PAGE - FIND_PAGE // 4
            yield start


def list_of(names: QueueNames, queue: Queue) -> str:
    """Return the Redis list of a queue of dead letters."""
    named = {Queue.ALERTER: names.alerter_dlq, Queue.MOOG: names.moog_dlq}
    return named.get(queue) or {Queue.POISON: keys.POISON, Queue.QUARANTINE: keys.QUARANTINE}[queue]


def shown(found: Found) -> dict[str, Any]:
    """Return a letter as the API lists it."""
    letter, mutt = found.letter, found.letter.mutt
    return {
        "event_id": mutt.event_id,
        "sha256": letter.digest,
        "index": found.place,
        "kind": str(letter.kind),
        "hostname": letter.hostname,
        "message": letter.message[:1000],
        "error": letter.error,
        "error_type": mutt.last_error.type if mutt.last_error else None,
        "received_at": mutt.received_at or None,
        "died_at": letter.died_at or None,
        "first_failed_at": mutt.first_failed_at,
        "retry_count": mutt.retry_count,
        "remediation_attempts": mutt.remediation_attempts,
        "handling": letter.decision.get("handling"),
        "team": letter.decision.get("team"),
        "rule_id": letter.decision.get("rule_id"),
        "replaces": mutt.replaces,
        "size": len(letter.entry),
        "can_replay": letter.kind is not Kind.UNREADABLE,
    }
