"""The model of delivery beside the real scripts and classes: each step on both sides, then compared."""

import asyncio
from collections.abc import Iterator, Sequence

from tests.protocol.circuit_model import CircuitModel
from tests.protocol.circuit_state import CLOSED, IDLE, NAMES, PERMITTED, TOLD, State
from tests.protocol.explorer import FAULT
from tests.protocol.real_circuit import Losing, RealCircuit, Seen


def vain(model: CircuitModel, state: State) -> Iterator[str]:
    """Yield what the model does not allow now, and the real thing must not do."""
    labels = {label.removeprefix(FAULT) for label, _ in model.steps(state)}
    for who, one in enumerate(state.forwarders):
        if one.phase == IDLE and f"{NAMES[who]}: asks" not in labels:
            yield f"{NAMES[who]}: asks"
    if not any(label.startswith(("remediation: closes", "remediation: releases")) for label in labels):
        yield "remediation: helps"
    if state.letters and state.mode != CLOSED:
        yield "remediation: moves"


class Pair:
    """The model beside the real thing."""

    def __init__(self, url: str, model: CircuitModel) -> None:
        self.runner = asyncio.Runner()
        client = self.runner.run(connected(url))
        self.model, self.state = model, model.initial()
        self.real = RealCircuit(client, model)
        self.runner.run(self.real.begin())

    def close(self) -> None:
        """End both."""
        self.runner.run(self.real.client.aclose())
        self.runner.close()

    def choices(self) -> dict[str, State]:
        """Return what the model allows now."""
        return dict(self.model.steps(self.state))

    def do(self, label: str) -> None:
        """Do a step on both sides and compare."""
        self.state = self.choices()[label]
        self.runner.run(self._do(label))

    def try_in_vain(self) -> None:
        """See that the real thing refuses what the model does not allow."""
        self.runner.run(self._try())

    async def _try(self) -> None:
        for label in vain(self.model, self.state):
            await self.real.in_vain(label)
        self.compare(await self.real.seen())

    async def _do(self, label: str) -> None:
        await self.real.do(label)
        self.compare(await self.real.seen())
        generation = await self.real.generation()
        for one, hand in zip(self.state.forwarders, self.real.hands, strict=True):
            if PERMITTED <= one.phase <= TOLD:
                assert hand.permission is not None
                assert one.fresh == (hand.permission.generation == generation)

    def replay(self, labels: Sequence[str]) -> None:
        """Do the steps in order; one that the model does not allow is tried in vain."""
        for label in labels:
            if label in self.choices():
                self.do(label)
            else:
                self.try_in_vain()

    def compare(self, seen: Seen) -> None:
        """Assert that Redis holds what the model says."""
        state = self.state
        expected = Seen(
            state.queue,
            tuple(sorted(state.waiting)),
            state.due,
            state.letters,
            state.poison,
            state.mode,
            state.failures,
            state.lease,
            tuple(one.listed for one in state.forwarders),
            tuple(one.beats for one in state.forwarders),
            {number: state.spent[number] for number in seen.spent},
            {number: state.attempts[number] for number in seen.attempts},
        )
        assert seen == expected


async def connected(url: str) -> Losing:
    """Return a client of the running loop."""
    client = Losing.from_url(url)
    assert isinstance(client, Losing)
    return client
