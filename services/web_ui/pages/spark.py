"""A small picture of an error budget over its window."""

from collections.abc import Sequence
from typing import NamedTuple

WIDTH, HEIGHT, MARGIN = 160, 40, 4


class Spark(NamedTuple):
    """The path, the height of zero, and the last point; all within 160 by 40."""

    path: str
    zero: float
    x: float
    y: float
    overspent: bool


def spark(left: Sequence[float | None]) -> Spark | None:
    """Return the picture of what was left after each hour; None before anything was counted."""
    known = [value for value in left if value is not None]
    if not known:
        return None
    low, high = min(0.0, *known), max(1.0, *known)

    def y_of(value: float) -> float:
        return round(MARGIN + (high - value) / (high - low) * (HEIGHT - 2 * MARGIN), 1)

    step = (WIDTH - 2 * MARGIN) / max(len(left) - 1, 1)
    points = [(round(MARGIN + index * step, 1), y_of(value)) for index, value in enumerate(left) if value is not None]
    path = "M" + "L".join(f"{x} {y}" for x, y in points)
    return Spark(path, y_of(0.0), *points[-1], known[-1] < 0)
