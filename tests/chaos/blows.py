"""What hits MUTT at random, and how each victim comes back."""

import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Protocol

from tests.harness.moogsoft import MoogStandIn
from tests.harness.nursery import Child

BETWEEN = (0.2, 1.0)  # seconds between two blows
DOWN = (0.0, 0.6)  # seconds that a victim stays dead
STALL = (3.2, 4.5)  # seconds; past the heartbeats' lifetime of 3 s
MISBEHAVIOURS = (400, 429, 500, 503)

Blow = Callable[[random.Random], None]


class Server(Protocol):
    """An embedded server."""

    def kill(self) -> None:
        """Kill it as kill -9 does."""

    def start(self) -> None:
        """Start it on what it had."""


class Victim(Protocol):
    """A service, or what keeps one alive."""

    @property
    def process(self) -> subprocess.Popen[bytes] | Child:
        """Its process."""

    def kill(self) -> None:
        """Kill it as kill -9 does."""

    def start(self, *, wait: bool = True) -> None:
        """Start it again."""


def kill(service: Victim) -> Blow:
    """Kill -9 a service; it is started again as a supervisor would, whether or not it gets well."""

    def blow(chance: random.Random) -> None:
        service.kill()
        pass_time(chance.uniform(*DOWN))
        service.start(wait=False)

    return blow


def crash(server: Server) -> Blow:
    """Kill -9 a server."""

    def blow(chance: random.Random) -> None:
        server.kill()
        pass_time(chance.uniform(*DOWN))
        server.start()

    return blow


def stall(service: Victim) -> Blow:
    """Stop a service for longer than its heartbeat lives, while other blows go on; then it wakes up."""

    def blow(chance: random.Random) -> None:
        process = service.process
        process.send_signal(signal.SIGSTOP)
        threading.Timer(chance.uniform(*STALL), process.send_signal, [signal.SIGCONT]).start()

    return blow


def stumble(moogsoft: MoogStandIn) -> Blow:
    """Let Moogsoft answer a few requests badly: refused, throttled, broken."""

    def blow(chance: random.Random) -> None:
        moogsoft.behave(status=chance.choice(MISBEHAVIOURS), retry_after=1, times=chance.randint(1, 8))

    return blow


class Blows:
    """Strikes one after another, chosen by a seed; `weights` says which are more likely, 1 where it is silent."""

    def __init__(self, seed: int, blows: Mapping[str, Blow], weights: Mapping[str, float] | None = None) -> None:
        self._random = random.Random(seed)
        self._blows = dict(blows)
        self._names = sorted(self._blows)
        self._weights = [(weights or {}).get(name, 1.0) for name in self._names]
        self.struck: Counter[str] = Counter()

    def strike(self) -> str:
        """Let some time pass, strike once, and return by what."""
        pass_time(self._random.uniform(*BETWEEN))
        name = self._random.choices(self._names, self._weights)[0]
        self.struck[name] += 1
        self._blows[name](self._random)
        return name

    def strike_for(self, seconds: float) -> None:
        """Strike until the time is over."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.strike()


def pass_time(seconds: float) -> None:
    """Let the load run for a while: here time itself is what the test is made of."""
    threading.Event().wait(seconds)
