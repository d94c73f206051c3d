"""Dies by SIGKILL at one visit of one registered step, and ends the process at an effect that is not registered."""

import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from types import FrameType
from typing import NamedTuple

from tests.chaos.points import TREE, UNREGISTERED, find


class Visit(NamedTuple):
    """One time that a step is come to."""

    step: str
    times: int


class Killer:
    """Counts how often each step is come to, and dies at the chosen one: STEP:before|sent|after#TIMES."""

    def __init__(self, point: str, trace: str, service: str) -> None:
        step, _, when = point.partition(":")
        self._when, _, times = when.partition("#")
        self._last = Visit(step, int(times or 1))
        self._counts: Counter[str] = Counter()
        self._service = service
        self._trace = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644) if trace else -1

    def comes_to(self, effect: str, frame: FrameType) -> Visit | None:
        """Return the visit of an effect that is about to happen; None where nobody of MUTT asked for it."""
        chain = list(_chain(frame))
        if not chain:
            return None
        step = find(effect, [*chain, self._service])
        if step is None:
            sys.stderr.write(f"UNREGISTERED {effect} of {self._service}: {' < '.join(chain)}\n")
            sys.stderr.flush()
            os._exit(UNREGISTERED)
        self._counts[step] += 1
        if self._trace >= 0:
            os.write(self._trace, f"{step}\n".encode())
        return Visit(step, self._counts[step])

    def take_back(self, visit: Visit | None) -> None:
        """Do not count a visit: the other side did nothing."""
        if visit is not None:
            self._counts[visit.step] -= 1

    def is_at(self, visit: Visit | None, when: str) -> bool:
        """Tell whether this is where to die."""
        return (visit, when) == (self._last, self._when)

    def at(self, visit: Visit | None, when: str) -> None:
        """Die here, if this is where."""
        if self.is_at(visit, when):
            die()


def die() -> None:
    """End as kill -9 does."""
    os.kill(os.getpid(), signal.SIGKILL)


def _chain(frame: FrameType | None) -> Iterator[str]:
    """Name the functions of MUTT that are under way, the innermost first."""
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(TREE):
            module = code.co_filename[len(TREE) : -3].replace("/", ".")
            if module.startswith("services.") or (module.startswith("scripts.") and ".devtools" not in module):
                yield f"{module}:{code.co_qualname}"
        frame = frame.f_back
