"""The frame of the benchmarks: what is made of figures, without measuring any."""

import contextlib
import itertools
import json
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks import compare, counted, growth, instructions, measuring, rows_page, table, table_text
from benchmarks.compare import Change
from benchmarks.measuring import Bench, Figure, Floor, NotHere, Side

MACHINE = {
    "cores": 2, "model": "CPU", "memory_gib": 24, "kernel": "Linux 6", "python": "3.11.7", "redis": "Valkey 9",
    "postgresql": "18", "fsync_us": 493,
}  # fmt: skip


def side(name: str, rates: Sequence[float], cpu: float | None = None, order: list[str] | None = None) -> Side:
    """Return a side that has these rates, one a run."""
    left = iter(rates)

    def measure(scale: float) -> Figure:
        if order is not None:
            order.append(name)
        return Figure(next(left) * scale, cpu, {"p99_ms": 2.0})

    return Side(name, f"what {name} is", measure)


def absent(_scale: float) -> Figure:
    raise NotHere("it is not installed")


def row(*sides: Side, floors: Sequence[Floor] = (), name: str = "row") -> Bench:
    return Bench(name, "A row", "AOF off", sides, floors)


def test_sides_are_measured_in_turn_and_the_turn_is_turned_round() -> None:
    order: list[str] = []
    bench = row(side("stack", [1, 2, 3], order=order), side("mutt", [1, 2, 3], order=order))
    measuring.run(bench, 3, 1.0, lambda _: None)
    assert order == ["stack", "mutt", "mutt", "stack", "stack", "mutt"]


def test_a_floor_is_asked_of_the_medians_and_less_cpu_is_better() -> None:
    floors = (
        Floor("mutt", "stack", 20),
        Floor("mutt", "stack", 6, "cpu_us"),
        Floor("mutt", "stack", 31, why="slow disk"),
    )
    bench = row(side("stack", [10, 1, 12], 50.0), side("mutt", [300, 300, 1], 10.0), floors=floors)
    outcome = measuring.run(bench, 3, 1.0, lambda _: None)
    rate, cpu, high = outcome.verdicts
    assert rate.ratio is not None
    assert (rate.ratio.median, rate.reached) == (30, True)
    assert (rate.ratio.least, rate.ratio.most) == (1 / 12, 300)
    assert cpu.ratio is not None
    assert (cpu.ratio.median, cpu.reached) == (5, False)
    assert measuring.judged(high).endswith("NOT reached: slow disk")
    assert "NOT reached" in measuring.text(outcome)


def test_a_side_that_is_not_here_leaves_the_others_and_its_floor_unmeasured() -> None:
    bench = row(Side("rsyslog", "", absent), side("mutt", [3, 4]), floors=(Floor("mutt", "rsyslog", 1),))
    outcome = measuring.run(bench, 2, 1.0, lambda _: None)
    missing, mutt = outcome.sides
    assert missing.missing == "it is not installed"
    assert mutt.per_second is not None
    assert outcome.verdicts[0].reached is None
    assert "mutt / rsyslog: not measured" in measuring.text(outcome)


def test_the_command_line_prints_json_and_can_leave_out_what_has_no_floor(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def bench(options: Namespace) -> Iterator[Bench]:
        assert options.appendfsync == "off"
        sys.stdout.write("a line of a log\n")
        yield row(side("stack", [1]), side("mutt", [30]), floors=(Floor("mutt", "stack", 20),))

    monkeypatch.setattr("sys.argv", ["row", "--quick", "--json", "--judged"])
    measuring.main(bench, "A row.")
    told = json.loads(capsys.readouterr().out)
    assert (told["runs"], told["scale"], told["verdicts"]) == (1, 0.1, [])
    assert [each["name"] for each in told["sides"]] == ["mutt"]
    assert told["sides"][0]["per_second"]["median"] == pytest.approx(3)


def document(*rows: dict[str, object]) -> dict[str, object]:
    return {"command": "muttdev bench", "appendfsync": "off", "machine": MACHINE, "rows": rows}


def outcome(name: str = "row") -> dict[str, object]:
    floors = (
        Floor("mutt", "stack", 20),
        Floor("mutt", "limit", 0.5, why="Redis"),
        Floor("mutt", "rsyslog", 1, "cpu_us"),
    )
    sides = (side("stack", [10], 50.0), side("limit", [900]), side("mutt", [300], 10.0), Side("rsyslog", "", absent))
    measured = measuring.run(row(*sides, floors=floors, name=name), 1, 1.0, lambda _: None)
    return {**json.loads(json.dumps(measured.as_json())), "date": "2026-11-30"}


def test_the_table_shows_each_row_with_what_it_is_compared_with_and_those_that_failed() -> None:
    reasons: table_text.Reasons = {}
    first, failed = table_text.cells([outcome(), {"name": "audit", "failed": "it ended with 1"}], reasons)
    assert first[:5] == ("A row", "10/s", "900/s", "300/s (300-300)", "50.0, 10.0")
    assert first[5] == (
        "30.0 x stack (asked: 20), reached; 0.33 of limit (asked: 0.5), **not reached** (1); "
        "rsyslog: not measured (asked: 1)"
    )
    assert reasons == {"Redis": 1}
    assert failed == ("audit", "", "", "not measured", "", "it ended with 1")
    whole = document(outcome())
    assert "2 x CPU, 24 GiB" in table_text.text(whole)
    assert "| A row | 10/s |" in table_text.markdown(whole)
    assert all("\n1. Redis." in told for told in (table_text.text(whole), table_text.markdown(whole)))


def test_sides_of_one_row_that_are_judged_each_have_a_line() -> None:
    sides = [side(f"{kind} {rules}", [1]) for kind, rules in itertools.product(("stack", "mutt"), ("100", "1,000"))]
    floors = [Floor(f"mutt {rules}", f"stack {rules}", 8) for rules in ("100", "1,000")]
    made = measuring.run(row(*sides, floors=floors), 1, 1.0, lambda _: None).as_json()
    assert [line[0] for line in table_text.cells([made], {})] == ["A row, 100", "A row, 1,000"]


def test_writing_keeps_what_was_not_measured_now_and_replaces_only_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_text, "TREE", tmp_path)
    (tmp_path / "docs").mkdir()
    pages = [tmp_path / name for name in table_text.PAGES["off"]]
    for page in pages:
        page.write_text("before\n<!-- bench -->\nold\n<!-- end -->\nafter\n", encoding="utf-8")
    table_text.write(document(outcome("one"), {"name": "two", "failed": "it ended with 1"}), ("one", "two"))
    table_text.write(document({**outcome("two"), "date": "2026-12-01"}), ("one", "two"))
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert text.startswith("before\n<!-- bench -->\n`muttdev bench`, 2026-11-30 to 2026-12-01,")
        assert text.endswith("\n<!-- end -->\nafter\n")
        assert text.count("| A row |") == 2
    with pytest.raises(SystemExit, match="no pair of markers"):
        table_text.between("a page", "a table")


def test_a_row_that_fails_is_told_with_how_to_run_it() -> None:
    assert f"run {sys.executable} -m benchmarks.no_such_row --json" in table.measured("no_such_row", [])["failed"]
    assert "is no outcome" in table.measured("machine", [])["failed"]  # prints nothing


def test_the_command_beside_a_table_gives_its_rows_again() -> None:
    options = measuring.arguments("").parse_args(["--runs", "3", "--scale", "0.3", "--appendfsync", "always"])
    assert table.command_of(options).endswith("bench --runs 3 --scale 0.3 --appendfsync always")
    earlier = outcome("one") | {"command": "bench --runs 5"}
    told = table_text.markdown(document(earlier, outcome("two")))
    assert told.startswith("`bench --runs 5` and `muttdev bench`, 2026-11-30, append-only file off; 2 x CPU")


def test_what_a_row_depends_on_stands_below_the_table_and_what_is_no_plain_stack_is_named() -> None:
    page = table_text.with_conditions("<!-- bench -->\n<!-- end -->", document(outcome()))
    assert page.endswith("\n\nWhat they depend on:\n\n- A row: AOF off.\n<!-- end -->")
    bench = row(side("one", [10]), side("two", [14]), floors=(Floor("two", "one", 1.35),))
    (line,) = table_text.cells([measuring.run(bench, 1, 1.0, lambda _: None).as_json()], {})
    assert line[1] == "what one is: 10/s"


def test_the_page_on_sizing_takes_its_example_from_the_row_of_batches_where_there_is_one() -> None:
    page = "<!-- bench -->\n<!-- end -->\n| cores | 0.11 at work |"
    assert table_text.with_sizing(page, document(outcome("ingest_single"))).endswith("| cores | 0.11 at work |")
    assert table_text.with_sizing(page, document(outcome("end_to_end_batches"))).endswith("| cores | 0.02 at work |")


def test_of_what_is_the_most_of_a_run_the_most_of_all_is_told() -> None:
    stalls = iter((3.0, 70.0, 4.0))
    bench = row(Side("calm", "", lambda _: Figure(1, notes={"most ms": next(stalls), "p99_ms": 1.0})))
    found = measuring.run(bench, 3, 1.0, lambda _: None)
    assert found.sides[0].notes == {"most ms": 70.0, "p99_ms": 1.0}
    lines = rows_page.table(found).splitlines()
    assert lines[0] == "|  | events/s (least-most) | CPU µs | most ms | p99 ms |"
    assert lines[2] == "|  | 1 (1-1) |  | 70.0 | 1.00 |"


def test_a_row_that_fails_in_this_checkout_is_no_row_that_cannot_be_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    trees, failing = (table.Tree(Path("other")), table.HERE), {table.HERE}
    ended = {"failed": "it ended with 1"}
    monkeypatch.setattr(compare, "measured", lambda _name, _options, tree: ended if tree in failing else outcome())
    with pytest.raises(compare.FailsHereError, match="this checkout: it ended with 1"):
        compare.compared("row", trees, 1, [])
    failing = {trees[0]}
    with pytest.raises(NotHere, match="the other commit") as told:
        compare.compared("row", trees, 1, [])
    assert not isinstance(told.value, compare.FailsHereError)


@pytest.mark.parametrize(
    ("before", "after", "less", "worse"),
    [
        ([100, 102, 98], [90, 91, 89], False, True),
        ([100, 102, 88], [90, 91, 89], False, False),  # the runs overlap: noise
        ([100, 102, 98], [97, 96.5, 96], False, False),  # within the bound
        ([10, 10.1, 9.9], [11, 11.1, 10.9], True, True),
        ([10, 10.1, 9.9], [9, 9.1, 8.9], True, False),
    ],
)
def test_a_figure_is_worse_beyond_its_bound_and_beyond_noise(
    before: list[float], after: list[float], less: bool, worse: bool
) -> None:
    change = Change("row mutt", "a second", before, after, 0.05, less=less)
    assert change.is_worse is worse
    assert str(change).endswith("WORSE") is worse


def test_another_commit_is_checked_out_with_these_benchmarks_and_runs_its_own_modules(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(compare, "_same_libraries", lambda _folder: True)
    with compare.checked_out("HEAD") as other:
        assert (other.folder / "benchmarks/compare.py").read_bytes() == Path(compare.__file__).read_bytes()
        folder = other.folder
    assert not folder.exists()
    with pytest.raises(SystemExit, match="would run the modules of"):
        compare.require_own_modules(table.Tree(tmp_path))
    with pytest.raises(SystemExit, match="no_such_commit"), compare.checked_out("no_such_commit"):
        pass


def test_what_counts_instructions_is_read_as_it_says_it() -> None:
    assert instructions._of_perf("8812345,,instructions:u,1000,100.00,,\n") == 8_812_345
    assert instructions._of_perf("<not supported>,,instructions:u,0,100.00,,\n") is None
    assert instructions._of_valgrind("==7== \n==7== I   refs:      282,947,504\n") == 282_947_504


@pytest.mark.parametrize("piece", counted.PIECES)
def test_each_piece_that_is_counted_runs(piece: str) -> None:
    counted.PIECES[piece](instructions.given())()


def test_a_row_of_the_page_that_could_not_be_measured_ends_its_command_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(_: float) -> Figure:
        raise measuring.NotHere("one core is too few")

    made = row(Side("four", "four of them", measure))
    monkeypatch.setattr("benchmarks.instances.bench", lambda _: contextlib.nullcontext(made))
    assert growth.main(["instances", "--runs", "1"]) == 1
