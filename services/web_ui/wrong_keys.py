"""Wrong keys of the API, the pages and the sign-in: counted and told in the log; the sign-in answers many with 429.

A key that is known is served whoever else sends wrong ones from its address, such as everybody behind one proxy. So
this keeps no guesser out, which the length of the keys does; it lets people see that somebody guesses, or that a
program still sends a key that was retired.
"""

import time
from math import ceil

from prometheus_client import Counter

from mutt.tries import FailedTries, network
from services.logging_utils import get_logger

TOLD_SECONDS = 60.0  # between two lines about one address
ADDRESSES = 1000  # that are told apart within that time; of more nothing is told

log = get_logger(__name__)


class WrongKeys:
    """Remembers who sent wrong keys lately."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._tries = FailedTries()
        self._told: dict[str, tuple[float, int]] = {}

    def met(self, address: str) -> int:
        """Note a wrong key and return the seconds in which this address should send no other; 0 at first."""
        now = time.monotonic()
        self._counter.inc()
        self._tell(address, now)
        wait = self._tries.wait(address, now)
        if wait <= 0:
            self._tries.failed(address, now)
        return ceil(wait)

    def _tell(self, address: str, now: float) -> None:
        key = network(address)
        told, untold = self._told.get(key, (None, 0))
        if told is not None and now - told < TOLD_SECONDS:
            self._told[key] = told, untold + 1
            return
        if len(self._told) >= ADDRESSES:
            self._told = {each: held for each, held in self._told.items() if now - held[0] < TOLD_SECONDS}
        if len(self._told) < ADDRESSES:
            self._told[key] = now, 0
            log.warning("a wrong API key", address=address, before_this=untold)
