"""A search over the archive as it lies there: neither the database nor a restored month is needed."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mutt.handling import normalise_host
from scripts.archiving.files import MANIFEST, Manifest, read_file, read_manifest
from scripts.archiving.listening import Listener
from scripts.archiving.store import Store

TABLE = "event_audit_log"
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for; what is None is not asked."""

    start: datetime | None = None
    end: datetime | None = None
    hostname: str | None = None
    q: str | None = None
    rule_id: int | None = None
    handling: str | None = None
    correlation_id: str | None = None
    event_id: str | None = None
    limit: int = 100

    def reaches(self, first: datetime | None, last: datetime | None) -> bool:
        """Tell whether rows from `first` to `last` can be in its range."""
        if first is None or last is None:
            return False
        return not ((self.start and last < self.start) or (self.end and first >= self.end))

    def condition(self) -> Any:
        """Return it as a condition on the columns."""
        found = [pc.field("event_id").is_valid()]
        for name in ("rule_id", "handling", "correlation_id", "event_id"):
            value = getattr(self, name)
            if value is not None:
                found.append(pc.field(name) == value)
        if self.hostname is not None:
            found.append(pc.field("hostname").isin([self.hostname, normalise_host(self.hostname)]))
        if self.q is not None:
            found.append(pc.match_substring(pc.field("message"), self.q, ignore_case=True))
        time = pc.field("event_timestamp")
        found += [time >= pa.scalar(self.start, pa.timestamp("us", "UTC"))] if self.start else []
        found += [time < pa.scalar(self.end, pa.timestamp("us", "UTC"))] if self.end else []
        condition = found[0]
        for each in found[1:]:
            condition = condition & each
        return condition


def manifests(store: Store, table: str | None = None) -> Iterator[tuple[str, Manifest]]:
    """Yield folder and manifest of each part in the archive, the newest month first."""
    paths = [path for path in store.files(table or "") if path.rpartition("/")[2] == MANIFEST]
    for path in sorted(paths, key=lambda path: path.split("/")[1:], reverse=True):
        folder = path.rpartition("/")[0]
        yield folder, read_manifest(store, folder)


def search(store: Store, query: Query, listener: Listener | None = None) -> list[Row]:
    """Return the newest rows that match, at most `query.limit`, newest first; each event once."""
    files = [
        (file, folder)
        for folder, manifest in manifests(store, TABLE)
        if query.reaches(manifest.first_at, manifest.last_at)
        for file in manifest.files
        if query.reaches(file.first_at, file.last_at)
    ]
    files.sort(key=lambda each: each[0].last_at, reverse=True)
    condition = query.condition()
    found: dict[tuple[datetime, str], Row] = {}
    total = sum(file.rows for file, _ in files)
    with (listener or Listener()).counts("searching", total) as progress:
        for file, folder in files:
            # What is older than enough rows that were found is not looked for any more.
            if len(found) >= query.limit and file.last_at < min(found)[0]:
                break
            for batch in read_file(store, folder, file):
                for row in _newest(pa.Table.from_batches([batch]).filter(condition), query.limit):
                    found.setdefault((row["event_timestamp"], row["event_id"]), row)
                if len(found) > 2 * query.limit:
                    found = _first(found, query.limit)
                progress(batch.num_rows)
            found = _first(found, query.limit)
    return [found[key] for key in sorted(found, reverse=True)]


def _newest(rows: Any, limit: int) -> list[Row]:
    newest = rows.sort_by([("event_timestamp", "descending"), ("event_id", "descending")]).slice(0, limit)
    found: list[Row] = newest.to_pylist()
    return found


def _first(found: dict[tuple[datetime, str], Row], limit: int) -> dict[tuple[datetime, str], Row]:
    return {key: found[key] for key in heapq.nlargest(limit, found)}
