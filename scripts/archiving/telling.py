"""What people and programs are shown: a bar or lines, tables without control characters, JSON, CSV."""

import csv
import dataclasses
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime
from typing import Any, TextIO

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mutt.fields import iso
from mutt.host_files import quoted
from mutt.visible import pieces
from scripts.archiving import listening
from scripts.archiving.listening import Done, Listener
from scripts.archiving.parts import Part

LINE_SECONDS = 5.0  # between two lines of progress where there is no terminal
SEARCHED = ("event_timestamp", "hostname", "handling", "rule_id", "team", "event_id", "message")
LISTED = ("table_name", "month", "part", "state", "rows", "bytes", "first_at", "last_at", "restored_until", "location")
CELL = 100  # characters of a table's cell


class Teller(Listener):
    """Tells on stderr, so that stdout is what was asked for: a bar on a terminal, else lines."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._console = Console(file=stream)

    def says(self, line: str) -> None:
        """Print a line."""
        print(line, file=self._stream, flush=True)

    @contextmanager
    def counts(self, what: str, total: int | None) -> Iterator[listening.Progress]:
        """Show how many rows are done."""
        with self._bar(what, total) if self._console.is_terminal else self._lines(what, total) as progress:
            yield progress

    @contextmanager
    def _bar(self, what: str, total: int | None) -> Iterator[listening.Progress]:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self._console, transient=True) as bar:
            task = bar.add_task(what, total=total)
            yield lambda rows: bar.advance(task, rows)

    @contextmanager
    def _lines(self, what: str, total: int | None) -> Iterator[listening.Progress]:
        done, told = 0, time.monotonic()

        def take(rows: int) -> None:
            nonlocal done, told
            done += rows
            if time.monotonic() - told >= LINE_SECONDS:
                told = time.monotonic()
                self.says(f"{what}: {done}" + (f" of {total} rows" if total is not None else " rows"))

        yield take


def summary(done: Done) -> dict[str, Any]:
    """Return what a run did as a document."""
    found: dict[str, Any] = {}
    for item in dataclasses.fields(done):
        found[item.name] = [_document(each) if isinstance(each, Part) else each for each in getattr(done, item.name)]
    return found


def listed(parts: Iterable[Part]) -> list[dict[str, Any]]:
    """Return parts as rows."""
    return [{name: getattr(part, name) for name in LISTED} for part in parts]


def show(rows: list[dict[str, Any]], form: str, columns: Iterable[str]) -> None:
    """Print rows: as a table, as CSV that no spreadsheet takes for formulas, or as an object a line."""
    try:
        _show(rows, form, columns, sys.stdout)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads has enough, as `head` does; what is left in the buffer goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show(rows: list[dict[str, Any]], form: str, columns: Iterable[str], stream: TextIO) -> None:
    if form == "json":
        for row in rows:
            print(_encoded(row), file=stream)
        return
    names = list(columns)
    if form == "csv":
        names = list(rows[0]) if rows else names
        writer = csv.writer(stream)
        writer.writerow(names)
        writer.writerows([quoted(_text(row[name])) for name in names] for row in rows)
        return
    _table(rows, names, stream)


def _table(rows: list[dict[str, Any]], names: list[str], stream: TextIO) -> None:
    cells = [[_visible(_text(row[name])) for name in names] for row in rows]
    widths = [max([len(name), *(len(line[at]) for line in cells)]) for at, name in enumerate(names)]
    for line in [names, *cells]:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip(), file=stream)


def _visible(text: str) -> str:
    return "".join(f"<{piece.text}>" if piece.hidden else piece.text for piece in pieces(text, CELL))


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return iso(value)
    return f"{value:%Y-%m}" if isinstance(value, date) else str(value)


def _document(part: Part) -> dict[str, Any]:
    names = ("table_name", "month", "part", "rows", "bytes", "location", "first_at", "last_at")
    return {name: getattr(part, name) for name in names} | {"month": f"{part.month:%Y-%m}"}


def _encoded(row: Mapping[str, Any]) -> str:
    if isinstance(row.get("raw"), str):
        row = {**row, "raw": msgspec.Raw(row["raw"].encode())}
    return msgspec.json.encode(row).decode()
