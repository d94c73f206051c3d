"""Random steps of the model, done by real workers on a real Redis: after each, Redis has what the model says.

`MUTT_EXPLORE=more` takes more of them.
"""

import asyncio
import os
from uuid import NAMESPACE_OID, uuid5

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from psycopg import AsyncConnection

from mutt.audit_row import pack_decision, pack_row
from mutt.events import Envelope, decode_entry
from services.audit_logger import Connection, write_rows
from tests.protocol.explorer import FAULT
from tests.protocol.lane_driver import Driver
from tests.protocol.lane_model import LaneModel
from tests.protocol.lane_promises import problems
from tests.protocol.lane_state import REFUSED, State

IS_LONG = os.environ.get("MUTT_EXPLORE") == "more"
EXAMPLES, STEPS = 500 if IS_LONG else 12, 50
FAULTS = {"crash": 5, "stall": 5, "lost": 8, "stop": 3, "database": 3, "commit": 3, "any": 15}
MODELS = {
    "three runs, two of one name": LaneModel(
        "abK", FAULTS, later="cRde", names=("x", "x", "y"), blocking=True, pipelined=True
    ),
    "two runs of one name": LaneModel("aRb", FAULTS, later="c", names=("x", "x"), pipelined=True),
}
SETTLED = ["B judges", "B commits", "B settles"]
WAY = [
    *(
        "A claims ('a', 'R')",
        "A judges",
        "A commits",
        "! A is killed",
        "the heartbeat of x expires",
        "the janitor of B",
    ),
    *("B claims ('a', 'R')", *SETTLED, "B claims ('R1', 'b')", *SETTLED),
]


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


class AuditedDriver(Driver):
    """The driver with a table of PostgreSQL that refuses R's rows."""

    connection: Connection

    async def writes(self, who: int, label: str, before: State) -> None:  # noqa: ARG002
        events = [entry[0] for entry in self.planned(who, label).entries]
        written = await write_rows(self.connection, [_row(event) for event in events])
        assert {events[refusal.index] for refusal in written.refusals} == {REFUSED} & set(events)
        cursor = await self.connection.execute("SELECT message FROM event_audit_log")
        self.rows = [row[0] for row in await cursor.fetchall()]


def _row(event: str) -> bytes:
    now = "2026-11-30T12:00:00.000Z"
    entry = {"_mutt": Envelope(str(uuid5(NAMESPACE_OID, event)), now, now), "message": event, "hostname": "sw1"}
    return pack_row(decode_entry(msgspec.json.encode(entry)), pack_decision("Log_only", "NETO", None, None, "prod"))


async def test_an_audit_that_a_killed_run_committed_is_one_row_of_the_next(redis_url: str, database_url: str) -> None:
    driver = AuditedDriver(redis_url, LaneModel("aRb", {"any": 1, "crash": 1}))
    async with await AsyncConnection.connect(database_url, autocommit=True) as driver.connection:
        await driver.connection.execute("ALTER TABLE event_audit_log ADD CONSTRAINT no_r CHECK (message <> 'R')")
        try:
            await driver.begin()
            for label in WAY:
                await driver.follow(driver.find(label))
        finally:
            await driver.close()
    assert (driver.state.rows, driver.state.alerts, driver.state.dead) == ("ab", "ab", "R")


@pytest.mark.timeout(7200 if IS_LONG else 600)
@pytest.mark.parametrize("name", MODELS)
def test_redis_has_what_the_model_says_after_every_step(name: str, redis_url: str) -> None:
    machine = new_machine(redis_url, MODELS[name])
    run_state_machine_as_test(machine, settings=settings(max_examples=EXAMPLES, stateful_step_count=STEPS))
