"""Rows that no floor is asked of, as tables of docs/performance.md: each is measured as its own script does it.

    python -m benchmarks.rows_page NAME [--runs 3] [--quick] [--write] [--json]

NAME is instances, stalls or rules_memory.
"""

import importlib
import json
import sys
from collections.abc import Sequence

from benchmarks import facts, measuring, performance_page, table_text

ROWS = ("instances", "stalls", "rules_memory")


def table(outcome: measuring.Outcome) -> str:
    """Return a row with all its notes as a table of the page."""
    names = list(dict.fromkeys(name for side in outcome.sides for name in side.notes))
    # The rate of a stall is one over how long it lasted: its notes say that in milliseconds.
    has_rate = outcome.name != "stalls"
    rates = [f"{outcome.unit}/s (least-most)", "CPU µs"] if has_rate else []
    heads = ["", *rates, *(name.replace("_", " ") for name in names)]
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "--:|" * (len(heads) - 1)]
    for side in outcome.sides:
        if side.per_second is None:
            lines.append(f"| {side.what} | not measured: {side.missing} |" + " |" * (len(heads) - 2))
            continue
        cells = [side.what]
        if has_rate:
            cells.append(f"{side.per_second.median:,.0f} ({side.per_second.least:,.0f}-{side.per_second.most:,.0f})")
            cells.append("" if side.cpu_us is None else table_text.short(side.cpu_us.median))
        cells += (table_text.short(side.notes[name]) if name in side.notes else "" for name in names)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write the page where that is wanted; returns 1 where a side could not be measured."""
    parser = measuring.arguments(__doc__)
    parser.add_argument("name", choices=ROWS)
    parser.add_argument("--write", action="store_true", help="write docs/performance.md")
    options = parser.parse_args(arguments)
    outcome = measuring.measured(importlib.import_module(f"benchmarks.{options.name}").bench, options)
    print(json.dumps(outcome.as_json(), ensure_ascii=False) if options.json else measuring.text(outcome), flush=True)
    if options.write:
        scale = "" if outcome.scale == 1 else f" --scale {outcome.scale:g}"
        told = f"`python -m benchmarks.rows_page {options.name} --runs {outcome.runs}{scale}`, {facts.today()}"
        heading = f"{told}; {facts.sentence(facts.facts())}. {outcome.conditions[0].upper()}{outcome.conditions[1:]}."
        performance_page.replace(options.name, f"{heading}\n\n{table(outcome)}")
    return int(any(side.per_second is None for side in outcome.sides))


if __name__ == "__main__":
    sys.exit(main())
