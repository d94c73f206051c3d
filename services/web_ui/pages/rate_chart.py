"""Events a second by hour and by minute, as coordinates for pictures, and the same as rows of a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple

from mutt import chart
from mutt.chart import Frame
from services.web_ui.board_queries import Change
from services.web_ui.board_redis import RedisBoard

LABEL_EVERY = {True: 3, False: 6}  # hours, wide and narrow
MINUTES = 120
DAY = 24


class Tick(NamedTuple):
    """A label on an axis."""

    at: float
    text: str


class Point(NamedTuple):
    """A row of the table below a chart."""

    local: str
    utc: str
    now: float | None
    before: float | None


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything that an SVG of one chart needs."""

    width: int
    height: int
    frame: Frame
    lines: list[Tick]
    ticks: list[Tick]
    path: str
    fill: str
    before: str
    marks: list[Tick]
    hatch: float | None
    peak: Tick | None
    peak_y: float
    last: Tick | None
    points: list[Point]
    name: str
    gap: str = ""  # since when nothing is known, in words


def hours(board: RedisBoard, now: datetime, zone: tzinfo, changes: Sequence[Change], *, wide: bool) -> Picture:
    """Return the last 24 hours in steps, and the 24 before them; `now` is later than the board while Redis is away."""
    width, height = (600, 222) if wide else (330, 200)
    frame = Frame(44, 14, width - 52, height - 56)
    start = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=DAY - 1)
    found = _hourly(board)
    values = [found.get(start + timedelta(hours=each)) for each in range(DAY)]
    before = [found.get(start + timedelta(hours=each - DAY)) for each in range(DAY)]
    if not any(before):
        before = [None] * DAY
    scale = chart.scale(_both(board, values + before))
    path = chart.steps(values, frame, scale.top)
    each = frame.width / DAY
    peak = max(range(DAY), key=lambda index: values[index] or 0)
    moments = [start + timedelta(hours=index) for index in range(DAY)]
    span = timedelta(hours=DAY)
    return Picture(
        width=width,
        height=height,
        frame=frame,
        lines=_lines(frame, scale),
        ticks=_ticks(moments, frame, zone, LABEL_EVERY[wide]),
        path=path,
        fill=chart.area(path, frame),
        before=chart.steps(before, frame, scale.top),
        marks=[
            Tick(round(frame.left + (change.at - start) / span * frame.width, 1), change.letter)
            for change in changes
            if start <= change.at
        ],
        hatch=_hatch(values, frame),
        peak=Tick(
            min(max(frame.left + (peak + 0.5) * each, frame.left + 60), frame.left + frame.width - 60),
            f"peak {_number(values[peak])} at {moments[peak].astimezone(zone):%H:%M}",
        )
        if values[peak]
        else None,
        peak_y=chart.y_of(values[peak] or 0, frame, scale.top),
        last=None,
        points=[
            Point(f"{at.astimezone(zone):%a %H:%M}", f"{at:%H:%M}", value, old)
            for at, value, old in zip(moments, values, before, strict=True)
        ],
        name=f"Events a second, by hour, over a day: {_number(values[-1])} now, {_number(values[peak])} at the most.",
    )


def minutes(board: RedisBoard, now: datetime, zone: tzinfo) -> Picture:
    """Return the last two hours minute by minute, full minutes only."""
    width, height = 300, 222
    frame = Frame(8, 14, width - 20, height - 56)
    start = now.astimezone(UTC).replace(second=0, microsecond=0) - timedelta(minutes=MINUTES)
    first = board.at.replace(second=0, microsecond=0)
    found = {first - timedelta(minutes=back): count / 60 for back, count in enumerate(board.counters.minutes) if back}
    moments = [start + timedelta(minutes=index) for index in range(MINUTES)]
    values = [found.get(at) for at in moments]
    hourly = list(_hourly(board).values())
    scale = chart.scale(_both(board, hourly))
    path = chart.line(values, frame, scale.top)
    last = values[-1]
    known = next((index for index in reversed(range(MINUTES)) if values[index] is not None), None)
    return Picture(
        width=width,
        height=height,
        frame=frame,
        lines=_lines(frame, scale),
        ticks=_ticks(moments, frame, zone, 1),
        path=path,
        fill=chart.area(path, frame),
        before="",
        marks=[],
        hatch=_hatch(values, frame),
        peak=None,
        peak_y=0,
        last=None if last is None else Tick(chart.y_of(last, frame, scale.top), f"{_number(last)} now"),
        points=[
            Point(f"{at.astimezone(zone):%H:%M}", f"{at:%H:%M}", value, None)
            for at, value in zip(moments, values, strict=True)
        ],
        name=f"Events a second, by minute, over two hours: {_number(last)} in the last full minute.",
        gap=f"no data since {moments[known + 1].astimezone(zone):%H:%M}" if known not in (None, MINUTES - 1) else "",
    )


def _hourly(board: RedisBoard) -> dict[datetime, float]:
    first = board.at.replace(minute=0, second=0, microsecond=0)
    elapsed = max((board.at - first).total_seconds(), 60.0)
    return {
        first - timedelta(hours=back): count / (3600 if back else elapsed)
        for back, count in enumerate(board.counters.hours)
    }


def _both(board: RedisBoard, values: Sequence[float | None]) -> list[float | None]:
    """Return what one scale for both charts has to hold."""
    return [*values, *(count / 60 for count in board.counters.minutes[1:])]


def _lines(frame: Frame, scale: chart.Scale) -> list[Tick]:
    return [Tick(chart.y_of(value, frame, scale.top), _number(value)) for value in scale.values()]


def _ticks(moments: Sequence[datetime], frame: Frame, zone: tzinfo, every: int) -> list[Tick]:
    each = frame.width / len(moments)
    ticks = []
    for index, at in enumerate(moments):
        local = at.astimezone(zone)
        if local.minute or local.hour % every:
            continue
        x = frame.left + index * each
        if x <= frame.left + frame.width - 14:
            ticks.append(Tick(round(x, 1), f"{local:%a} {local.day}" if not local.hour else f"{local:%H:%M}"))
    return ticks


def _hatch(values: Sequence[float | None], frame: Frame) -> float | None:
    """Return where the unknown end begins."""
    missing = 0
    while missing < len(values) and values[-1 - missing] is None:
        missing += 1
    return round(frame.left + (len(values) - missing) * frame.width / len(values), 1) if missing else None


def _number(value: float | None) -> str:
    if value is None:
        return "no data"
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"  # noqa: PLR2004
