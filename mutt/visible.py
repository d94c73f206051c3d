"""Text of events made safe to look at: what would not show, or would change how the rest shows, gets a name."""

import re
from typing import NamedTuple

NAMES = {
    0x09: "TAB",
    0x0A: "LF",
    0x0D: "CR",
    0x1B: "ESC",
    0x200B: "ZWSP",
    0x200C: "ZWNJ",
    0x200E: "LRM",
    0x200F: "RLM",
    0x202A: "LRE",
    0x202B: "RLE",
    0x202C: "PDF",
    0x202D: "LRO",
    0x202E: "RLO",
    0x2066: "LRI",
    0x2067: "RLI",
    0x2068: "FSI",
    0x2069: "PDI",
}
# Controls, what orders text from right to left, what has no width, half characters, and the mark of lost bytes.
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200c\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffd\ud800-\udfff]"
)


class Piece(NamedTuple):
    """A stretch of text; `hidden` when it is the name of one character that cannot be shown."""

    text: str
    hidden: bool


def pieces(text: str, limit: int | None = None) -> list[Piece]:
    """Return text in pieces to be shown one after the other, cut after `limit` characters."""
    shown = text if limit is None else text[:limit]
    found: list[Piece] = []
    start = 0
    for match in _HIDDEN.finditer(shown):
        if match.start() > start:
            found.append(Piece(shown[start : match.start()], hidden=False))
        found.append(Piece(name(match.group()), hidden=True))
        start = match.end()
    if start < len(shown):
        found.append(Piece(shown[start:], hidden=False))
    if len(shown) < len(text):
        found.append(Piece("\u2026", hidden=False))
    return found


def name(character: str) -> str:
    """Return a short name: ESC, RLO, else U+XXXX."""
    code = ord(character)
    return NAMES.get(code) or f"U+{code:04X}"
