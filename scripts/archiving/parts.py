"""The table `archives`: one row for each part of a month, and how far it has come."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from psycopg import Connection, sql
from psycopg.rows import class_row

from scripts.archiving.errors import ArchiveError
from scripts.archiving.tables import Content

# In this order; a part whose run was killed goes on behind its last.
UNFINISHED = ("writing", "written", "verified", "detached")
_COLUMNS = (
    "table_name, month, part, state, source, location, rows, bytes, checksum, first_at, last_at, added, restored_until"
)


@dataclass(frozen=True, slots=True)
class Part:
    """One row of `archives`."""

    table_name: str
    month: date
    part: int
    state: str
    source: str
    location: str
    rows: int | None = None
    bytes: int | None = None
    checksum: str | None = None
    first_at: datetime | None = None
    last_at: datetime | None = None
    added: bool = False
    restored_until: datetime | None = None

    @property
    def partition(self) -> str:
        """The name of the month's partition."""
        return f"{self.table_name}_{self.month:%Y_%m}"

    @property
    def content(self) -> Content | None:
        """What it holds, None while that is not known."""
        if self.rows is None or self.checksum is None:
            return None
        return Content(self.rows, int(self.checksum), self.first_at, self.last_at)

    def __str__(self) -> str:
        return f"{self.table_name} {self.month:%Y-%m} part {self.part}"


def all_parts(connection: Connection[Any], table: str | None = None, month: date | None = None) -> list[Part]:
    """Return the parts, of a table and a month or of all, in order."""
    with connection.cursor(row_factory=class_row(Part)) as cursor:
        return cursor.execute(
            f"SELECT {_COLUMNS} FROM archives WHERE (%(table)s::text IS NULL OR table_name = %(table)s)"  # noqa: S608
            " AND (%(month)s::date IS NULL OR month = %(month)s) ORDER BY month, table_name DESC, part",
            {"table": table, "month": month},
        ).fetchall()


def add(connection: Connection[Any], part: Part) -> Part:
    """Make a new part's row; its number is the next of the month."""
    row = connection.execute(
        "INSERT INTO archives (table_name, month, part, state, source, location, added)"
        " SELECT %(table)s, %(month)s, coalesce(max(part), 0) + 1, %(state)s, %(source)s, %(location)s, %(added)s"
        " FROM archives WHERE table_name = %(table)s AND month = %(month)s RETURNING part",
        {
            "table": part.table_name,
            "month": part.month,
            "state": part.state,
            "source": part.source,
            "location": part.location,
            "added": part.added,
        },
    ).fetchone()
    return read(connection, part, int(row[0]) if row else part.part)


def read(connection: Connection[Any], part: Part, number: int | None = None) -> Part:
    """Return a part as it is now."""
    wanted = part.part if number is None else number
    return next(each for each in all_parts(connection, part.table_name, part.month) if each.part == wanted)


def change(connection: Connection[Any], part: Part, **values: Any) -> Part:
    """Change a part's row."""
    pairs = sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in values)
    connection.execute(
        sql.SQL("UPDATE archives SET {}, updated_at = now() WHERE (table_name, month, part) = (%s, %s, %s)").format(
            pairs
        ),
        (*values.values(), part.table_name, part.month, part.part),
    )
    return read(connection, part)


def known(part: Part) -> Content:
    """Return what a part holds, which has been written."""
    if part.content is None:
        raise ArchiveError(f"{part}: the table archives does not say what it holds")
    return part.content


def restored_until(of_month: Iterable[Part]) -> datetime | None:
    """Return until when a month is restored; None when it is not."""
    return max((part.restored_until for part in of_month if part.restored_until), default=None)


def forget_restored(connection: Connection[Any], part: Part) -> None:
    """Note that a part's month is restored no longer."""
    connection.execute(
        "UPDATE archives SET restored_until = NULL, updated_at = now() WHERE (table_name, month) = (%s, %s)",
        (part.table_name, part.month),
    )


def drop(connection: Connection[Any], part: Part) -> None:
    """Remove a part's row."""
    connection.execute(
        "DELETE FROM archives WHERE (table_name, month, part) = (%s, %s, %s)", (part.table_name, part.month, part.part)
    )
