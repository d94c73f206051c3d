"""The table of all rows: each in a process of its own, so that one that fails does not lose the others.

    python3 scripts/muttdev.py bench [--quick] [--only NAME] [--runs N] [--json FILE] [--appendfsync MODE]

Progress goes to stderr. With --write the tables in the documents are written anew, from this run's rows and those of
earlier ones that it leaves out.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import facts, table_text
from benchmarks.machine import TREE
from benchmarks.measuring import arguments

ROWS = (
    "ingest_single", "ingest_batches", "match", "claim_settle", "audit", "end_to_end_single", "end_to_end_batches",
    "webhook", "two_alerters",
)  # fmt: skip
LONGEST = 900.0  # seconds that a row may take


@dataclass(frozen=True)
class Tree:
    """A checkout and the Python that runs it."""

    folder: Path = TREE
    python: str = sys.executable

    @property
    def environment(self) -> dict[str, str]:
        """Return what makes Python take its modules, whichever tree the environment was made for."""
        return {**os.environ, "PYTHONPATH": str(self.folder), "PYTHONSAFEPATH": "1"}


HERE = Tree()


def measured(name: str, options: Sequence[str], tree: Tree = HERE) -> dict[str, Any]:
    """Run one row and return its outcome, or why there is none."""
    command = [tree.python, "-m", f"benchmarks.{name}", "--json", *options]
    with subprocess.Popen(command, cwd=tree.folder, env=tree.environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            output, _ = process.communicate(timeout=LONGEST)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)  # so that it ends what it started
            process.wait()
            return {"name": name, "failed": f"it took longer than {LONGEST:g} s"}
    again = f"see above, or run {' '.join(command)}"
    if process.returncode:
        return {"name": name, "failed": f"it ended with {process.returncode}: {again}"}
    try:
        outcome: dict[str, Any] = json.loads(output)
    except ValueError:
        return {"name": name, "failed": f"what it printed is no outcome: {again}"}
    return outcome


def row_options(options: argparse.Namespace) -> list[str]:
    """Return the options of this command that each row takes too."""
    given = [f"--appendfsync={options.appendfsync}"]
    given += ["--quick"] if options.quick else []
    given += [f"--runs={options.runs}"] if options.runs else []
    return given + ([f"--scale={options.scale}"] if options.scale else [])


def command_of(options: argparse.Namespace) -> str:
    """Return the command that gives this table again."""
    parts = ["python3 scripts/muttdev.py bench"]
    parts += ["--quick"] if options.quick else []
    parts += [f"--runs {options.runs}"] if options.runs else []
    parts += [f"--scale {options.scale:g}"] if options.scale else []
    parts += [f"--appendfsync {options.appendfsync}"] if options.appendfsync != "off" else []
    return " ".join(parts)


def main() -> None:
    """Measure, print, and write what is asked for."""
    parser = arguments(__doc__)
    parser.add_argument(
        "--only", action="append", metavar="NAME", choices=ROWS, help="this row (more than once: these)"
    )
    parser.add_argument("--file", type=Path, help="write JSON into this file too")
    parser.add_argument("--write", action="store_true", help="write the tables in the documents anew")
    options = parser.parse_args()
    document: dict[str, Any] = {
        "command": command_of(options),
        "appendfsync": options.appendfsync,
        "machine": facts.facts(),
        "rows": [],
    }
    for name in options.only or ROWS:
        print(f"--- {name}", file=sys.stderr, flush=True)
        row = measured(name, row_options(options))
        document["rows"].append(row | {"command": document["command"], "date": facts.today(), "commit": facts.commit()})
    if options.file:
        options.file.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(document, ensure_ascii=False) if options.json else table_text.text(document), flush=True)
    if options.write:
        table_text.write(document, ROWS)
    if any("failed" in row for row in document["rows"]):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
