"""Instructions an event of the pieces of work that run in the services: what noise cannot hide.

    python -m benchmarks.instructions [--only PIECE] [--json]

Counted by the processor where it lets itself be asked (perf), else by valgrind's cachegrind, which is 50 times slower
and as exact. Each piece runs twice in a process of its own, with more and with fewer rounds: the difference is its own.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from benchmarks.counted import EVENTS, PIECES, TEAM
from benchmarks.machine import TREE
from benchmarks.measuring import NotHere
from benchmarks.workload import bodies, rules
from tests.harness.programs import find

FEW, MANY = 3, 13  # rounds: the first ones are those in which Python learns what the code does
PERF = ("perf", "stat", "--field-separator=,", "--event=instructions:u")
VALGRIND = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")


class NotCountedError(Exception):
    """A piece does not run on a tree: it is not there, or is called otherwise."""


@cache
def counter() -> tuple[Sequence[str], Callable[[str], int | None]]:
    """Return the program before a command that counts, and what finds the number in what it says."""
    for (name, *options), read in ((PERF, _of_perf), (VALGRIND, _of_valgrind)):
        found = find(name)
        with suppress(NotCountedError):
            if found is not None and read(_told([str(found.path), *options, "true"])) is not None:
                return [str(found.path), *options], read
    raise NotHere("instructions cannot be counted: the processor's counters are out of reach, and valgrind is not here")


def _of_perf(told: str) -> int | None:
    found = re.search(r"^(\d+),[^,]*,instructions", told, re.MULTILINE)
    return int(found[1]) if found else None


def _of_valgrind(told: str) -> int | None:
    found = re.search(r"I +refs: +([\d,]+)", told)
    return int(found[1].replace(",", "")) if found else None


def _told(command: Sequence[str], **environment: str) -> str:
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotCountedError(done.stderr.strip())
    return done.stdout + done.stderr


def count(piece: str, tree: Path = TREE, python: str = sys.executable) -> float:
    """Return the instructions an event of a piece, with the code of that tree. Raises NotHere and NotCountedError."""
    prefix, read = counter()
    environment = {"PYTHONPATH": str(tree), "PYTHONSAFEPATH": "1", "PYTHONHASHSEED": "0"}  # the tree's own modules
    script = str(TREE / "benchmarks" / "counted.py")
    counted = []
    with tempfile.TemporaryDirectory(prefix="mutt-instructions-") as name:
        file = Path(name) / "input.json"
        file.write_text(json.dumps(given()), encoding="utf-8")
        command = [python, script, piece]
        _told([*command, "1", str(file)], **environment)  # so that all modules are compiled
        for rounds in (FEW, MANY):
            told = _told([*prefix, *command, str(rounds), str(file)], **environment)
            number = read(told)
            if number is None or str(tree / "mutt") not in told.splitlines():
                raise NotCountedError(f"it did not work on {tree}: {told}")
            counted.append(number)
    return (counted[1] - counted[0]) / (MANY - FEW) / EVENTS


def given() -> dict[str, object]:
    """Return what the pieces work on."""
    return {
        "singles": [body.decode() for body in bodies(EVENTS, 1)],
        "batches": [body.decode() for body in bodies(EVENTS, EVENTS)],
        "rules": [
            (rule.match_string, rule.trap_oid, None, rule.match_type, rule.priority, "Log_only", "Log_only", TEAM)
            for rule in rules()
        ],
    }


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=PIECES)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    try:
        found = {piece: count(piece) for piece in options.only or PIECES}
    except NotHere as reason:
        raise SystemExit(str(reason)) from None
    lines = [f"{piece:16}{number:>12,.0f} instructions an event" for piece, number in found.items()]
    print(json.dumps(found) if options.json else "\n".join(lines))


if __name__ == "__main__":
    main()
