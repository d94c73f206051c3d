"""Every state that a small model of a protocol can reach, and the shortest way to one that breaks a promise.

A model is data and three functions:

    steps(state)    (label, next state) for each thing that may happen next; the label of a fault begins with FAULT
    check(state)    what is wrong in this state, in words; nothing is the usual answer
    is_done(state)  whether everything has come to its good end here

States are hashable, tuples best; two that mean the same should be equal, which is for `steps` to see to. The search is
breadth first, so that the first state at fault is also among the nearest. After it, unless told otherwise, each state
that was seen must be able to come to a good end without any further fault: one that cannot has lost something for ever.
"""

from array import array
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

FAULT = "! "
NONE = -1

State = TypeVar("State", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Counterexample(Generic[State]):
    """The shortest way to a state at fault: `labels` are the steps from an initial state to `state`."""

    problems: list[str]
    labels: list[str]
    state: State

    def __str__(self) -> str:
        way = [f"{number:3d}. {label}" for number, label in enumerate(self.labels, start=1)]
        return "\n".join([*way, f"     => {'; '.join(self.problems)}", f"     in {self.state}"])


@dataclass(frozen=True, slots=True)
class Exploration(Generic[State]):
    """What was seen: states, steps between them, good ends; `counterexample` is None when every promise held."""

    states: int
    steps: int
    ends: int
    counterexample: Counterexample[State] | None


def explore(
    initial: Iterable[State],
    steps: Callable[[State], Iterable[tuple[str, State]]],
    check: Callable[[State], list[str]],
    is_done: Callable[[State], bool],
    *,
    must_end: bool = True,
    most: int = 800_000,
) -> Exploration[State]:
    """Visit every state; stops at the first at fault. `must_end` asks for a good end from everywhere, without faults.

    Raises OverflowError past `most` states: the model has to be made smaller.
    """
    search = _Search[State]()
    for state in initial:
        search.reach(state, NONE, "")
    at = 0
    while at < len(search.states):
        if len(search.states) > most:
            raise OverflowError(f"more than {most} states")
        state = search.states[at]
        if problems := check(state):
            return search.result(search.way(at, problems))
        if is_done(state):
            search.done.append(at)
        for label, following in steps(state):
            search.step(at, label, following)
        at += 1
    return search.result(search.way_without_end(steps) if must_end else None)


class _Search(Generic[State]):
    """The states by their number in the order of their discovery, and the steps between them."""

    def __init__(self) -> None:
        self.states: list[State] = []
        self.done: list[int] = []
        self._numbers: dict[State, int] = {}
        self._came_from = array("l")
        self._came_by: list[str] = []
        self._steps = 0
        # The steps that are no faults, backwards: the last one into each state, and from each step to the one before.
        self._last_into = array("l")
        self._sources = array("l")
        self._one_before = array("l")

    def reach(self, state: State, source: int, label: str) -> int:
        number = self._numbers.setdefault(state, len(self.states))
        if number == len(self.states):
            self.states.append(state)
            self._came_from.append(source)
            self._came_by.append(label)
            self._last_into.append(NONE)
        return number

    def step(self, source: int, label: str, state: State) -> None:
        self._steps += 1
        target = self.reach(state, source, label)
        if target != source and not label.startswith(FAULT):
            self._one_before.append(self._last_into[target])
            self._last_into[target] = len(self._sources)
            self._sources.append(source)

    def way(self, number: int, problems: list[str]) -> Counterexample[State]:
        labels, at = [], number
        while self._came_from[at] != NONE:
            labels.append(self._came_by[at])
            at = self._came_from[at]
        return Counterexample(problems, labels[::-1], self.states[number])

    def way_without_end(self, steps: Callable[[State], Iterable[tuple[str, State]]]) -> Counterexample[State] | None:
        """Return the way to the nearest state from which no good end is reached, and on from there without faults."""
        ends_well = bytearray(len(self.states))
        todo = list(self.done)
        for number in todo:
            ends_well[number] = True
        while todo:
            edge = self._last_into[todo.pop()]
            while edge != NONE:
                source = self._sources[edge]
                if not ends_well[source]:
                    ends_well[source] = True
                    todo.append(source)
                edge = self._one_before[edge]
        number = ends_well.find(0)
        if number == NONE:
            return None
        found = self.way(number, ["from here no good end is reached"])
        seen, state, labels = {found.state}, found.state, found.labels
        while True:
            onward = [(label, each) for label, each in steps(state) if not label.startswith(FAULT) and each not in seen]
            if not onward:
                return Counterexample(["nothing that may still happen leads to a good end"], labels, state)
            label, state = onward[0]
            seen.add(state)
            labels.append(label)

    def result(self, counterexample: Counterexample[State] | None) -> Exploration[State]:
        return Exploration(len(self.states), self._steps, len(self.done), counterexample)
