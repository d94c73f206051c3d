"""What order is promised, and what is not: a clear may overtake its problem in the ways that the docs name."""

import pytest

from tests.protocol.order_model import OrderModel

NOT_PROMISED = {
    "with two forwarders": OrderModel(forwarders=2),
    "over a restart": OrderModel(may_restart=True),
    "when the problem's retry comes late": OrderModel(may_be_late=True),
    "when the problem failed as the probe": OrderModel(may_fail_as_probe=True),
    "when the problem went to the dead letters": OrderModel(may_die=True),
}


def test_one_forwarder_that_is_not_restarted_lets_no_clear_overtake_its_problem() -> None:
    seen = OrderModel(faults=4).explored()
    print(f"\norder: {seen.states} states, {seen.steps} steps, {seen.ends} good ends")  # noqa: T201  (with -s)
    assert seen.counterexample is None, f"\n{seen.counterexample}"
    assert seen.ends


@pytest.mark.parametrize("how", NOT_PROMISED)
def test_a_clear_may_overtake_its_problem(how: str) -> None:
    seen = NOT_PROMISED[how].explored()
    print(f"\n{how}:\n{seen.counterexample}")  # noqa: T201
    assert seen.counterexample is not None
