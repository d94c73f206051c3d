"""Months out of the database: written, read back, and only then detached and dropped; a part goes on where it stopped.

    writing -> written -> verified -> detached -> archived

Each step commits before the next begins, and a run that goes on with what another verified reads it back itself. Once
detached the rows can no longer change; they are counted again, and when some came in after the export had begun, all
are exported again from there.
"""

import random
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import partial
from secrets import token_hex
from typing import Any, TypeVar

from psycopg import Connection, Error, sql
from psycopg.errors import LockNotAvailable

from mutt.locks import MUTT, Lock
from scripts.archiving import parts
from scripts.archiving.errors import ArchiveError, DamagedError, MonthError
from scripts.archiving.files import FILE_ROWS, MANIFEST, Writer, read_back, write_manifest
from scripts.archiving.known import Known
from scripts.archiving.listening import Done, Listener
from scripts.archiving.months import Month, half_restored, partitions_of
from scripts.archiving.parts import Part
from scripts.archiving.store import Store
from scripts.archiving.tables import ALL, TABLES, columns_of, content_of

LOCK_WAIT = "500ms"  # writers of the table queue behind a detach for no longer than this
LOCK_PATIENCE = 300.0  # seconds of trying again, more and more seldom
LOCK_PAUSE = 15.0  # seconds between two tries at most

Result = TypeVar("Result")


class Archiver:
    """Takes months out of a database, on which it is the only run."""

    def __init__(
        self,
        connection: Connection[Any],
        store: Store,
        listener: Listener | None = None,
        *,
        schema: int = 0,
        file_rows: int = FILE_ROWS,
    ) -> None:
        self.connection = connection
        self.store = store
        self.listener = listener or Listener()
        self.done = Done()
        self.failures: list[ArchiveError | DamagedError] = []
        self._schema = schema
        self._file_rows = file_rows

    def run(self, before: date) -> Done:
        """Finish what an earlier run began, then archive each month that ended by this day."""
        self.finish()
        for table, month, partition in partitions_of(self.connection):
            if month.end <= before:
                self._alone(partition, partial(self.archive, table, month, partition))
        attached = {partition for _table, _month, partition in partitions_of(self.connection)}
        for part in parts.all_parts(self.connection):
            if part.restored_until is not None and part.partition not in attached:
                parts.forget_restored(self.connection, part)  # somebody dropped it
        return self.done

    def finish(self) -> None:
        """Bring the parts to their end that an earlier run left behind."""
        for table in half_restored(self.connection):
            self._execute("DROP TABLE {}", table)
            self.listener.says(f"{table}: dropped, a restore left it half done")
        for part in parts.all_parts(self.connection):
            if part.state in parts.UNFINISHED:
                self.listener.says(f"{part}: goes on, was {part.state}")
                # What is read back again: since that run the archive may have been lost, or be another.
                is_old = part.state in ("verified", "detached") and part.content is not None
                self._alone(str(part), partial(self.carry, self.moved(part, "written") if is_old else part))

    def failed(self, error: ArchiveError | DamagedError) -> None:
        """Tell of a failure, with which the run goes on and which it ends with."""
        self.listener.says(str(error))
        self.failures.append(error)

    def _alone(self, what: str, work: Callable[[], None]) -> None:
        """Do what may fail for one month, and leave the others their turn."""
        try:
            work()
        except (DamagedError, MonthError) as error:
            self.failed(error)
        except Error as error:
            if self.connection.closed:
                raise
            self.failed(MonthError(f"{what}: {error.diag.message_primary or error}"))

    def archive(self, table: str, month: Month, partition: str) -> None:
        """Archive one partition, unless it is a month that was restored and is to stay."""
        of_month = parts.all_parts(self.connection, table, month.start)
        if any(part.state in parts.UNFINISHED for part in of_month):
            return  # it failed just now, and what came late waits for it
        until = parts.restored_until(of_month)
        if until is not None and until > datetime.now(UTC):
            self.done.kept.append(partition)
            self.listener.says(f"{partition}: stays, restored until {until:%Y-%m-%d %H:%M}Z")
        elif until is None and self._drop_empty(table, month, partition):
            self.done.empty.append(partition)
            self.listener.says(f"{partition}: was empty, dropped")
        else:
            location = f"{table}/{month.start:%Y-%m}/{token_hex(6)}"
            part = Part(table, month.start, 0, "writing", partition, location, added=until is not None)
            self.carry(self._detach(part) if part.added else parts.add(self.connection, part))

    def carry(self, part: Part) -> None:
        """Bring a part to its end from wherever it is."""
        steps: dict[str, Callable[[Part], Part]] = {
            "writing": self._write,
            "written": self._verify,
            "verified": self._detach,
            "detached": self._settle,
        }
        while part.state in steps:
            part = steps[part.state](part)

    def moved(self, part: Part, state: str, **values: Any) -> Part:
        """Note that a part has come to a state."""
        return parts.change(self.connection, part, state=state, **values)

    def briefly(self, work: Callable[[], Result], words: str) -> Result:
        """Do the work in a transaction that waits for no lock for long, again and again for a while."""
        began = time.monotonic()
        while True:
            try:
                with self.connection.transaction():
                    self.connection.execute(f"SET LOCAL lock_timeout = '{LOCK_WAIT}'".encode())
                    self.connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", (MUTT, Lock.PARTITIONS))
                    return work()
            except LockNotAvailable as error:
                waited = time.monotonic() - began
                if waited > LOCK_PATIENCE:
                    raise MonthError(f"{words}: a backup or a long query uses it; run this again later") from error
                # Each try holds up writers: a backup of an hour is not to cost them half of five minutes.
                time.sleep(random.uniform(0.5, 1) * min(0.4 + waited / 5, LOCK_PAUSE))

    def _write(self, part: Part) -> Part:
        where: sql.Composable = ALL
        if part.added:
            where = self._known(part).filter()
        table, columns = TABLES[part.table_name], columns_of(self.connection, part.source)
        self.store.remove(part.location, MANIFEST)
        # One snapshot: what is counted is what is read, though rows may be coming in.
        with self.connection.transaction():
            self.connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            content = content_of(self.connection, table, part.source, columns, where)
            writer = Writer(self.store, part.location, columns, table.time, self._file_rows, where)
            with self.listener.counts(f"{part}: writing", content.rows) as progress:
                files = writer.write(self.connection, table, part.source, progress)
        manifest = write_manifest(self.store, part, writer, files, content, schema=self._schema)
        return self.moved(
            part,
            "written",
            rows=content.rows,
            bytes=manifest.bytes,
            checksum=str(content.checksum),
            first_at=content.first_at,
            last_at=content.last_at,
        )

    def _verify(self, part: Part) -> Part:
        try:
            self._compare(part)
        except DamagedError as error:
            self.moved(part, "writing")
            raise DamagedError(f"{error}; {part.source} has the rows still, the next run writes them again") from error
        return self.moved(part, "verified")

    def _compare(self, part: Part) -> None:
        with self.listener.counts(f"{part}: reading back", part.rows) as progress:
            found = read_back(self.store, part.location, lambda rows: progress(len(rows)))
        if found[:2] != parts.known(part)[:2]:
            raise DamagedError(
                f"{part}: {self.store.words} gives back {found.rows} rows with checksum {found.checksum}, "
                f"the table has {part.rows} with {part.checksum}"
            )

    def _detach(self, part: Part) -> Part:
        """Detach a partition and give it a name under which no late row finds it: for those a new one is made."""
        if part.source != part.partition:
            return self.moved(part, "detached")
        frozen = replace(part, state="detached", source=f"{part.partition}_archiving")

        def detach() -> Part:
            self._execute("ALTER TABLE {} DETACH PARTITION {}", part.table_name, part.source)
            self.connection.execute(
                sql.SQL("ALTER TABLE {} RENAME TO {}").format(
                    sql.Identifier("public", part.source), sql.Identifier(frozen.source)
                )
            )
            if part.part:
                return self.moved(part, frozen.state, source=frozen.source)
            return parts.add(self.connection, frozen)

        return self.briefly(detach, f"{part.source} cannot be detached")

    def _settle(self, part: Part) -> Part:
        """Drop the detached table when the archive has all that it holds, else export it again."""
        if part.added:
            return self._settle_added(part)
        columns = columns_of(self.connection, part.source)
        holds = content_of(self.connection, TABLES[part.table_name], part.source, columns)
        if holds[:2] != parts.known(part)[:2]:
            self.listener.says(f"{part}: {holds.rows - (part.rows or 0)} more rows came meanwhile, writing it again")
            return self.moved(part, "writing")
        return self._dropped(part)

    def _settle_added(self, part: Part) -> Part:
        if part.content is None:
            # The earlier parts are read whatever their checksums say: what is dropped here is the only other copy.
            known = self._known(part)
            columns = columns_of(self.connection, part.source)
            more = content_of(self.connection, TABLES[part.table_name], part.source, columns, known.filter())
            if more.rows:
                self.listener.says(f"{part}: {more.rows} rows were added to the restored month")
                return self.moved(part, "writing")
            return self._dropped(part, is_needed=False)
        return self._dropped(part)

    def _dropped(self, part: Part, *, is_needed: bool = True) -> Part:
        with self.connection.transaction():
            self._execute("DROP TABLE {}", part.source)
            done = self.moved(part, "archived") if is_needed else replace(part, state="archived")
            if not is_needed:
                parts.drop(self.connection, part)
            if part.added:
                parts.forget_restored(self.connection, part)
        if is_needed:
            self.done.archived.append(done)
            self.listener.says(f"{part}: archived, {part.rows} rows in {part.bytes} bytes")
        if part.added:
            self.done.released.append(part.partition)
            self.listener.says(f"{part.partition}: the restored month was dropped again")
        return done

    def _known(self, part: Part) -> Known:
        """Read the earlier parts of a month, so that the rows in them can be told from others."""
        known = Known(self.connection)
        for each in parts.all_parts(self.connection, part.table_name, part.month):
            if each.state == "archived":
                with self.listener.counts(f"{each}: reading", each.rows) as progress:
                    known.read(self.store, each.location, progress)
        return known

    def _drop_empty(self, table: str, month: Month, partition: str) -> bool:
        if self._has_rows(partition):
            return False

        def drop() -> bool:
            self._execute("ALTER TABLE {} DETACH PARTITION {}", table, partition)
            # Asked again under the lock of the detach.
            if self._has_rows(partition):
                self.connection.execute("SELECT mutt_attach_month(%s::regclass, %s)", (table, month.start))
                return False
            self._execute("DROP TABLE {}", partition)
            return True

        return self.briefly(drop, f"{partition} cannot be dropped")

    def _has_rows(self, table: str) -> bool:
        look = sql.SQL("SELECT EXISTS (SELECT FROM {})").format(sql.Identifier("public", table))
        row = self.connection.execute(look).fetchone()
        return bool(row and row[0])

    def _execute(self, statement: str, *names: str) -> None:
        self.connection.execute(sql.SQL(statement).format(*(sql.Identifier("public", name) for name in names)))
