"""The lane's protocol: every state that few runs, events and faults can reach, and each hole found that is put back.

With `-s` each test prints how many states it saw, and the shortest way to each hole's harm. With
`MUTT_EXPLORE=more` it also takes larger sizes, and minutes.
"""

import os

import pytest

from tests.protocol.lane_holes import HOLES, ONE
from tests.protocol.lane_model import LaneModel
from tests.protocol.lane_promises import explored


class OneByOne(LaneModel):
    """The lane where two recoveries make a dead letter: there are no groups then."""

    limit = together = 1


CRASHES = {"any": 2, "crash": 1, "stall": 1, "lost": 1}
EXPLORATIONS = {
    "two runs": LaneModel("ab", CRASHES),
    "two batches in a run": LaneModel("ab", {"any": 2, "crash": 1, "stall": 1, "lost": 2}, pipelined=True),
    "three events": LaneModel("ab", ONE, later="c", blocking=True, pipelined=True),
    "a claim that waits": LaneModel("a", CRASHES, later="b", names=("x",), blocking=True, pipelined=True),
    "one name": LaneModel("ab", {**CRASHES, "any": 1}, names=("x", "x")),
    "one name, and an orderly end": LaneModel("ab", {**CRASHES, "any": 1, "stop": 1}, names=("x", "x")),
    "PostgreSQL comes back": LaneModel("ab", {"any": 2, "crash": 1, "lost": 1, "database": 1, "commit": 1, "stop": 1}),
    "PostgreSQL stays away": LaneModel("ab", {"any": 2, "crash": 1, "lost": 1, "database": 1}, database_returns=False),
    "an event that kills": LaneModel("aKb", {"any": 1, "crash": 1, "lost": 1}, pipelined=True),
    "an event that kills one run": LaneModel("aKb", CRASHES, names=("x",), pipelined=True),
    "an event that kills, and a small limit": OneByOne("aKb", {"any": 1, "crash": 1, "lost": 1}, pipelined=True),
    "a row that is refused": LaneModel("aR", {**CRASHES, "database": 1}),
    "Redis away": LaneModel("ab", {"any": 2, "redis": 1, "crash": 1, "lost": 1}),
}

if os.environ.get("MUTT_EXPLORE") == "more":
    pytestmark = pytest.mark.timeout(3600)
    MORE = {"any": 3, "crash": 2, "stall": 2, "lost": 2}
    EXPLORATIONS |= {
        "two runs, more faults": LaneModel("ab", MORE, pipelined=True),
        "a claim that waits beside another": LaneModel("a", CRASHES, later="b", blocking=True, pipelined=True),
        "an event that kills, more faults": LaneModel("aKb", ONE, pipelined=True, blocking=True),
        "three runs": LaneModel("ab", {**MORE, "any": 1}, names=("x", "x", "y")),
        "three events, more faults": LaneModel("ab", {**MORE, "any": 2}, later="c", blocking=True, pipelined=True),
        "one name, more faults": LaneModel("ab", {**MORE, "any": 2}, names=("x", "x")),
        "PostgreSQL comes back, more faults": LaneModel(
            "aR", {"any": 3, "crash": 2, "stall": 1, "lost": 2, "database": 2, "commit": 1, "stop": 1}
        ),
    }


@pytest.mark.parametrize("name", EXPLORATIONS)
def test_no_state_breaks_a_promise(name: str) -> None:
    seen = explored(EXPLORATIONS[name])
    print(f"\n{name}: {seen.states} states, {seen.steps} steps, {seen.ends} good ends")  # noqa: T201  (with -s)
    assert seen.counterexample is None, f"\n{seen.counterexample}"
    assert seen.ends


@pytest.mark.parametrize("hole", HOLES, ids=lambda hole: hole.__name__)
def test_a_hole_that_is_put_back_is_found(hole: type[LaneModel]) -> None:
    seen = explored(HOLES[hole])
    print(f"\n{hole.__doc__}\n{seen.counterexample}")  # noqa: T201
    assert seen.counterexample is not None, f"in none of {seen.states} states: {hole.__doc__}"
