"""Measured curves as text, as pictures, and as parts of docs/performance.md between their markers."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.machine import TREE
from benchmarks.plot import Drawn, plot

PAGE = TREE / "docs" / "performance.md"
PICTURES = TREE / "docs" / "images" / "performance"


def text(result: Mapping[str, Any]) -> str:
    """Return a curve for people at a terminal."""
    lines = [result["title"], f"  {result['conditions']}", f"  AOF {result['aof']}; {result['machine']}"]
    heads = [f"{each['name']}, {each['unit']}" for each in result["series"]]
    widths = [max(12, len(head)) for head in heads]
    lines.append(
        f"  {result['x_name']:>20}  " + "  ".join(f"{head:>{w}}" for head, w in zip(heads, widths, strict=True))
    )
    for point in result["points"]:
        cells = (_cell(point, each["key"]) for each in result["series"])
        lines.append(f"  {point['x']:>20,.0f}  " + "  ".join(f"{c:>{w}}" for c, w in zip(cells, widths, strict=True)))
    return "\n".join([*lines, *(f"  {line}" for line in _promises(result))])


def _promises(result: Mapping[str, Any]) -> list[str]:
    return [
        f"{promise['words']}: {'BROKEN: ' + '; '.join(promise['broken']) if promise['broken'] else 'kept'}"
        for promise in result["promises"]
    ]


def _cell(point: Mapping[str, Any], key: str) -> str:
    value = point["values"].get(key)
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:,.3g}"


def picture(result: Mapping[str, Any]) -> str:
    """Return a curve as SVG."""
    points = result["points"]
    series = [
        Drawn(each["name"], each["unit"], [point["values"].get(each["key"]) for point in points], each["panel"])
        for each in result["series"]
    ]
    return plot(result["title"], result["x_name"], [point["x"] for point in points], series)


def section(result: Mapping[str, Any]) -> str:
    """Return the part of the page: what was measured, the picture, the table, the promises."""
    heads = [result["x_name"], *(f"{each['name']}, {each['unit']}" for each in result["series"])]
    lines = [
        f"`{result['command']}`, {result['date']}, append-only file {result['aof']}, {result['machine']}.",
        f"{result['conditions'][0].upper()}{result['conditions'][1:]}.",
        "",
        f"![{result['title']}: the table below as a picture](images/performance/{result['name']}.svg)",
        "",
        "| " + " | ".join(heads) + " |",
        "|" + "--:|" * len(heads),
    ]
    for point in result["points"]:
        cells = [f"{point['x']:,.0f}", *(_cell(point, each["key"]) for each in result["series"])]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *(f"- {line}." for line in _promises(result))])


def between(page: str, name: str, inside: str) -> str:
    """Return the page with what stands between a name's markers replaced."""
    pattern = re.compile(rf"(<!-- growth:{name} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not pattern.search(page):
        raise SystemExit(f"the page has no markers for {name}")
    return pattern.sub(lambda found: f"{found[1]}{inside}\n{found[2]}", page)


def write(result: Mapping[str, Any], page: Path = PAGE, pictures: Path = PICTURES) -> None:
    """Write picture and data, and the part of the page."""
    pictures.mkdir(parents=True, exist_ok=True)
    name = result["name"]
    data = json.dumps(result, indent=1, ensure_ascii=False)
    (pictures / f"{name}.json").write_text(data + "\n", encoding="utf-8")
    (pictures / f"{name}.svg").write_text(picture(result), encoding="utf-8")
    replace(name, section(result), page)


def replace(name: str, inside: str, page: Path = PAGE) -> None:
    """Write what stands between a name's markers of the page."""
    page.write_text(between(page.read_text(encoding="utf-8"), name, inside), encoding="utf-8")
