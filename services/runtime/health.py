"""What a service says of itself: the health document, and whether its loops still move."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from services.runtime.instruments import CommonInstruments

PROBE_TIMEOUT = 0.8  # seconds, so that health answers within one even when a dependency hangs
LIVE_WINDOW = 60.0  # seconds without progress after which a restart may help
VERSION = "2.5"

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
        self._depth: Callable[[], Awaitable[int]] | None = None
        self._progress = time.monotonic()

    def watch(self, dependency: str, probe: Probe) -> None:
        """Ask `probe` at each health request whether the dependency answers."""
        self._probes[dependency] = probe

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
        if self.problems:
            document["problems"] = dict(self.problems)
        if self.notes:
            document["notes"] = dict(self.notes)
        return healthy, document

    async def _ask(self, name: str) -> bool:
        try:
            up = await asyncio.wait_for(self._probes[name](), PROBE_TIMEOUT)
        except Exception:  # noqa: BLE001  (whatever a client raises, the dependency did not answer)
            up = False
        self._instruments.dependency_up.labels(name).set(up)
        return up

    async def _measure(self) -> int | None:
        if self._depth is None:
            return None
        try:
            return await asyncio.wait_for(self._depth(), PROBE_TIMEOUT)
        except Exception:  # noqa: BLE001  (unknown is not zero: null says so)
            return None
