"""The curves of growth: promises are judged, pictures hold what was measured, the page keeps its rest."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from benchmarks import growth, performance_page
from benchmarks.growth_frame import Curve, Growth, Option, Point, Promise, Series, as_json, measured
from benchmarks.open_loop import bodies
from benchmarks.plot import Axis, Drawn, plot

SVG = "{http://www.w3.org/2000/svg}"


def points(*values: float, xs: tuple[float, ...] = (0, 100, 1000, 10_000)) -> list[Point]:
    return [Point(x, {"cost": value}) for x, value in zip(xs, values, strict=True)]


@pytest.mark.parametrize(
    ("growth_of", "kept", "broken"),
    [
        ("flat", (10, 10, 11, 12), (10, 10, 10, 21)),
        ("log", (1, 10, 14, 18), (1, 10, 14, 45)),
        ("linear", (1, 10, 90, 900), (1, 10, 90, 2100)),
    ],
)
def test_a_promise_tells_what_grew_faster_than_it_says(
    growth_of: Growth, kept: tuple[float, ...], broken: tuple[float, ...]
) -> None:
    promise = Promise("it holds", "cost", growth_of, 2.0, since=1)
    assert promise.broken(points(*kept)) == []
    (told,) = promise.broken(points(*broken))
    assert told.startswith("cost at 10,000 is")


def test_a_promise_of_a_most_holds_for_the_first_point_too() -> None:
    promise = Promise("within 20", "cost", "flat", 1.0, most=20)
    assert promise.broken(points(20, 1, 1, 20)) == []
    assert len(promise.broken(points(21, 1, 1, 20))) == 1


def test_points_are_measured_in_turn_and_medians_kept() -> None:
    order: list[float] = []

    def measure(x: float) -> Mapping[str, float]:
        order.append(x)
        return {"cost": float(len(order))}

    made = curve(measure)
    found = measured(made, Option(runs=3), lambda _: None)
    assert order == [1, 2, 2, 1, 1, 2]
    assert [point.values["cost"] for point in found] == [4, 3]
    assert found[0].spread["cost"] == (1, 5)


def curve(measure: Any = None) -> Curve:
    series = (Series("cost", "an <event>", "CPU µs"), Series("rate", "events", "events/s"))
    promises = (Promise("It costs the same", "cost", "flat", 1.5),)
    return Curve("thing", "A & B", "on one machine", "things", (1, 2), series, promises, measure)


def result(*costs: float) -> dict[str, Any]:
    found = [Point(x, {"cost": cost, "rate": 1e6 / cost}) for x, cost in zip((1, 1000), costs, strict=True)]
    about = {"machine": "a machine", "date": "2026-11-30", "command": "the command", "aof": "off"}
    return as_json(curve(), found, about)


def test_a_picture_is_svg_with_a_mark_and_words_for_each_value() -> None:
    root = ET.fromstring(performance_page.picture(result(10, 11)))  # noqa: S314  (our own)
    titles = [each.text for each in root.iter(f"{SVG}title")]
    assert titles[0] == "A & B"
    assert "an <event> at 1k: 11 CPU µs" in titles
    assert len(titles) == 5
    assert "prefers-color-scheme:dark" in (root.find(f"{SVG}style").text or "")  # type: ignore[union-attr]
    assert "events (events/s): 1: 100k" in (root.find(f"{SVG}desc").text or "")  # type: ignore[union-attr]


@pytest.mark.parametrize("values", [(0.0,), (0.0, 0.0), (0.0, 1.0, 1e6), (3.0, 3.0), (1.0, 19.0), (0.001, 5.0), (7.0,)])
def test_every_value_has_its_place_on_an_axis(values: tuple[float, ...]) -> None:
    axis = Axis(values, 100)
    places = [axis.place(value) for value in values]
    assert all(-1e-9 <= place <= 100 + 1e-9 for place in places)
    assert places == sorted(places)
    assert len(axis.ticks) >= 2
    assert plot("one", "x", list(values), [Drawn("y", "s", list(values))]).startswith("<svg")


@pytest.mark.parametrize("size", [120, 250, 364, 391, 1000, 60_000])
def test_events_of_a_size_have_it(size: int) -> None:
    room = len(b',"due":1764540000.123456}')
    assert {len(body) + room for body in bodies(size)} == {size}


def test_the_page_gets_its_part_and_keeps_the_rest(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text("before\n<!-- growth:thing -->\nold\n<!-- end -->\nafter\n<!-- bench -->\n<!-- end -->\n")
    performance_page.write(result(10, 30), page, tmp_path / "images")
    text = page.read_text(encoding="utf-8")
    assert "| 1,000 | 30 |" in text
    assert "BROKEN: cost at 1,000 is 30.00, over 15.00" in text
    assert "old" not in text
    assert text.startswith("before\n")
    assert text.endswith("<!-- end -->\nafter\n<!-- bench -->\n<!-- end -->\n")
    assert json.loads((tmp_path / "images" / "thing.json").read_text(encoding="utf-8"))["points"][0]["x"] == 1
    with pytest.raises(SystemExit, match="no markers for other"):
        performance_page.between(text, "other", "")


def test_every_curve_and_table_has_its_place_on_the_page() -> None:
    page = performance_page.PAGE.read_text(encoding="utf-8")
    for name in growth.ALL:
        assert f"<!-- growth:{name} -->\n" in page, name
    assert all(growth.make(name) for name in growth.NAMES)


def test_a_curve_that_cannot_be_measured_leaves_the_others_and_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def grow(name: str, _option: Option) -> dict[str, Any]:
        if name == "queue":
            raise SystemExit("a load generator failed")
        return result(10, 11)

    monkeypatch.setattr(growth, "grow", grow)
    assert growth.main(["queue", "rules"]) == 1
    told = capsys.readouterr().out
    assert "queue: not measured: a load generator failed" in told
    assert "It costs the same: kept" in told
    assert growth.main(["rules"]) == 0


def test_a_curve_tells_all_options_that_give_it_again() -> None:
    assert growth.how(Option()) == growth.how(Option(runs=3)) == ""
    assert growth.how(Option(quick=True, runs=2, appendfsync="always")) == " --quick --runs 2 --appendfsync always"
