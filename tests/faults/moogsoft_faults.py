"""The faults of Moogsoft, and what is promised for each."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.faults.stage import Stage
from tests.faults.strikes import again
from tests.faults.table import fault

WAITS = "alerts wait, the circuit opens, no alert is given up; health says so"
AGAIN = "what may have been taken is sent again under the same id"
DENIED = '{"success": false, "message": "the event was not processed", "statusCode": 1000}'


def _behaving(name: str, promised: str, *, brief: bool = False, **how: object) -> None:
    """Register what the stand-in is asked to do."""

    @contextmanager
    def strike(stage: Stage) -> Iterator[None]:
        stage.moogsoft.behave(**how)
        yield
        stage.moogsoft.behave()

    fault("moogsoft", name, promised, brief=brief)(strike)


def _by_proxy(name: str, promised: str, begin: Callable[[Stage], object], *, brief: bool = False) -> None:
    """Register what the proxy does until it is mended."""

    @contextmanager
    def strike(stage: Stage) -> Iterator[None]:
        begin(stage)
        yield
        stage.moogsoft_proxy.mend()

    fault("moogsoft", name, promised, brief=brief)(strike)


_by_proxy(
    "slow: each reply comes 0.05 to 0.1 s late", "slower and no worse", lambda stage: stage.moogsoft_proxy.slow(0.05)
)
_by_proxy("refused: no connection is accepted", WAITS, lambda stage: stage.moogsoft_proxy.cut())
_by_proxy("hung: connections stay open, nothing is answered", WAITS, lambda stage: stage.moogsoft_proxy.hang())
_by_proxy(
    "cut: each 3rd reply ends in its middle, and its connection with it",
    AGAIN,
    lambda stage: stage.moogsoft_proxy.halve(3, end=True),
    brief=True,
)
_by_proxy(
    "half an answer: of each 10th reply half comes, then silence",
    AGAIN,
    lambda stage: stage.moogsoft_proxy.halve(10),
    brief=True,
)
_behaving("takes alerts and answers 500", f"{WAITS}; {AGAIN}", status=500, taken=True)
_behaving("takes alerts and answers after the time-out", f"the circuit opens; health says so; {AGAIN}", slow=2)
_behaving("answers 200, and its body says that it failed", f"{WAITS}; such an answer is no delivery", body=DENIED)
_behaving(
    "answers 200 with a body that does not end", "64 KiB of it are read; the status counts", endless=True, taken=True
)
_behaving("answers what is no HTTP", WAITS, garbage=True)
_behaving("answers 429 to all, again in a second", "alerts wait as asked and spend no retry", status=429, retry_after=1)
_behaving("answers 503 to all", WAITS, status=503)
_behaving("redirects all (307)", f"not followed: {WAITS}", status=307)
_behaving("knows the key no longer (401)", WAITS, status=401)
_behaving(
    "refuses some alerts (400)",
    "dead letters, replayed three times, then poison; no other alert waits",
    status=400,
    times=5,
)


@fault("moogsoft", "reset: all connections, again and again", AGAIN, brief=True)
@contextmanager
def _reset(stage: Stage) -> Iterator[None]:
    with again(stage.moogsoft_proxy.reset):
        yield
