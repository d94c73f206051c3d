"""How throughput and cost grow: measures the curves, checks what each promises, draws them.

    python -m benchmarks.growth [NAME …] [--quick] [--runs N] [--write] [--json FILE]

NAME is a curve, or another table of that page. Ends with 1 where a promise is broken or something could not be
measured. --write replaces the pictures and tables of docs/performance.md; the curves' data go beside their pictures.
"""

import argparse
import importlib
import json
import sys
import time
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import machine, performance_page, rows_page
from benchmarks.growth_frame import Make, Option, as_json, measured
from benchmarks.measuring import NotHere

TABLES = {
    "stages": "benchmarks.stages",
    "settings": "benchmarks.settings_cost",
}  # on the same page, by the same command
NAMES = ("rules", "unmatched", "queue", "senders", "size", "viewers", "latency", "audit")
ALL = (*TABLES, *rows_page.ROWS, *NAMES)  # the longest last


def make(name: str) -> Make:
    """Return what makes a curve."""
    found: Make = importlib.import_module(f"benchmarks.growth_{name}").curve
    return found


def how(option: Option) -> str:
    """Return the options that give a curve again."""
    runs = "" if option.runs == (1 if option.quick else 3) else f" --runs {option.runs}"
    synced = "" if option.appendfsync == "off" else f" --appendfsync {option.appendfsync}"
    return (" --quick" if option.quick else "") + runs + synced


def grow(name: str, option: Option) -> dict[str, Any]:
    """Measure one curve."""
    with make(name)(option) as curve:
        points = measured(curve, option, lambda line: print(line, file=sys.stderr, flush=True))
        about = {
            "machine": machine.describe(),
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "command": f"python3 scripts/muttdev.py bench --growth {name}{how(option)}",
            "aof": option.appendfsync,
        }
        return as_json(curve, points, about)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; returns 1 where a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ALL)}; all without one")
    parser.add_argument("--quick", action="store_true", help="fewer points and events, one run")
    parser.add_argument("--runs", type=int)
    parser.add_argument("--appendfsync", choices=("off", "everysec", "always"), default="off")
    parser.add_argument("--write", action="store_true", help="write docs/performance.md and its pictures")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(ALL):
        parser.error(f"no such curve: {', '.join(sorted(unknown))}")
    option = Option(options.quick, options.runs or (1 if options.quick else 3), options.appendfsync)
    found, failed = [], []
    for name in options.names or ALL:
        begun = time.monotonic()
        try:
            if name in TABLES:
                importlib.import_module(TABLES[name]).main(_common(options))
                continue
            if name in rows_page.ROWS:
                failed += [name] * rows_page.main([name, *_common(options)])
                continue
            result = grow(name, option)
        except (Exception, SystemExit) as reason:  # noqa: BLE001  (the others are measured all the same)
            failed.append(name)
            if not isinstance(reason, NotHere | SystemExit):
                traceback.print_exc()
            print(f"{name}: not measured: {reason}", flush=True)
            continue
        finally:
            print(f"{name}: {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
        found.append(result)
        print(performance_page.text(result), flush=True)
        if options.write:
            performance_page.write(result)
        if options.json:
            options.json.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return int(bool(failed) or any(promise["broken"] for result in found for promise in result["promises"]))


def _common(options: argparse.Namespace) -> list[str]:
    """Return the options as the tables' own commands take them."""
    given = ["--appendfsync", options.appendfsync]
    given += ["--runs", str(options.runs)] if options.runs else []
    return [*given, *(f"--{name}" for name in ("quick", "write") if getattr(options, name))]


if __name__ == "__main__":
    sys.exit(main())
