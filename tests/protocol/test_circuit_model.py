"""Every state of the delivery of alerts that few forwarders, alerts and faults can reach, and each hole put back.

With `-s` each test prints how many states it saw, and the shortest way to each hole's harm. With
`MUTT_EXPLORE=more` it also takes larger sizes, and minutes.
"""

import os

import pytest

from tests.protocol.circuit_holes import HOLES
from tests.protocol.circuit_model import CircuitModel
from tests.protocol.circuit_state import ALWAYS_400, ALWAYS_500, GOOD, OPEN

EXPLORATIONS = {
    "one alert": CircuitModel(faults=3),
    "two alerts": CircuitModel((GOOD, GOOD), faults=2),
    "two alerts before an open circuit": CircuitModel((GOOD, GOOD), faults=1, mode=OPEN),
    "three alerts": CircuitModel((GOOD,) * 3, faults=1),
    "one that always fails": CircuitModel((ALWAYS_500, GOOD), faults=0, mode=OPEN),
    "one that is always refused": CircuitModel((ALWAYS_400, GOOD), faults=1),
}
if os.environ.get("MUTT_EXPLORE") == "more":
    pytestmark = pytest.mark.timeout(3600)
    EXPLORATIONS |= {
        "two alerts, more faults": CircuitModel((GOOD, GOOD), faults=3),
        "two alerts before an open circuit, more faults": CircuitModel((GOOD, GOOD), faults=2, mode=OPEN),
        "three alerts, more faults": CircuitModel((GOOD,) * 3, faults=2),
        "one that always fails, and a fault": CircuitModel((ALWAYS_500, GOOD), faults=1, mode=OPEN),
        "one that is always refused, more faults": CircuitModel((ALWAYS_400, GOOD), faults=2),
    }


@pytest.mark.parametrize("name", EXPLORATIONS)
def test_no_state_breaks_a_promise(name: str) -> None:
    seen = EXPLORATIONS[name].explored()
    print(f"\n{name}: {seen.states} states, {seen.steps} steps, {seen.ends} good ends")  # noqa: T201  (with -s)
    assert seen.counterexample is None, f"\n{seen.counterexample}"
    assert seen.ends


@pytest.mark.parametrize("hole", HOLES, ids=lambda hole: type(hole).__name__)
def test_a_hole_that_is_put_back_is_found(hole: CircuitModel) -> None:
    seen = hole.explored()
    print(f"\n{type(hole).__doc__}\n{seen.counterexample}")  # noqa: T201
    assert seen.counterexample is not None, f"in none of {seen.states} states: {type(hole).__doc__}"
