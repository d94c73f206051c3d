"""The explorer itself, on protocols small enough to be seen through."""

from collections.abc import Iterator

import pytest

from tests.protocol.explorer import FAULT, explore

Jugs = tuple[int, int]


def nothing_wrong(_state: object) -> list[str]:
    return []


def pour(jugs: Jugs) -> Iterator[tuple[str, Jugs]]:
    small, large = jugs
    yield "fill the small one", (3, large)
    yield "fill the large one", (small, 5)
    yield "empty the small one", (0, large)
    yield "empty the large one", (small, 0)
    part = min(small, 5 - large)
    yield "small into large", (small - part, large + part)
    part = min(large, 3 - small)
    yield "large into small", (small + part, large - part)


def test_it_visits_every_state_and_finds_the_shortest_way() -> None:
    everything = explore([(0, 0)], pour, nothing_wrong, lambda jugs: jugs == (0, 0))
    assert (everything.states, everything.steps, everything.ends, everything.counterexample) == (16, 96, 1, None)
    found = explore([(0, 0)], pour, lambda jugs: ["four liters"] if 4 in jugs else [], bool).counterexample
    assert found is not None
    assert len(found.labels) == 6
    assert "6. large into small" in str(found)
    assert "four liters" in str(found)


def lend(books: int) -> Iterator[tuple[str, int]]:
    if books > 0:
        yield "lend", books - 1
        yield f"{FAULT}lose", -1
    if 0 <= books < 3:
        yield "return", books + 1


def test_a_state_without_a_way_to_a_good_end_is_found() -> None:
    found = explore([3], lend, nothing_wrong, lambda books: books == 3).counterexample
    assert found is not None
    assert (found.labels, found.state) == (["! lose"], -1)
    assert explore([3], lend, nothing_wrong, lambda books: books == 3, must_end=False).counterexample is None


def repair(is_broken: bool) -> Iterator[tuple[str, bool]]:
    yield (f"{FAULT}repair", False) if is_broken else ("break", True)


def test_a_fault_is_no_way_to_a_good_end() -> None:
    found = explore([False], repair, nothing_wrong, lambda is_broken: not is_broken).counterexample
    assert found is not None
    assert found.labels == ["break"]


def test_a_model_that_is_too_large_says_so() -> None:
    with pytest.raises(OverflowError, match="more than 10 states"):
        explore([0], lambda number: [("more", number + 1)], nothing_wrong, bool, most=10)
