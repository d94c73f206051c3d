"""The table of faults in docs/reliability.md: what is promised for each, and what a test has seen.

    @fault("redis", "refused: its port is closed", "503; nothing lost; all comes back by itself")
    @contextmanager
    def _refused(stage: Stage) -> Iterator[None]: …

A test provokes each fault of its part under a small load (`observe.provoke`) and compares what it saw with the
document's row. With MUTT_FAULTS_WRITE=1 it writes the row instead.
"""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from tests.faults.stage import Stage

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
WRITING = os.environ.get("MUTT_FAULTS_WRITE") == "1"
HEAD = ("the fault", "promised", "senders get", "health says", "alerts", "lost", "doubled", "afterwards")

Strike = Callable[[Stage], AbstractContextManager[None]]


@dataclass(frozen=True)
class Fault:
    """One fault; it lasts as long as the context of `strike`. A `brief` one comes and goes: health may miss it."""

    part: str
    name: str
    promised: str
    strike: Strike
    brief: bool = False

    def __str__(self) -> str:
        """Return the name of its test."""
        return self.name


FAULTS: list[Fault] = []


def fault(part: str, name: str, promised: str, *, brief: bool = False) -> Callable[[Strike], Strike]:
    """Register what follows as a fault."""

    def register(strike: Strike) -> Strike:
        FAULTS.append(Fault(part, name, promised, strike, brief))
        return strike

    return register


def of(part: str) -> list[Fault]:
    """Return the faults of a part, in the table's order."""
    return [each for each in FAULTS if each.part == part]


def row(found: Fault, *seen: str) -> str:
    """Return a row of the table."""
    cells = (found.name, found.promised, *seen)
    if len(cells) != len(HEAD):
        raise AssertionError(f"{len(cells)} cells, not {len(HEAD)}: {cells}")
    return f"| {' | '.join(cells)} |"


def documented(part: str) -> dict[str, str]:
    """Return the rows of the document by their fault."""
    lines = _between(PAGE.read_text(encoding="utf-8"), part)[1].strip().splitlines()[2:]
    return {line.split(" | ")[0].removeprefix("| "): line for line in lines}


def document(found: Fault, line: str) -> None:
    """Write a row into the document; rows of faults that are gone leave it."""
    before, _, after = _between(PAGE.read_text(encoding="utf-8"), found.part)
    rows = documented(found.part) | {found.name: line}
    kept = [rows[each.name] for each in of(found.part) if each.name in rows]
    table = [f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|", *kept]
    PAGE.write_text(before + "\n" + "\n".join(table) + "\n" + after, encoding="utf-8")


def _between(text: str, part: str) -> tuple[str, str, str]:
    start, end = f"<!-- faults:{part} -->", f"<!-- /faults:{part} -->"
    first, last = text.index(start) + len(start), text.index(end)
    return text[:first], text[first:last], text[last:]
