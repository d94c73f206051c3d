"""Tries crash points: which there are, which are chosen by a seed, and what came of each."""

import random
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tests.chaos import crash_alerter, crash_console, crash_forwarder, crash_ingest, crash_scripts
from tests.chaos.crash_path import Path
from tests.chaos.crash_stage import KILLED, NotReachedError, Stage, Victim
from tests.chaos.points import AFTER, BEFORE, SENT, STEPS

GROUPS = (crash_ingest, crash_alerter, crash_forwarder, crash_console, crash_scripts)
PATHS: dict[str, type[Path]] = {path.name: path for group in GROUPS for path in group.PATHS}
# Between the sending and the answer the other side does something that lasts: it blocks, or it is not one step.
TWO_SIDED = ("BLMOVE", "HTTP POST", "COMMIT")
LAST_MOMENT = 2.0  # seconds; a claim blocks for one
MOST_TIMES = 3  # a step that comes again is died at once at its first, second or third time


class Point(NamedTuple):
    """Where a process dies: before, after, or when it has sent and not read the answer."""

    path: str
    step: str
    when: str

    def __str__(self) -> str:
        return f"{self.path}/{self.step}:{self.when}"


class Result(NamedTuple):
    """What came of a point; `times` is which time the step was come to."""

    point: Point
    times: int
    faults: list[str]
    seconds: float


def all_points() -> list[Point]:
    """Return every point, in the register's order."""
    return [
        Point(path, step.name, when)
        for step in STEPS
        for path in step.paths
        for when in ((BEFORE, SENT, AFTER) if step.effect in TWO_SIDED else (BEFORE, AFTER))
    ]


def chosen(seed: int, number: int) -> list[Point]:
    """Return so many points by a seed, at least one of each path."""
    chance = random.Random(seed)
    points = all_points()
    chance.shuffle(points)
    first = {point.path: point for point in reversed(points)}
    others = [point for point in points if point not in set(first.values())]
    return [*first.values(), *others[: max(0, number - len(first))]]


class Runs:
    """Tries points on a stage; `reached` is every step that was come to."""

    def __init__(self, stage: Stage, seed: int) -> None:
        self._stage = stage
        self.seed = seed
        self.reached: set[str] = set()
        self._seen: dict[tuple[str, str], int] = {}

    def try_all(self, points: Sequence[Point]) -> Iterator[Result]:
        """Try one after another."""
        for point in points:
            yield self.try_one(point)

    def try_one(self, point: Point) -> Result:
        """Try a point; where the step does not come so often as wished, at its first time."""
        began = time.monotonic()
        known = self._seen.get((point.path, point.step), 1)
        times = random.Random(f"{self.seed}/{point}").randint(1, min(known, MOST_TIMES))
        try:
            faults = self._try(point, times)
        except NotReachedError:
            times, faults = 1, self._again(point)
        except AssertionError as error:
            faults = [str(error)]
        return Result(point, times, faults, time.monotonic() - began)

    def _again(self, point: Point) -> list[str]:
        try:
            return self._try(point, 1)
        except NotReachedError:
            return ["the workload did not come to this point"]
        except AssertionError as error:
            return [str(error)]

    def calm(self, name: str) -> list[str]:
        """Run a path's workload without a crash; returns its faults."""
        try:
            return self._try(Point(name, "", ""), 0)
        except AssertionError as error:
            return [str(error)]

    def _try(self, point: Point, times: int) -> list[str]:
        stage, bug = self._stage, self._stage.bug
        stage.reset()
        path = PATHS[point.path](stage)
        try:
            path.prepare()
            victim = path.start(f"{point.step}:{point.when}#{times}" if times else "")
            survived = path.live(victim)
            if survived and times:
                survived = self._outlives(victim)
            path.revive()
            if not survived or path.has_two_runs:
                stage.clear()
                stage.bug = ""
                again = path.start()
                assert path.live_on(again), f"the next run ended with {again.process.returncode}"
            return list(path.faults())
        except AssertionError as error:
            raise AssertionError(f"{error}\n{stage.log.read_text(errors='replace')[-3000:]}") from None
        finally:
            stage.bug = bug
            self._note(point.path, path)
            stage.clear()

    def _outlives(self, victim: Victim) -> bool:
        """Give a victim that blocks a moment to come to the other end of it; raises NotReachedError."""
        try:
            victim.process.wait(LAST_MOMENT)
        except subprocess.TimeoutExpired:
            raise NotReachedError from None
        if victim.process.returncode != KILLED:
            raise NotReachedError
        return False

    def _note(self, name: str, path: Path) -> None:
        self.reached |= path.seen()
        trace = path.stage.trace
        counts = Counter(trace.read_text(encoding="utf-8").split() if trace.exists() else ())
        for step, times in counts.items():
            # Both runs together came to it so often, one alone about half as often.
            self._seen[name, step] = max(1, (times + 1) // 2)
