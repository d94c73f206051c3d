"""Charts as coordinates: scales from zero, steps for hours, lines for minutes, gaps where nothing is known."""

from collections.abc import Sequence
from typing import NamedTuple

LINES = 4


class Frame(NamedTuple):
    """Where the drawing stands in its picture."""

    left: float
    top: float
    width: float
    height: float

    @property
    def floor(self) -> float:
        """Return where zero is."""
        return self.top + self.height


class Scale(NamedTuple):
    """A scale from zero to `top` with a line each `step`."""

    top: float
    step: float

    def values(self) -> list[float]:
        """Return the lines' values, zero first."""
        return [self.step * number for number in range(round(self.top / self.step) + 1)]


def scale(values: Sequence[float | None]) -> Scale:
    """Return the smallest scale of round numbers that holds all values in at most four steps."""
    most = max((value for value in values if value is not None), default=0.0)
    if most <= 0:
        return Scale(1.0, 1.0)
    magnitude = 10.0 ** (len(str(int(most))) - 1) if most >= 1 else 0.1
    while True:
        for factor in (0.25, 0.5, 1.0, 2.0, 2.5, 5.0):
            step = magnitude * factor
            if step * LINES >= most:
                return Scale(step * (int((most - 1e-9) / step) + 1), step)
        magnitude *= 10


def y_of(value: float, frame: Frame, top: float) -> float:
    """Return the height of a value in the picture."""
    return round(frame.floor - min(value / top, 1.0) * frame.height, 1)


def steps(values: Sequence[float | None], frame: Frame, top: float) -> str:
    """Return a path with one level for each value; a gap where a value is unknown."""
    each = frame.width / max(len(values), 1)
    parts, drawing = [], False
    for index, value in enumerate(values):
        if value is None:
            drawing = False
            continue
        left, right = frame.left + index * each, frame.left + (index + 1) * each
        parts.append(f"{'L' if drawing else 'M'}{left:.1f} {y_of(value, frame, top)}H{right:.1f}")
        drawing = True
    return "".join(parts)


def line(values: Sequence[float | None], frame: Frame, top: float) -> str:
    """Return a path through the middle of each value's place; a gap where one is unknown."""
    each = frame.width / max(len(values), 1)
    parts, drawing = [], False
    for index, value in enumerate(values):
        if value is None:
            drawing = False
            continue
        parts.append(f"{'L' if drawing else 'M'}{frame.left + (index + 0.5) * each:.1f} {y_of(value, frame, top)}")
        drawing = True
    return "".join(parts)


def area(path: str, frame: Frame) -> str:
    """Return a path of one piece closed along the floor."""
    if not path or path.count("M") != 1:
        return ""
    start = path[1:].split(" ", 1)[0]
    last = path.replace("H", "L").rsplit("L", 1)[-1].split(" ", 1)[0]
    return f"{path}L{last} {frame.floor:.1f}L{start} {frame.floor:.1f}Z"
