"""Development hosts and teams as CSV or JSON: each bad line is named, and cells stay text in a spreadsheet."""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from mutt.errors import RuleError

ENTRIES_MAX = 50_000
FAULTS_MAX = 100
# A spreadsheet takes a cell that begins so for a formula; a leading apostrophe makes it text.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

Validate = Callable[[Mapping[str, Any]], dict[str, Any]]


def write_csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Return rows under a header."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows([quoted(str(row[name])) for name in columns] for row in rows)
    return out.getvalue()


def quoted(cell: str) -> str:
    """Return a cell that no spreadsheet takes for a formula."""
    return "'" + cell if cell.startswith(_FORMULA) else cell


def read(document: str, columns: Sequence[str], key: str, validate: Validate) -> list[dict[str, Any]]:
    """Return the entries of a CSV or JSON document; raises RuleError that names each bad line or entry.

    JSON is told by its first character: a list of objects, or of names where there is one column, or an object that
    holds such a list under `key`. CSV may have a header; without one its columns are `columns` in order.
    """
    text = document.removeprefix("\ufeff")
    listed = _json(text, columns, key) if text.lstrip()[:1] in {"[", "{"} else _csv(text, columns)
    faults: dict[str, str] = {}
    entries: list[dict[str, Any]] = []
    places: dict[str, str] = {}
    for place, values in listed:
        if len(faults) >= FAULTS_MAX or len(entries) > ENTRIES_MAX:
            break
        try:
            if isinstance(values, str):
                raise RuleError({place: values})  # noqa: TRY301  (one way to report)
            valid = validate(values)
            name = valid["hostname"]
            if name in places:
                raise RuleError({"hostname": f"{name} is in {places[name]} already"})  # noqa: TRY301
            places[name] = place
            entries.append(valid)
        except RuleError as error:
            faults[place] = "; ".join(
                problem if field == place else f"{field}: {problem}" for field, problem in error.details.items()
            )
    if len(entries) > ENTRIES_MAX:
        faults["document"] = f"holds more than {ENTRIES_MAX} entries"
    if not listed and not faults:
        faults["document"] = f"holds no entries; a line each is needed: {','.join(columns)}"
    if faults:
        raise RuleError(faults)
    return entries


Listed = list[tuple[str, Mapping[str, Any] | str]]


def _json(text: str, columns: Sequence[str], key: str) -> Listed:
    try:
        loaded = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise RuleError({"document": f"is not JSON: {error}"}) from None
    entries = loaded.get(key) if isinstance(loaded, dict) else loaded
    if not isinstance(entries, list):
        raise RuleError({"document": f"has to be a list, or an object with a list under `{key}`"})
    listed: Listed = []
    for number, entry in enumerate(entries[: ENTRIES_MAX + 1], 1):
        if isinstance(entry, str) and len(columns) == 1:
            listed.append((f"entry {number}", {columns[0]: entry}))
        else:
            listed.append((f"entry {number}", entry if isinstance(entry, dict) else "has to be an object of fields"))
    return listed


def _csv(text: str, columns: Sequence[str]) -> Listed:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    names = list(columns)
    listed: Listed = []
    begun = False
    try:
        for cells in reader:
            if len(listed) > ENTRIES_MAX:
                break
            cleaned = [_unquoted(cell.strip()) for cell in cells]
            if not any(cleaned) or cleaned[0].startswith("#"):
                continue
            place = f"line {reader.line_num}"
            if not begun and {cell.lower() for cell in cleaned} >= {columns[0]}:
                names = [cell.lower() for cell in cleaned]
            elif len(cleaned) > len(names):
                listed.append((place, f"has {len(cleaned)} cells; at most {len(names)} are needed: {','.join(names)}"))
            else:
                listed.append((place, {name: cell or None for name, cell in zip(names, cleaned, strict=False)}))
            begun = True
    except csv.Error as error:
        listed.append((f"line {reader.line_num}", f"is not CSV: {error}"))
    return listed


def _unquoted(cell: str) -> str:
    return cell[1:] if cell[:1] == "'" and cell[1:].startswith(_FORMULA) else cell
