"""The table of the rows for a terminal and for the documents, where it stands between two markers."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import facts
from benchmarks.machine import TREE

Reasons = dict[str, int]

HEADS = ("stage", "plain stack", "limit", "MUTT", "CPU µs: stack, MUTT", "floor")


def text(document: Mapping[str, Any]) -> str:
    """Return the table for a terminal."""
    reasons: Reasons = {}
    rows = [HEADS, *cells(document["rows"], reasons)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines += ["", *listed(reasons)]
    return "\n".join([*lines, "", f"AOF {document['appendfsync']}. {facts.sentence(document['machine'])}"])


def markdown(document: Mapping[str, Any]) -> str:
    """Return the table for a document, with what it was measured on."""
    reasons: Reasons = {}
    lines = ["| " + " | ".join(HEADS) + " |", "|---|---|---|---|---|---|"]
    lines += ["| " + " | ".join(row) + " |" for row in cells(document["rows"], reasons)]
    if reasons:
        lines += ["", "Why not reached:", "", *listed(reasons)]
    return "\n".join([_told(document), "", *lines])


def listed(reasons: "Reasons") -> list[str]:
    """Return why floors were not reached, by the numbers in the table."""
    return [f"{number}. {reason[:1].upper()}{reason[1:]}." for reason, number in reasons.items()]


def _told(document: Mapping[str, Any]) -> str:
    dates = sorted({row["date"] for row in document["rows"]})
    days = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    commands = dict.fromkeys(row.get("command", document["command"]) for row in document["rows"])
    told = f"{' and '.join(f'`{command}`' for command in commands)}, {days}, "
    return f"{told}append-only file {document['appendfsync']}; {facts.sentence(document['machine'])}:"


def cells(rows: Sequence[Mapping[str, Any]], reasons: Reasons) -> Iterator[tuple[str, ...]]:
    """Yield a line for each side that has a floor, in words; each reason for one not reached gets a number."""
    for row in rows:
        if "failed" in row:
            yield (row["name"], "", "", "not measured", "", row["failed"])
            continue
        sides = {side["name"]: side for side in row["sides"]}
        judged: dict[str, list[Mapping[str, Any]]] = {}
        for verdict in row["verdicts"]:
            judged.setdefault(verdict["floor"]["side"], []).append(verdict)
        for name, verdicts in judged.items():
            beside = [verdict["floor"]["over"] for verdict in verdicts if verdict["floor"]["of"] == "per_second"]
            limits = [over for over in beside if over.startswith("limit")]
            stacks = [over for over in beside if over not in limits]
            of = name.removeprefix("mutt").strip(" _-")
            yield (
                row["title"] + (f", {of}" if of and len(judged) > 1 else ""),
                ", ".join(_told_apart(over, sides) for over in stacks),
                ", ".join(_rate(sides.get(over)) for over in limits),
                _rate(sides.get(name), spread=True),
                f"{_cpu(sides.get(stacks[0])) if stacks else '-'}, {_cpu(sides.get(name))}",
                "; ".join(_floor(verdict, reasons) for verdict in verdicts),
            )


def _told_apart(name: str, sides: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a rate of the column of the plain stack, with what it is of where that is something else."""
    side = sides.get(name)
    return f"{side['what']}: {_rate(side)}" if side and not name.startswith("stack") else _rate(side)


def _rate(side: Mapping[str, Any] | None, *, spread: bool = False) -> str:
    if side is None or side["per_second"] is None:
        return "-"
    rate = side["per_second"]
    return f"{rate['median']:,.0f}/s" + (f" ({rate['least']:,.0f}-{rate['most']:,.0f})" if spread else "")


def _cpu(side: Mapping[str, Any] | None) -> str:
    if side is None or side["cpu_us"] is None:
        return "-"
    return short(side["cpu_us"]["median"])


def short(number: float) -> str:
    """Return a number in three digits or more."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.1f}" if number >= 10 else f"{number:.2f}"


def _floor(verdict: Mapping[str, Any], reasons: Reasons) -> str:
    floor = verdict["floor"]
    over, least = floor["over"].replace("_", " "), floor["least"]
    if verdict["ratio"] is None:
        return f"{over}: not measured (asked: {least:g})"
    ratio = short(verdict["ratio"]["median"])
    if floor["of"] == "cpu_us":
        words = f"CPU of {over} {ratio} x as much"
    else:
        words = f"{ratio} x {over}" if least >= 1 else f"{ratio} of {over}"
    reached = "reached"
    if not verdict["reached"]:
        why = f" ({reasons.setdefault(floor['why'], len(reasons) + 1)})" if floor["why"] else ""
        reached = f"**not reached**{why}"
    return f"{words} (asked: {least:g}), {reached}"


def sizing(document: Mapping[str, Any]) -> str:
    """Return the rates and CPU that what to buy is computed from."""
    names = {"ingest": "Redis", "end_to_end": "the audit row"}
    kinds = {"single": "single events", "batches": "batches of 100"}
    rows = {row["name"]: row for row in document["rows"]}
    lines = ["| from the sender to | events/s | CPU µs an event |", "|---|---|---|"]
    for stage, station in names.items():
        for kind, how in kinds.items():
            row = rows.get(f"{stage}_{kind}")
            if row is not None:
                (mutt,) = (side for side in row["sides"] if side["name"] == "mutt")
                lines.append(f"| {station}, {how} | {mutt['per_second']['median']:,.0f} | {_cpu(mutt)} |")
    return "\n".join([_told(document), "", *lines])


def with_table(page: str, document: Mapping[str, Any]) -> str:
    """Return a page with the table of these figures."""
    return between(page, markdown(document))


def with_conditions(page: str, document: Mapping[str, Any]) -> str:
    """Return a page with the table of these figures and what each row's depend on."""
    conditions = "\n".join(f"- {row['title']}: {row['conditions']}." for row in document["rows"])
    return between(page, f"{markdown(document)}\n\nWhat they depend on:\n\n{conditions}")


def with_sizing(page: str, document: Mapping[str, Any]) -> str:
    """Return the page on sizing with these figures, and what its example says of 2,000 events a second."""
    page = between(page, sizing(document))
    for row in document["rows"]:
        if row["name"] == "end_to_end_batches":
            (used,) = (side["cpu_us"]["median"] for side in row["sides"] if side["name"] == "mutt")
            # The figure as it is shown: the page is to agree with itself.
            cores = f"| cores | {2000 * float(short(used).replace(',', '')) / 1e6:.2f} at work"
            page = re.sub(r"\| cores \| [\d.]+ at work", cores, page)
    return page


# The floors were set with the append-only file off; what to buy goes by the durable mode.
PAGES: Mapping[str, Mapping[str, Callable[[str, Mapping[str, Any]], str]]] = {
    "off": {"README.md": with_table, "docs/performance.md": with_conditions},
    "always": {"docs/operations/sizing.md": with_sizing},
}


def data(mode: str) -> Path:
    """Return the file of the figures that the documents show, measured with that mode of the append-only file."""
    return TREE / "docs" / "images" / "performance" / f"bench-{mode}.json"


def write(document: Mapping[str, Any], order: Sequence[str]) -> None:
    """Write the pages' tables and the data beside them; rows that were not measured now stay as they were."""
    mode = document["appendfsync"]
    if mode not in PAGES:
        raise SystemExit(f"no page shows figures with appendfsync {mode}")
    file = data(mode)
    file.parent.mkdir(parents=True, exist_ok=True)
    kept = json.loads(file.read_text(encoding="utf-8"))["rows"] if file.exists() else []
    rows = {row["name"]: row for row in (*kept, *document["rows"]) if "failed" not in row}
    whole = {**document, "rows": [rows[name] for name in order if name in rows]}
    file.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for name, rewritten in PAGES[mode].items():
        page = TREE / name
        page.write_text(rewritten(page.read_text(encoding="utf-8"), whole), encoding="utf-8")


def between(page: str, inside: str) -> str:
    """Return the page with what stands between the table's markers replaced."""
    changed, found = re.subn(
        r"(<!-- bench -->\n).*?(<!-- end -->)", lambda marks: f"{marks[1]}{inside}\n{marks[2]}", page, flags=re.DOTALL
    )
    if found != 1:
        raise SystemExit("the page has no pair of markers <!-- bench --> and <!-- end -->")
    return changed
