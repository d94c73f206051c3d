"""Kill MUTT by SIGKILL at every registered step, before and after, restart it, and check what was promised.

    muttdev chaos --points [--seed S] [--only NAME] [--number N] [--list] [--keep FOLDER]

NAME is part of a path's or a step's name (alerter.settle, archive). Without --number all points are tried. The seed
chooses the order, which of several times a step is died at, and, with --number, the points. Ctrl-C ends it with what
was seen so far.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.command import alone, tell
from tests.chaos.crash_run import PATHS, Point, Result, Runs, all_points, chosen
from tests.chaos.crash_stage import servers
from tests.chaos.points import STEPS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when every point held, 1 when one did not or was not reached."""
    parser = argparse.ArgumentParser(
        prog="muttdev chaos --points", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**9), help="default: a fresh one")
    parser.add_argument("--only", default="", metavar="NAME", help="only points with this in their names")
    parser.add_argument("--number", type=int, metavar="N", help="so many points, at least one of each path")
    parser.add_argument("--list", action="store_true", help="only list the points")
    parser.add_argument("--keep", type=Path, help="folder that the logs are left in when the verdict is bad")
    options = parser.parse_args(arguments)
    points = all_points() if options.number is None else chosen(options.seed, options.number)
    points = [point for point in points if options.only in str(point)]
    if not points:
        parser.error(f"no point has {options.only!r} in its name: --list shows all")
    if options.list:
        tell("\n".join(map(str, points)))
        tell(f"{len(points)} points at {len({point.step for point in points})} steps of {len(PATHS)} paths")
        return 0
    if options.number is None:
        random.Random(options.seed).shuffle(points)
    is_whole = not options.only and options.number is None
    return alone(lambda: _run(points, options.seed, options.keep, is_whole=is_whole))


def _run(points: Sequence[Point], seed: int, keep: Path | None, *, is_whole: bool) -> int:
    tell(f"seed {seed}: {len(points)} points; again with: muttdev chaos --points --seed {seed}")
    results: list[Result] = []
    reached: set[str] = set()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutt-crash-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        try:
            with servers(folder) as stage:
                runs = Runs(stage, seed)
                for result in runs.try_all(points):
                    results.append(result)
                    reached = runs.reached
                    _tell(result, len(results), len(points), time.monotonic() - began)
        except KeyboardInterrupt:
            tell("\nended by Ctrl-C")
        if keep is not None and any(result.faults for result in results):
            shutil.copytree(folder, keep, dirs_exist_ok=True, ignore=shutil.ignore_patterns("postgres"))
            tell(f"the logs are in {keep}")
    return _verdict(results, reached, len(points), is_whole=is_whole, seconds=time.monotonic() - began)


def _tell(result: Result, number: int, total: int, elapsed: float) -> None:
    left = elapsed / number * (total - number)
    word = "FAILED" if result.faults else "held"
    times = f"#{result.times}" if result.times > 1 else ""
    tell(
        f"{elapsed:5.0f} s, {left:4.0f} s left  {number}/{total}  {word:6}  "
        f"{result.point}{times}  {result.seconds:.1f} s"
    )
    for fault in result.faults:
        tell(f"         {fault}")


def _verdict(results: Sequence[Result], reached: set[str], total: int, *, is_whole: bool, seconds: float) -> int:
    tried, failed = (
        Counter(result.point.path for result in results),
        Counter(result.point.path for result in results if result.faults),
    )
    tell(f"\n{'path':20}{'points':>8}{'held':>8}{'failed':>8}")
    for path in sorted(tried):
        tell(f"{path:20}{tried[path]:8}{tried[path] - failed[path]:8}{failed[path]:8}")
    tell(f"{'all':20}{len(results):8}{len(results) - failed.total():8}{failed.total():8}   in {seconds:.0f} s")
    never = sorted({step.name for step in STEPS} - reached) if is_whole and len(results) == total else []
    if never:
        tell(f"never reached, so that nothing is proved of them: {', '.join(never)}")
    return int(bool(failed or never or len(results) < total))


if __name__ == "__main__":
    sys.exit(main())
