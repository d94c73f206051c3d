"""The model of the shared limiter: tokens of a sliding window, taken by two forwarders on one clock of few ticks."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tests.protocol.explorer import Exploration, explore

PERIOD, LIMIT, WANTED = 3, 2, 3  # ticks, tokens a period, requests of each forwarder
NOBODY = -1


class State(NamedTuple):
    """`window` is what Redis holds: the age of each token and whose it is; `real` the ages of all requests."""

    window: tuple[tuple[int, int], ...] = ()
    real: tuple[int, ...] = ()
    left: tuple[int, ...] = (WANTED, WANTED)
    checked: int = NOBODY


Steps = Iterator[tuple[str, State]]


@dataclass(frozen=True)
class LimiterModel:
    """services/lua/rate_limit.lua, one token a call."""

    def explored(self) -> Exploration[State]:
        """Visit every state."""
        return explore([State()], self.steps, self.check, lambda state: not any(state.left))

    def steps(self, state: State) -> Steps:
        """Yield all that may happen next."""
        real = tuple(age + 1 for age in state.real if age + 1 < PERIOD)
        yield "time: a tick", state._replace(window=self.aged(state), real=real)
        for who, left in enumerate(state.left):
            if left:
                yield from self.asks(state, who)

    def check(self, state: State) -> list[str]:
        """Say what is wrong in a state."""
        count = len(state.real)
        return [f"{count} requests within a period, of which {LIMIT} are allowed"] if count > LIMIT else []

    def asks(self, state: State, who: int) -> Steps:
        """Take a token where there is one; otherwise wait, and drop nothing."""
        if len(state.window) < LIMIT:
            yield f"{'ab'[who]}: takes a token and sends", self.taken(state, who)

    def taken(self, state: State, who: int) -> State:
        """Return the state with one more token taken and its request sent."""
        left = tuple(number - (place == who) for place, number in enumerate(state.left))
        checked = NOBODY if state.checked == who else state.checked
        return state._replace(window=self.noted(state, who), real=(*state.real, 0), left=left, checked=checked)

    def aged(self, state: State) -> tuple[tuple[int, int], ...]:
        """Return the window a tick later: each token leaves by itself."""
        return tuple((age + 1, who) for age, who in state.window if age + 1 < PERIOD)

    def noted(self, state: State, who: int) -> tuple[tuple[int, int], ...]:
        """Return the window with a token that is like no other."""
        return tuple(sorted((*state.window, (0, who))))


class ChecksThenTakes(LimiterModel):
    """The window looked at in one call and the token taken in another."""

    def asks(self, state: State, who: int) -> Steps:
        if state.checked == who:
            yield f"{'ab'[who]}: takes the token that it saw and sends", self.taken(state, who)
            return
        if len(state.window) < LIMIT:
            yield f"{'ab'[who]}: sees a free token", state._replace(checked=who)
            yield from super().asks(state, who)


class FixedWindow(LimiterModel):
    """A window that ends for all of its tokens at once."""

    def aged(self, state: State) -> tuple[tuple[int, int], ...]:
        oldest = max((age for age, _ in state.window), default=0)
        return () if oldest + 1 >= PERIOD else tuple((age + 1, who) for age, who in state.window)


class TokensAlike(LimiterModel):
    """Tokens of one forwarder that are the same member of the set."""

    def noted(self, state: State, who: int) -> tuple[tuple[int, int], ...]:
        return tuple(sorted({*((age, other) for age, other in state.window if other != who), (0, who)}))


class NeverFree(LimiterModel):
    """A window whose tokens never leave."""

    def aged(self, state: State) -> tuple[tuple[int, int], ...]:
        return state.window


HOLES = (ChecksThenTakes(), FixedWindow(), TokensAlike(), NeverFree())
