"""The bar that shows true to scale where an event's time went."""

from collections.abc import Sequence
from typing import NamedTuple

from mutt.journey import Span, duration

WIDTH = 1000.0  # units of the drawing
LEAST = 3.0  # units that a stretch is wide at least, so that it can be seen
TICKS = 6
STEPS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600,
         7200, 21_600, 43_200, 86_400, 172_800, 604_800)  # fmt: skip


class Piece(NamedTuple):
    """A stretch in the drawing's units."""

    x: float
    width: float
    words: str
    state: str


class Bar(NamedTuple):
    """Stretches, and ticks with their words."""

    pieces: list[Piece]
    ticks: list[tuple[float, str]]
    total: str


def bar(spans: Sequence[Span]) -> Bar | None:
    """Return the drawing; None where nothing took any time."""
    total = max((span.end for span in spans), default=0.0)
    if total <= 0:
        return None
    pieces = []
    for span in spans:
        width = max(LEAST, (span.end - span.start) / total * WIDTH)
        x = min(span.start / total * WIDTH, WIDTH - width)
        pieces.append(Piece(round(x, 1), round(width, 1), span.words, span.state))
    step = next((each for each in STEPS if total / each <= TICKS), STEPS[-1])
    count = min(int(total / step), TICKS)
    ticks = [(round(at * step / total * WIDTH, 1), "0" if at == 0 else _tick(at * step)) for at in range(count + 1)]
    return Bar(pieces, ticks, duration(total))


def _tick(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:g} ms"
    if seconds < 60:  # noqa: PLR2004
        return f"{seconds:g} s"
    return duration(seconds)
