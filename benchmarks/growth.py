"""How throughput and cost grow: measures the curves, checks what each promises, draws them.

    python -m benchmarks.growth [NAME …] [--quick] [--runs N] [--write] [--json FILE]

NAME is a curve, or `stages` or `settings`: the other tables of that page. Ends with 1 where a promise is broken.
--write replaces the pictures and tables of docs/performance.md; the curves' data go beside their pictures.
"""

import argparse
import importlib
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import machine, performance_page
from benchmarks.growth_frame import Make, Option, as_json, measured

TABLES = {
    "stages": "benchmarks.stages",
    "settings": "benchmarks.settings_cost",
}  # on the same page, by the same command
NAMES = ("rules", "unmatched", "audit", "queue", "senders", "size", "viewers", "latency")


def make(name: str) -> Make:
    """Return what makes a curve."""
    found: Make = importlib.import_module(f"benchmarks.growth_{name}").curve
    return found


def grow(name: str, option: Option) -> dict[str, Any]:
    """Measure one curve."""
    with make(name)(option) as curve:
        points = measured(curve, option, lambda line: print(line, file=sys.stderr, flush=True))
        about = {
            "machine": machine.describe(),
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "command": f"muttdev bench --growth {name}{' --quick' if option.quick else ''}",
            "aof": option.appendfsync,
        }
        return as_json(curve, points, about)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; returns 1 where a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join((*NAMES, *TABLES))}; all without one")
    parser.add_argument("--quick", action="store_true", help="fewer points and events, one run")
    parser.add_argument("--runs", type=int)
    parser.add_argument("--appendfsync", choices=("off", "everysec", "always"), default="off")
    parser.add_argument("--write", action="store_true", help="write docs/performance.md and its pictures")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(NAMES) - set(TABLES):
        parser.error(f"no such curve: {', '.join(sorted(unknown))}")
    option = Option(options.quick, options.runs or (1 if options.quick else 3), options.appendfsync)
    found = []
    for name in options.names or (*NAMES, *TABLES):
        if name in TABLES:
            importlib.import_module(TABLES[name]).main(_common(options))
            continue
        result = grow(name, option)
        found.append(result)
        print(performance_page.text(result), flush=True)
        if options.write:
            performance_page.write(result)
        if options.json:
            options.json.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return int(any(promise["broken"] for result in found for promise in result["promises"]))


def _common(options: argparse.Namespace) -> list[str]:
    """Return the options as the tables' own commands take them."""
    given = ["--appendfsync", options.appendfsync]
    given += ["--runs", str(options.runs)] if options.runs else []
    return [*given, *(f"--{name}" for name in ("quick", "write") if getattr(options, name))]


if __name__ == "__main__":
    sys.exit(main())
