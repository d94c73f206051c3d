"""A month back from the archive as a partition, for a time."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import pyarrow as pa
from psycopg import sql
from pyarrow import csv

from scripts.archiving import parts
from scripts.archiving.archiver import Archiver
from scripts.archiving.errors import ArchiveError, DamagedError
from scripts.archiving.files import read_file, read_manifest
from scripts.archiving.months import RESTORING, Month, partitions_of
from scripts.archiving.parts import Part
from scripts.archiving.tables import TABLES, Column, Table, checksums, columns_of

WITHIN = "within_its_month"


class Restorer:
    """Restores months with the connection and the archive of an archiver."""

    def __init__(self, archiver: Archiver) -> None:
        self._archiver = archiver
        self._connection = archiver.connection
        self._store = archiver.store

    def restore(self, month: Month, days: int) -> datetime:
        """Make a month's partitions again, to stay for this many days; returns until when."""
        until = datetime.now(UTC) + timedelta(days=days)
        self._archiver.finish()
        for part in parts.all_parts(self._connection, month=month.start):
            if part.state in parts.UNFINISHED:
                # Its rows would be in the month twice, or not at all.
                raise ArchiveError(f"{part} could not be brought to its end, is {part.state}: mend that first")
        found = [table for table in TABLES.values() if self._parts(table, month)]
        if not found:
            raise ArchiveError(f"nothing of {month.start:%Y-%m} is archived: --list shows what is")
        for table in found:
            self._restore(table, month, until)
            self._archiver.done.restored.append(f"{table.name}_{month.start:%Y_%m}")
        return until

    def _parts(self, table: Table, month: Month) -> list[Part]:
        return [part for part in parts.all_parts(self._connection, table.name, month.start) if part.state == "archived"]

    def _restore(self, table: Table, month: Month, until: datetime) -> None:
        partition = f"{table.name}_{month.start:%Y_%m}"
        if parts.restored_until(self._parts(table, month)) is not None:
            if self._is_attached(partition):
                self._note(table, month, until)
                self._archiver.listener.says(f"{partition}: is there, and now stays until {until:%Y-%m-%d %H:%M}Z")
                return
            self._note(table, month, None)
        if self._is_attached(partition):
            # Rows that came late go to the archive like any, and back from there with the others.
            self._archiver.archive(table.name, month, partition)
        building = f"{partition}{RESTORING}"
        self._execute("CREATE TABLE {} (LIKE {} INCLUDING ALL)", building, table.name)
        rows = sum(self._load(table, part, building) for part in self._parts(table, month))
        # With this PostgreSQL need not look through the rows while it holds the locks of the attachment.
        self._connection.execute(
            sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} CHECK ({} >= {} AND {} < {})").format(
                sql.Identifier("public", building),
                sql.Identifier(WITHIN),
                sql.Identifier(table.time),
                sql.Literal(f"{month.start} 00:00+00"),
                sql.Identifier(table.time),
                sql.Literal(f"{month.end} 00:00+00"),
            )
        )
        self._archiver.briefly(lambda: self._attach(table, month, building, until), f"{partition} cannot be attached")
        self._archiver.listener.says(f"{partition}: restored, {rows} rows until {until:%Y-%m-%d %H:%M}Z")

    def _load(self, table: Table, part: Part, building: str) -> int:
        """Load a part's rows; a row whose key is there already, from another part, is left out."""
        manifest = read_manifest(self._store, part.location)
        there = {column.name for column in columns_of(self._connection, building)}
        columns = [column for column in manifest.column_list() if column.name in there]
        total = 0
        with (
            self._archiver.listener.counts(f"{part}: restoring", part.rows) as progress,
            self._connection.transaction(),
        ):
            self._connection.execute(
                sql.SQL("CREATE TEMPORARY TABLE mutt_restored (LIKE {}) ON COMMIT DROP").format(
                    sql.Identifier("public", building)
                )
            )
            for file in manifest.files:
                for batch in read_file(self._store, part.location, file):
                    total += sum(checksums(batch, manifest.column_list()))
                    self._copy(batch, columns)
                    progress(batch.num_rows)
            if str(total) != part.checksum:
                raise DamagedError(f"{part}: {self._store.words} gives back other rows than were archived")
            names = sql.SQL(", ").join(sql.Identifier(column.name) for column in columns)
            loaded = self._connection.execute(
                sql.SQL("INSERT INTO {} ({}) SELECT {} FROM pg_temp.mutt_restored ON CONFLICT DO NOTHING").format(
                    sql.Identifier("public", building), names, names
                )
            ).rowcount
        left_out = (part.rows or 0) - loaded
        if left_out and not table.key:
            raise ArchiveError(f"{part}: {left_out} rows could not be loaded")
        return loaded

    def _copy(self, batch: Any, columns: Sequence[Column]) -> None:
        names = sql.SQL(", ").join(sql.Identifier(column.name) for column in columns)
        statement = sql.SQL("COPY pg_temp.mutt_restored ({}) FROM STDIN (FORMAT csv)").format(names)
        with self._connection.cursor() as cursor, cursor.copy(statement) as copy:
            # As text all values are quoted and nulls are not, which is what PostgreSQL tells them by.
            texts = [batch.column(column.name).cast(pa.string()) for column in columns]
            out = BytesIO()
            csv.write_csv(
                pa.RecordBatch.from_arrays(texts, [column.name for column in columns]),
                out,
                csv.WriteOptions(include_header=False),
            )
            copy.write(out.getvalue())

    def _attach(self, table: Table, month: Month, building: str, until: datetime) -> None:
        partition = f"{table.name}_{month.start:%Y_%m}"
        if self._is_attached(partition):
            # Made for rows that came while the month was being loaded: few, and kept.
            self._execute("ALTER TABLE {} DETACH PARTITION {}", table.name, partition)
            self._execute("INSERT INTO {} SELECT * FROM {} ON CONFLICT DO NOTHING", building, partition)
            self._execute("DROP TABLE {}", partition)
        self._connection.execute(
            sql.SQL("ALTER TABLE {} RENAME TO {}").format(sql.Identifier("public", building), sql.Identifier(partition))
        )
        self._connection.execute("SELECT mutt_attach_month(%s::regclass, %s)", (table.name, month.start))
        self._execute(f"ALTER TABLE {{}} DROP CONSTRAINT {WITHIN}", partition)
        self._note(table, month, until)

    def _note(self, table: Table, month: Month, until: datetime | None) -> None:
        self._connection.execute(
            "UPDATE archives SET restored_until = %s, updated_at = now()"
            " WHERE (table_name, month) = (%s, %s) AND state = 'archived'",
            (until, table.name, month.start),
        )

    def _is_attached(self, partition: str) -> bool:
        return any(name == partition for _table, _month, name in partitions_of(self._connection))

    def _execute(self, statement: str, *names: str) -> None:
        self._connection.execute(sql.SQL(statement).format(*(sql.Identifier("public", name) for name in names)))
