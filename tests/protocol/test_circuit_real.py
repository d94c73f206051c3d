"""The real scripts and classes do what the model says, in whatever order; a script with a hole is seen to differ."""

import os
from collections.abc import Callable, Iterator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from mutt import forwarding
from services.protocol import circuit, retries, worker
from services.protocol.script import Script
from services.remediation import scan
from tests.protocol import circuit_holes as holes
from tests.protocol import real_circuit
from tests.protocol.circuit_model import CircuitModel
from tests.protocol.circuit_pair import Pair
from tests.protocol.circuit_state import ALWAYS_400, CLOSED, GOOD, OPEN
from tests.protocol.mutating import mutate

# Each hole of the model, put into the real script: the text that is replaced, and what by.
MUTATIONS: dict[type[CircuitModel], tuple[Script, str, str]] = {
    holes.ProbesWithoutLease: (circuit._permit, "if holder then", "if false then"),
    holes.LeaseWithoutLifetime: (circuit._permit, ", 'PX', ARGV[2])", ")"),
    holes.NoGeneration: (circuit._report, "if tonumber(ARGV[index]) == generation then", "do"),
    holes.KeepsTheLeaseOfTheUnknown: (
        circuit._report,
        "== 'u' then\n        redis.call('DEL', KEYS[5])",
        "== 'u' then",
    ),
    holes.CountsARepetition: (circuit._report, ">= tonumber(ARGV[3]) then", "> 1e9 then"),
    holes.ClosesBesideAProbe: (circuit._close_idle, "redis.call('EXISTS', KEYS[5]) == 1 or ", ""),
    holes.ClaimsRetriesIntoMemory: (retries._claim_due, "redis.call('LPUSH', KEYS[2], unpack(entries))", ""),
    holes.SettlesUnseen: (worker._settle, "return same or found[index]", "return true"),
    holes.GivesUpWhileOpen: (scan._move, "if ARGV[2] == '1' then", "if false then"),
}


def machine(url: str) -> type[RuleBasedStateMachine]:
    """Return the state machine on a Redis."""

    class Delivery(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.pair: Pair | None = None

        @initialize(kinds=st.sampled_from([(GOOD, GOOD), (GOOD, ALWAYS_400)]), mode=st.sampled_from([CLOSED, OPEN]))
        def begin(self, kinds: tuple[str, ...], mode: str) -> None:
            self.pair = Pair(url, CircuitModel(kinds, faults=6, mode=mode))

        @rule(data=st.data())
        def step(self, data: st.DataObject) -> None:
            assert self.pair is not None
            choices = sorted(self.pair.choices())
            if choices:
                self.pair.do(data.draw(st.sampled_from(choices)))

        @rule()
        def try_in_vain(self) -> None:
            assert self.pair is not None
            self.pair.try_in_vain()

        def teardown(self) -> None:
            if self.pair is not None:
                self.pair.close()

    return Delivery


@pytest.mark.timeout(3600)
def test_the_real_thing_does_what_the_model_says(redis_url: str) -> None:
    examples = 500 if os.environ.get("MUTT_EXPLORE") == "more" else 12
    run_state_machine_as_test(machine(redis_url), settings=settings(max_examples=examples, stateful_step_count=30))


@pytest.fixture
def pair(redis_url: str) -> Iterator[Callable[[CircuitModel], Pair]]:
    made: list[Pair] = []

    def make(model: CircuitModel) -> Pair:
        made.append(Pair(redis_url, model))
        return made[-1]

    yield make
    for each in made:
        each.close()


def counterexample(hole: type[CircuitModel]) -> tuple[CircuitModel, list[str]]:
    """Return the model without the hole, of the size at which the hole is found, and the way to the harm."""
    (model,) = (each for each in holes.HOLES if type(each) is hole)
    found = model.explored().counterexample
    assert found is not None
    sound = CircuitModel(
        model.kinds, model.faults, model.forwarders, model.threshold, model.mode, model.max_retries, model.max_attempts
    )
    return sound, found.labels


@pytest.mark.parametrize("hole", MUTATIONS, ids=lambda hole: hole.__name__)
def test_a_script_with_a_hole_differs_on_the_explorers_way(
    pair: Callable[[CircuitModel], Pair], monkeypatch: pytest.MonkeyPatch, hole: type[CircuitModel]
) -> None:
    sound, labels = counterexample(hole)
    pair(sound).replay(labels)
    mutate(monkeypatch, *MUTATIONS[hole])
    other = pair(sound)
    with pytest.raises(AssertionError):
        other.replay(labels)


def test_a_forwarder_that_counts_a_probe_differs_on_the_explorers_way(
    pair: Callable[[CircuitModel], Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    sound, labels = counterexample(holes.FailedProbeSpends)
    pair(sound).replay(labels)

    def forgets_the_probe(*arguments: object, is_probe: bool, **more: object) -> forwarding.Resolution:
        return forwarding.resolve(*arguments, is_probe=False, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(real_circuit, "resolve", forgets_the_probe)
    other = pair(sound)
    with pytest.raises(AssertionError):
        other.replay(labels)
