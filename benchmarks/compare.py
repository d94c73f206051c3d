"""Another commit beside what is checked out: the rows' rates and CPU in turn, and instructions an event.

    python3 scripts/muttdev.py bench --compare REV [--only NAME] [--runs N] [--quick] [--json FILE]

Both run this checkout's benchmarks: the other commit is put into a folder of its own and gets them. A rate or CPU that
got worse by more than the bound counts where the runs of both sides do not overlap; instructions have no noise and a
narrower bound. The exit status is 1 when something got worse, or fails in this checkout.
"""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import facts, instructions
from benchmarks.counted import PIECES
from benchmarks.machine import TREE
from benchmarks.measuring import NotHere, arguments
from benchmarks.table import HERE, ROWS, Tree, measured, row_options
from benchmarks.table_text import short

RUNS = 5
OVERLAID = ("benchmarks", "tests/harness/programs.py", ".tools")  # what measures, and the programs that it needs
BOUND, INSTRUCTIONS_BOUND = 0.05, 0.02
INSTRUCTIONS = "instructions"
HEAD = f"{'':48}{'before: median least most':>30}{'after: median least most':>30}   after / before"


class FailsHereError(NotHere):
    """A row fails in this checkout, whatever it did before."""


@dataclass(frozen=True)
class Change:
    """One figure before and after, a value a run; `less` tells whether less of it is better."""

    name: str
    unit: str
    before: Sequence[float]
    after: Sequence[float]
    bound: float
    less: bool = False

    @property
    def ratio(self) -> float:
        """Return after over before, of the medians."""
        return statistics.median(self.after) / statistics.median(self.before)

    @property
    def is_worse(self) -> bool:
        """Tell whether it got worse by more than the bound, and the worst run before was better than the best after."""
        if self.less:
            return self.ratio > 1 + self.bound and min(self.after) > max(self.before)
        return self.ratio < 1 - self.bound and max(self.after) < min(self.before)

    def __str__(self) -> str:
        """Return it for people."""
        before, after = map(_spread, (self.before, self.after))
        told = "WORSE" if self.is_worse else ""
        return f"{self.name:34}{self.unit:14}{before:>30}{after:>30}   x {self.ratio:.3f}  {told}".rstrip()


def _spread(values: Sequence[float]) -> str:
    return " ".join(short(value) for value in (statistics.median(values), min(values), max(values)))


@contextmanager
def checked_out(revision: str) -> Iterator[Tree]:
    """Put a commit into a folder of its own, with this checkout's benchmarks, and find the Python for it."""
    with tempfile.TemporaryDirectory(prefix="mutt-compare-") as name:
        folder = Path(name).resolve() / "tree"
        _git("worktree", "add", "--quiet", "--detach", str(folder), revision)
        try:
            for path in map(Path, OVERLAID):
                ours, theirs = TREE / path, folder / path
                if theirs.is_dir():
                    shutil.rmtree(theirs)
                if path.name == ".tools":
                    theirs.symlink_to(ours)
                elif ours.is_dir():
                    shutil.copytree(ours, theirs)
                else:
                    shutil.copy(ours, theirs)
            tree = Tree(folder, sys.executable)
            if not _same_libraries(folder):
                tree = Tree(folder, _own_environment(folder))
            require_own_modules(tree)
            yield tree
        finally:
            _git("worktree", "remove", "--force", str(folder))


def _git(*arguments: str) -> None:
    done = subprocess.run(["git", *arguments], cwd=TREE, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"git {' '.join(arguments)}: {done.stderr.strip()}")


def _same_libraries(folder: Path) -> bool:
    files = {path.name for tree in (TREE, folder) for path in (tree / "requirements").glob("*.txt")}
    pairs = [(TREE / "requirements" / name, folder / "requirements" / name) for name in files]
    return all(one.exists() and other.exists() and one.read_bytes() == other.read_bytes() for one, other in pairs)


def _own_environment(folder: Path) -> str:
    """Return the Python of the environment that the other commit's own bootstrap makes."""
    make = "from scripts.devtools.bootstrap import *; print(ensure_environment(TREE, TESTS))"
    environment = Tree(folder).environment
    made = subprocess.run([sys.executable, "-c", make], env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return made.stdout.strip()


def require_own_modules(tree: Tree) -> None:
    """End the comparison where Python would take another tree's modules."""
    command = [tree.python, "-c", "import mutt, services.runtime as s; print(mutt.__file__, s.__file__)"]
    done = subprocess.run(command, env=tree.environment, cwd=tree.folder, capture_output=True, text=True, check=True)
    if not all(Path(file).is_relative_to(tree.folder) for file in done.stdout.split()):
        raise SystemExit(f"{tree.folder} would run the modules of {done.stdout}")


def compared(name: str, trees: Sequence[Tree], runs: int, options: Sequence[str]) -> list[Change]:
    """Run a row on both trees in turn; return what became of each side that has a floor.

    Raises NotHere, and FailsHereError where it does not run in this checkout.
    """
    rates: dict[str, tuple[list[float], list[float]]] = {}
    cpu: dict[str, tuple[list[float], list[float]]] = {}
    for number in range(runs):
        for place in (1, 0) if number % 2 else (0, 1):
            row = measured(name, [*options, "--judged", "--runs=1"], trees[place])
            if "failed" in row:
                if place:
                    raise FailsHereError(f"this checkout: {row['failed']}")
                raise NotHere(f"the other commit: {row['failed']}")
            for side in row["sides"]:
                if side["per_second"] is not None:
                    rates.setdefault(side["name"], ([], []))[place].append(side["per_second"]["median"])
                if side["cpu_us"] is not None:
                    cpu.setdefault(side["name"], ([], []))[place].append(side["cpu_us"]["median"])
    changes = [Change(f"{name} {side}", "a second", *values, BOUND) for side, values in rates.items()]
    return changes + [Change(f"{name} {side}", "µs CPU", *values, BOUND, less=True) for side, values in cpu.items()]


def counted(trees: Sequence[Tree]) -> Iterator[Change | str]:
    """Yield what became of each piece, or why it could not be counted."""
    for piece in PIECES:
        try:
            before, after = ([instructions.count(piece, tree.folder, tree.python)] for tree in trees)
        except NotHere as reason:
            yield str(reason)
            return
        except instructions.NotCountedError as error:
            yield f"{piece}: not counted: {error}"
        else:
            yield Change(piece, "instructions", before, after, INSTRUCTIONS_BOUND, less=True)


def main() -> None:
    """Compare, print, and fail where something got worse."""
    parser = arguments(__doc__)
    parser.add_argument("revision")
    parser.add_argument("--only", action="append", metavar="NAME", choices=(*ROWS, INSTRUCTIONS))
    parser.add_argument("--file", type=Path, help="write JSON into this file too")
    options = parser.parse_args()
    runs, options.runs = options.runs or RUNS, None
    changes: list[Change] = []
    missing: list[str] = []
    fails = False
    with checked_out(options.revision) as other:
        trees = (other, HERE)
        for name in options.only or (*ROWS, INSTRUCTIONS):
            print(f"--- {name}", file=sys.stderr, flush=True)
            if name == INSTRUCTIONS:
                for found in counted(trees):
                    changes.append(found) if isinstance(found, Change) else missing.append(found)
                continue
            try:
                changes += compared(name, trees, runs, row_options(options))
            except NotHere as reason:
                missing.append(f"{name}: not compared: {reason}")
                fails = fails or isinstance(reason, FailsHereError)
    described: dict[str, Any] = {"revision": options.revision, "commit": facts.commit(), "machine": facts.facts()}
    described |= {
        "changes": [{**asdict(c), "ratio": c.ratio, "worse": c.is_worse} for c in changes],
        "missing": missing,
    }
    if options.file:
        options.file.write_text(json.dumps(described, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(
        json.dumps(described, ensure_ascii=False) if options.json else "\n".join([HEAD, *map(str, changes), *missing])
    )
    if fails or any(change.is_worse for change in changes):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
