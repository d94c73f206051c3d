"""The facts of sheet.toml as test rows: each has a stable id, by which waiting.toml may name it."""

import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
SHEET: dict[str, Any] = tomllib.loads((HERE / "sheet.toml").read_text(encoding="utf-8"))
WAITING: dict[str, str] = {
    row: title
    for title, rows in tomllib.loads((HERE / "waiting.toml").read_text(encoding="utf-8")).items()
    for row in rows
}
SERVICES: tuple[str, ...] = tuple(SHEET["services"])


@dataclass(frozen=True, slots=True)
class Row:
    """One fact; `service` is empty where the fact belongs to all or to none."""

    id: str
    facts: Any
    service: str = ""


def params(rows: Iterable[Row]) -> pytest.MarkDecorator:
    """Parametrize a test over `rows`; a row that waiting.toml names has to fail for as long as it is named."""
    return pytest.mark.parametrize("row", [pytest.param(row, id=row.id, marks=_marks(row)) for row in rows])


def _marks(row: Row) -> list[pytest.MarkDecorator]:
    title = WAITING.get(row.id)
    if title is None:
        return []
    return [pytest.mark.xfail(reason=f"waits for: {title}", strict=True, raises=AssertionError)]


def variables() -> Iterator[Row]:
    """Yield each environment variable once for each group that reads it."""
    for group, rows in SHEET["variables"].items():
        for facts in rows:
            yield Row(f"variable:{group}:{facts['name']}", facts, group)


def dynamic_keys() -> Iterator[Row]:
    """Yield each dynamic configuration key."""
    for facts in SHEET["dynamic"]["keys"]:
        yield Row(f"dynamic:{facts['name']}", facts)


def metrics() -> Iterator[Row]:
    """Yield each metric with the service that shows it."""
    for service, rows in SHEET["metrics"].items():
        for facts in rows:
            yield Row(f"metric:{facts['name']}", facts, service)


def endpoints() -> Iterator[Row]:
    """Yield each endpoint with the service that answers it."""
    for service, rows in SHEET["endpoints"].items():
        for facts in rows:
            yield Row(f"endpoint:{service}:{facts['method']} {facts['path']}", facts, service)


def redis_keys() -> Iterator[Row]:
    """Yield each Redis key."""
    for facts in SHEET["redis"]:
        yield Row(f"redis:{facts['key']}", facts)


def tables() -> Iterator[Row]:
    """Yield each table."""
    for facts in SHEET["tables"]:
        yield Row(f"table:{facts['name']}", facts)


def files(*groups: str) -> Iterator[Row]:
    """Yield each file of the named groups, or of all."""
    for group in groups or SHEET["files"]:
        for path in SHEET["files"][group]:
            yield Row(f"file:{path}", path)


def secrets() -> Iterator[Row]:
    """Yield each secret once for each service that reads it."""
    for facts in SHEET["secrets"]:
        for service in facts["services"]:
            yield Row(f"secret:{service}:{facts['name']}", facts["name"], service)


def services() -> Iterator[Row]:
    """Yield each service."""
    for name, facts in SHEET["services"].items():
        yield Row(f"service:{name}", facts, name)


def units() -> Iterator[Row]:
    """Yield each systemd unit with the entry file that it starts."""
    for name, facts in SHEET["services"].items():
        yield Row(f"unit:mutt-{name}", facts["entry"], name)


def commands(kind: str) -> Iterator[Row]:
    """Yield each command of an operator, `redis` or `sql`."""
    for text in SHEET["commands"][kind]:
        yield Row(f"command:{kind}:{text}", text)


def standing() -> Iterator[Row]:
    """Yield the facts that stand alone."""
    for row in ("slo:queries", "slo:states", "retention:archive", "retention:prometheus"):
        yield Row(row, None)


def decided() -> Iterator[tuple[str, str]]:
    """Yield (where, number of the record) for every `decided` note of the data."""
    yield from _decided(SHEET, "")


def _decided(node: Any, where: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "decided":
                yield where, value
            else:
                yield from _decided(value, f"{where}.{key}" if where else key)
    elif isinstance(node, list):
        for item in node:
            label = item.get("name") or item.get("key") or item.get("path") if isinstance(item, dict) else ""
            yield from _decided(item, f"{where}.{label}")
