"""Which dead letters a request means, and moving them a batch at a time."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from mutt.dead_groups import Filter
from mutt.dead_letters import Letter, Mutt, Queue, read
from mutt.fields import iso, parse_timestamp
from services.web_ui.context import Context
from services.web_ui.dead_letters import DeadLetters, Found
from services.web_ui.dead_moves import BATCH, Outcome
from services.web_ui.replies import ApiError

# Further on than any list is long, and within what Redis counts to.
START_MAX = 10_000_000

Name = tuple[str, str, int]  # event_id, digest, and the index at which the letter was seen
Act = Callable[[Sequence[Found]], Awaitable[list[Outcome]]]


class Wanted(NamedTuple):
    """The letters of a request: named ones, or those that a filter lets through from an index on."""

    names: list[Name]
    filter: Filter | None = None
    start: int = 0


class Batch(NamedTuple):
    """What was done; where `following` is an index, more may be done from there."""

    outcomes: list[Outcome]
    following: int | None


def of(parts: Context, queue: Queue) -> DeadLetters:
    """Return a list of dead letters."""
    return DeadLetters(parts.redis, parts.settings.names, queue)


def wanted_of(body: Mapping[str, Any], now: datetime | None = None) -> Wanted:
    """Read which letters a JSON body means; raises ApiError 400."""
    names, chosen = body.get("letters"), body.get("filter")
    if (names is None) == (chosen is None):
        raise ApiError(400, "give either `letters` or `filter`", details={"letters": "or `filter`, one of them"})
    if names is not None:
        return Wanted(_names(names))
    if not isinstance(chosen, dict) or not all(isinstance(value, str) for value in chosen.values()):
        raise ApiError(400, "`filter` has to be an object of texts", details={"filter": "error, hostname, q as texts"})
    if set(chosen) - {"error", "hostname", "q"}:
        raise ApiError(400, "`filter` knows error, hostname and q", details={"filter": "error, hostname, q"})
    before, start = body.get("before"), body.get("start", 0)
    moment = parse_timestamp(before) if before is not None else now or datetime.now(UTC)
    if moment is None:
        raise ApiError(400, "`before` has to be a time in ISO 8601", details={"before": "a time in ISO 8601"})
    return Wanted([], Filter(**chosen, before=moment), _index("start", start))


async def carry_out(letters: DeadLetters, wanted: Wanted, act: Act) -> Batch:
    """Do something to the letters that are meant: at most BATCH of them, the newest first."""
    if wanted.filter is None:
        lying = await letters.find_all(wanted.names)
        missing = [
            Outcome(_missing(letters.queue, event_id), "gone", "it does not lie here any more")
            for event_id, digest, _ in wanted.names
            if (event_id, digest) not in lying
        ]
        found = [lying[name] for event_id, digest, _ in wanted.names if (name := (event_id, digest)) in lying]
        return Batch(missing + await act(found), None)
    listing = await letters.listing(wanted.filter, wanted.start, BATCH)
    outcomes = await act(listing.letters) if listing.letters else []
    if any(outcome.status == "full" for outcome in outcomes) or listing.next is None:
        return Batch(outcomes, None)
    # What was moved makes room in front of the index to go on at.
    moved = sum(outcome.status in ("moved", "gone") for outcome in outcomes)
    return Batch(outcomes, max(0, listing.next - moved))


def shown(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as the API tells it."""
    letter = outcome.found.letter
    return {
        "event_id": letter.mutt.event_id,
        "sha256": letter.digest,
        "status": outcome.status,
        "message": outcome.message,
        "new_event_id": outcome.event_id,
    }


def before_of(wanted: Wanted) -> str | None:
    """Return the time that a further batch of the same operation gives back."""
    return iso(wanted.filter.before) if wanted.filter and wanted.filter.before else None


def _names(given: Any) -> list[Name]:
    if not isinstance(given, list) or not 1 <= len(given) <= BATCH:
        raise ApiError(400, f"`letters` has to be a list of 1 to {BATCH}", details={"letters": f"1 to {BATCH}"})
    names = []
    for each in given:
        event_id, digest = (each.get("event_id"), each.get("sha256")) if isinstance(each, dict) else (None, None)
        if not isinstance(event_id, str) or not isinstance(digest, str):
            raise ApiError(400, "each letter needs `event_id` and `sha256`", details={"letters": "event_id, sha256"})
        names.append((event_id, digest.lower(), _index("index", each.get("index", 0))))
    return names


def _index(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= START_MAX:
        allowed = f"a whole number from 0 to {START_MAX}"
        raise ApiError(400, f"`{name}` has to be {allowed}", details={name: allowed})
    return value


def _missing(queue: Queue, event_id: str) -> Found:
    letter = read(queue, b"")
    return Found(0, Letter(queue, letter.kind, b"", b"", Mutt(event_id, "")))
