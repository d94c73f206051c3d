"""Every state of shedding and remediation that few events, instances and faults can reach, and each hole put back."""

import pytest

from tests.protocol.remediation_holes import HOLES
from tests.protocol.remediation_model import GOOD, REFUSED, RemediationModel

EXPLORATIONS = {
    "one that is shed": RemediationModel(faults=3),
    "one that is refused": RemediationModel((GOOD, REFUSED), faults=3),
    "several": RemediationModel((GOOD, GOOD, REFUSED), faults=1),
}


@pytest.mark.parametrize("name", EXPLORATIONS)
def test_no_state_breaks_a_promise(name: str) -> None:
    seen = EXPLORATIONS[name].explored()
    print(f"\n{name}: {seen.states} states, {seen.steps} steps, {seen.ends} good ends")  # noqa: T201  (with -s)
    assert seen.counterexample is None, f"\n{seen.counterexample}"
    assert seen.ends


@pytest.mark.parametrize("hole", HOLES, ids=lambda hole: type(hole).__name__)
def test_a_hole_that_is_put_back_is_found(hole: RemediationModel) -> None:
    seen = hole.explored()
    print(f"\n{type(hole).__doc__}\n{seen.counterexample}")  # noqa: T201
    assert seen.counterexample is not None, f"in none of {seen.states} states: {type(hole).__doc__}"
