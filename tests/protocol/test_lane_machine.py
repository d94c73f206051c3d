"""Random steps of the model, done by real workers on a real Redis: after each, Redis has what the model says."""

import asyncio

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.protocol.explorer import FAULT
from tests.protocol.lane_driver import Driver
from tests.protocol.lane_model import LaneModel
from tests.protocol.lane_promises import problems

EXAMPLES, STEPS = 30, 50
FAULTS = {"crash": 5, "stall": 5, "lost": 8, "stop": 3, "database": 3, "commit": 3, "any": 15}
MODELS = {
    "three runs, two of one name": LaneModel(
        "abK", FAULTS, later="cRde", names=("x", "x", "y"), blocking=True, pipelined=True
    ),
    "two runs of one name": LaneModel("aRb", FAULTS, later="c", names=("x", "x"), pipelined=True),
}


def new_machine(url: str, model: LaneModel) -> type[RuleBasedStateMachine]:
    """Return the machine that goes through a model at random, beside the real thing."""

    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.runner = asyncio.Runner()
            self.driver = Driver(url, model)

        @initialize()
        def begin(self) -> None:
            self.runner.run(self.driver.begin())

        @rule(choice=st.integers(0, 10_000), may_fail=st.sampled_from([False, False, False, True]))
        def step(self, choice: int, may_fail: bool) -> None:
            every = [label for label, _ in model.steps(self.driver.state)]
            labels = [label for label in every if may_fail or not label.startswith(FAULT)] or every
            if labels:
                self.runner.run(self.driver.follow(labels[choice % len(labels)]))

        @invariant()
        def every_promise_holds(self) -> None:
            assert list(problems(model, self.driver.state)) == []

        def teardown(self) -> None:
            self.runner.run(self.driver.close())
            self.runner.close()

    return Machine


@pytest.mark.parametrize("name", MODELS)
def test_redis_has_what_the_model_says_after_every_step(name: str, redis_url: str) -> None:
    machine = new_machine(redis_url, MODELS[name])
    run_state_machine_as_test(machine, settings=settings(max_examples=EXAMPLES, stateful_step_count=STEPS))
