"""Small plots as SVG: series over one axis, a panel for each unit, light and dark by the reader's setting."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, PANEL, TOP, LEFT, RIGHT, BOTTOM = 720, 200, 40, 74, 20, 44
GAP = 34
LOG_FROM = 20.0  # most / least: from here an axis is logarithmic
MARKS = ("M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0Z", "M-4-4H4V4H-4Z", "M0-5L5 4H-5Z", "M0-5L5 0L0 5L-5 0Z")
STYLE = """
svg{font:12px system-ui,sans-serif;--ink:#1c2430;--dim:#5b6675;--line:#d8dee6;--paper:#ffffff;--a:#0b63c5;--b:#b3471b;--c:#2f7d32;--d:#7a3fb0}
@media(prefers-color-scheme:dark){svg{--ink:#e6eaf0;--dim:#9aa7b6;--line:#333c48;--paper:#12171d;--a:#6db3ff;--b:#ff9d6b;--c:#7fd083;--d:#c79bf2}}
.paper{fill:var(--paper)}text{fill:var(--dim)}.name{fill:var(--ink);font-size:14px;font-weight:600}.grid{stroke:var(--line)}
.s path{stroke-width:2}.line{fill:none}.s0{stroke:var(--a);fill:var(--a)}.s1{stroke:var(--b);fill:var(--b)}.s2{stroke:var(--c);fill:var(--c)}.s3{stroke:var(--d);fill:var(--d)}
.s .line{fill:none}.s text{stroke:none;fill:var(--ink)}
"""  # noqa: E501


@dataclass(frozen=True)
class Drawn:
    """One series: its values are as many as the plot's x; None where there is none."""

    name: str
    unit: str
    values: Sequence[float | None]
    panel: str = ""  # those of the same panel and unit are drawn together


class Axis:
    """A scale from values to a length; logarithmic where they span much, else from zero."""

    def __init__(self, values: Sequence[float], length: float) -> None:
        most, above = max(values, default=1.0) or 1.0, [value for value in values if value > 0]
        self.length, self.is_log = length, bool(above) and most / min(above) >= LOG_FROM
        self.zero = self.is_log and min(values) <= 0  # a zero has its own place, left of the first decade
        if self.is_log:
            self.low, self.high = math.floor(math.log10(min(above))), math.ceil(math.log10(most))
            self.low -= self.zero
            self.ticks = [0.0] * self.zero + [10.0**power for power in range(self.low + self.zero, self.high + 1)]
        else:
            step = 10 ** math.floor(math.log10(most))
            step = next(step * factor for factor in (0.2, 0.25, 0.5, 1.0, 2.0) if step * factor * 5 >= most)
            self.high = step * math.ceil(most / step - 1e-9)
            self.ticks = [step * number for number in range(round(self.high / step) + 1)]

    def place(self, value: float) -> float:
        """Return where a value is."""
        if not self.is_log:
            return value / self.high * self.length
        power = self.low if value <= 0 else math.log10(value)
        return (power - self.low) / (self.high - self.low) * self.length


def number(value: float) -> str:
    """Return a number as short text: 1.5, 20, 3k, 20M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def plot(title: str, x_name: str, xs: Sequence[float], series: Sequence[Drawn]) -> str:
    """Return the picture."""
    panels: dict[tuple[str, str], list[Drawn]] = {}
    for each in series:
        panels.setdefault((each.panel, each.unit), []).append(each)
    height = TOP + len(panels) * (PANEL + GAP) - GAP + BOTTOM
    across = Axis(xs, WIDTH - LEFT - RIGHT)
    told = "; ".join(
        f"{each.name} ({each.unit}): "
        + ", ".join(f"{number(x)}: {number(y)}" for x, y in zip(xs, each.values, strict=True) if y is not None)
        for each in series
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"',
        f'aria-labelledby="title told"><title id="title">{escape(title)}</title>',
        f'<desc id="told">By {escape(x_name)}. {escape(told)}</desc><style>{STYLE}</style>',
        f'<rect class="paper" width="{WIDTH}" height="{height}"/>',
        f'<text class="name" x="{LEFT}" y="18">{escape(title)}</text>',
    ]
    for place, ((_, unit), drawn) in enumerate(panels.items()):
        parts.append(_panel(TOP + place * (PANEL + GAP), unit, xs, drawn, across))
    floor = height - BOTTOM
    labels = xs if across.is_log and len(xs) <= len(across.ticks) + 3 else across.ticks
    parts += [
        f'<text x="{LEFT + across.place(x):.1f}" y="{floor + 16}" text-anchor="middle">{number(x)}</text>'
        for x in labels
    ]
    scale = ", logarithmic" if across.is_log else ""
    parts.append(
        f'<text x="{LEFT + across.length / 2:.0f}" y="{floor + 36}" text-anchor="middle">'
        f"{escape(x_name)}{scale}</text></svg>"
    )
    return "\n".join(parts) + "\n"


def _panel(top: float, unit: str, xs: Sequence[float], series: Sequence[Drawn], across: Axis) -> str:
    known = [value for each in series for value in each.values if value is not None]
    up = Axis(known, PANEL)
    floor = top + PANEL
    parts = []
    for tick in up.ticks:
        y = floor - up.place(tick)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{number(tick)}</text>')
    scale = ", logarithmic" if up.is_log else ""
    parts.append(
        f'<text transform="translate(16 {top + PANEL / 2:.0f}) rotate(-90)" text-anchor="middle">'
        f"{escape(unit)}{scale}</text>"
    )
    legend = LEFT
    for place, each in enumerate(series):
        style, mark = f"s{place % len(MARKS)}", MARKS[place % len(MARKS)]
        points = [
            (LEFT + across.place(x), floor - up.place(y), x, y)
            for x, y in zip(xs, each.values, strict=True)
            if y is not None
        ]
        line = "".join(f"{'L' if index else 'M'}{x:.1f} {y:.1f}" for index, (x, y, _, _) in enumerate(points))
        parts.append(f'<g class="s {style}"><path class="line" d="{line}"/>')
        parts += [
            f'<path d="{mark}" transform="translate({x:.1f} {y:.1f})">'
            f"<title>{escape(each.name)} at {number(at)}: {number(value)} {escape(unit)}</title></path>"
            for x, y, at, value in points
        ]
        parts.append(f'<path d="{mark}" transform="translate({legend + 5} {top - 10:.0f})"/>')
        parts.append(f'<text x="{legend + 14}" y="{top - 6:.0f}">{escape(each.name)}</text></g>')
        legend += 30 + 7 * len(each.name)
    return "\n".join(parts)
