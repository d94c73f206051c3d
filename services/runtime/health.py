"""What a service says of itself: the health document, and whether its loops still move."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from services.runtime.instruments import CommonInstruments

PROBE_TIMEOUT = 0.8  # seconds, so that health answers within one even when a dependency hangs
LIVE_WINDOW = 60.0  # seconds without progress after which a restart may help
VERSION = "2.5"

Answer = TypeVar("Answer")
Probe = Callable[[], Awaitable[bool]]


class Health:
    """Collects probes of dependencies, problems and progress; answers /health and /live.

    A dependency's word is `connected` or `disconnected`; `problems` hold whatever else makes the service unfit
    (for example `circuit` → `OPEN: …`), each with words for an operator.
    """

    def __init__(self, service: str, instruments: CommonInstruments) -> None:
        self.service = service
        self.problems: dict[str, str] = {}
        self.notes: dict[str, str] = {}
        self._instruments = instruments
        self._probes: dict[str, Probe] = {}
        self._mentioned: dict[str, Callable[[], str | None]] = {}
        self._remarked: dict[str, Callable[[], str | None]] = {}
        self._why: dict[str, Callable[[], str | None]] = {}
        self._depth: Callable[[], Awaitable[int]] | None = None
        self._asked: dict[str, asyncio.Task[Any]] = {}
        self._progress = time.monotonic()

    def watch(self, dependency: str, probe: Probe, why: Callable[[], str | None] | None = None) -> None:
        """Ask `probe` at each health request whether the dependency answers, and `why` it may not, where that helps."""
        self._probes[dependency] = probe
        if why is not None:
            self._why[dependency] = why

    def mention(self, dependency: str, problem: Callable[[], str | None]) -> None:
        """Show a dependency without which the service still works; what is wrong with it is noted and no more."""
        self._mentioned[dependency] = problem

    def remark(self, name: str, problem: Callable[[], str | None]) -> None:
        """Note what `problem` tells of something that is no server and without which the service still works."""
        self._remarked[name] = problem

    def measure_depth(self, depth: Callable[[], Awaitable[int]]) -> None:
        """Use `depth` for the document's `queue_depth`: the length of the service's input queue."""
        self._depth = depth

    def progressed(self) -> None:
        """Note that the service's loop passed a checkpoint (waiting for a dependency is progress)."""
        self._progress = time.monotonic()

    @property
    def idle_seconds(self) -> float:
        """Seconds since the loop last passed a checkpoint."""
        return time.monotonic() - self._progress

    @property
    def is_live(self) -> bool:
        """Whether the loop made progress within a minute."""
        return self.idle_seconds < LIVE_WINDOW

    async def report(self) -> tuple[bool, dict[str, Any]]:
        """Return whether all is well, and the document of /health."""
        names = list(self._probes)
        answers, depth = await asyncio.gather(asyncio.gather(*(self._ask(name) for name in names)), self._measure())
        states = dict(zip(names, answers, strict=True))
        failing = [name for name, up in states.items() if not up]
        healthy = not failing and not self.problems
        self._instruments.healthy.set(healthy)
        troubles = {name: problem() for name, problem in self._mentioned.items()}
        for name, trouble in troubles.items():
            self._instruments.dependency_up.labels(name).set(trouble is None)
        states |= {name: trouble is None for name, trouble in troubles.items()}
        document: dict[str, Any] = {
            "status": "healthy" if healthy else "unhealthy",
            **{name: "connected" if up else "disconnected" for name, up in states.items()},
            "timestamp": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            "queue_depth": depth,
            "version": VERSION,
            "service": f"mutt-{self.service}",
        }
        if not healthy:
            document["failing"] = failing + sorted(self.problems)
        reasons = {name: reason for name in failing if name in self._why and (reason := self._why[name]())}
        if problems := {**self.problems, **reasons}:
            document["problems"] = problems
        troubles |= {name: problem() for name, problem in self._remarked.items()}
        if notes := {**self.notes, **{name: trouble for name, trouble in troubles.items() if trouble}}:
            document["notes"] = notes
        return healthy, document

    async def _ask(self, name: str) -> bool:
        up = await self._bounded(name, self._probes[name]) is True
        self._instruments.dependency_up.labels(name).set(up)
        return up

    async def _measure(self) -> int | None:
        # Unknown is not zero: null says so.
        return None if self._depth is None else await self._bounded("queue_depth", self._depth)

    async def _bounded(self, name: str, ask: Callable[[], Awaitable[Answer]]) -> Answer | None:
        """Return the answer, or None when there is none in time.

        Who asks while an answer is under way gets that one. A client that waits for a hung server may not give up at
        once when it is cancelled: it is left behind, and until it has ended nothing more is asked of that server.
        """
        task = self._asked.get(name)
        if task is None or task.done():
            task = self._asked[name] = asyncio.ensure_future(ask())
        elif task.cancelling():
            return None
        await asyncio.wait({task}, timeout=PROBE_TIMEOUT)
        if not task.done():
            task.cancel()
            return None
        return None if task.cancelled() or task.exception() is not None else task.result()
