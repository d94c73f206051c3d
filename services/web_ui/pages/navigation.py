"""The console's pages in their order, with the counts that stand beside them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from mutt import words
from services.web_ui.board import FRESH, Board


class Count(NamedTuple):
    """A figure beside a page; `state` is "" or warn, "" as text where it is not known yet."""

    text: str
    state: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """A page in the navigation."""

    path: str
    label: str
    key: str
    count: Count | None
    current: bool


_GROUPS: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...] = (
    (
        "Watch",
        (
            ("/", "Dashboard", "d"),
            ("/events", "Events", "e"),
            ("/unhandled", "Unhandled", "u"),
            ("/dead-letters", "Dead letters", "l"),
        ),
    ),
    (
        "Decide",
        (("/rules", "Rules", "r"), ("/hosts", "Hosts and teams", "h"), ("/configuration", "Configuration", "c")),
    ),
    ("Account", (("/changes", "Changes", "a"), ("/slo", "SLO", "s"), ("/help", "Help", ""))),
)


def items(counts: Mapping[str, Count], path: str) -> list[tuple[str, list[Item]]]:
    """Return the groups with their pages; the one that is open, or holds what is open, is current."""
    return [
        (title, [Item(place, text, key, counts.get(place), _holds(place, path)) for place, text, key in pages])
        for title, pages in _GROUPS
    ]


def counts(board: Board, now: datetime) -> dict[str, Count]:
    """Return the counts by path; what is not known is `?`."""
    found: dict[str, Count] = {}
    if board.database is not None:
        found["/rules"] = Count("?" if board.database_as_of(now) else words.count(board.database.rules))
    if board.redis is None or board.redis_silent is not None or now - board.redis.at > FRESH:
        return found | {"/dead-letters": Count("?"), "/unhandled": Count("?")}
    if board.near:
        found["/unhandled"] = Count(f"{words.count(board.near)} near")
    if board.redis.dead:
        found["/dead-letters"] = Count(words.count(board.redis.dead), "warn")
    return found


def _holds(place: str, path: str) -> bool:
    return path == place or (place != "/" and path.startswith(place + "/"))
