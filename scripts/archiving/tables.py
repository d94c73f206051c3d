"""The tables that leave the database by the month, and their rows as PostgreSQL, Arrow and a checksum know them.

A value has one text: what PostgreSQL says of it here, and what `texts` says of it there. The checksum of a row is over
the lengths and texts of its values; that of many is the sum of theirs, so that it hangs on no order, and parts add up.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any, NamedTuple

import pyarrow as pa
from psycopg import Connection, sql

from scripts.archiving.errors import ArchiveError

CHECKSUM = "sum over all rows of the first 60 bits of the SHA-256 of each row's lengths and texts"


class Table(NamedTuple):
    """A table in monthly partitions."""

    name: str
    time: str
    order: tuple[str, ...]
    key: tuple[str, ...]


TABLES = {
    "event_audit_log": Table(
        "event_audit_log", "event_timestamp", ("event_timestamp", "event_id"), ("event_id", "event_timestamp")
    ),
    "delivery_log": Table("delivery_log", "at", ("at", "event_id", "attempt"), ()),
}
ALL = sql.SQL("true")
TIME = pa.timestamp("us", "UTC")
# PostgreSQL's type: Arrow's, that of the exported text, and PostgreSQL's expression for it.
_TYPES: dict[str, tuple[Any, Any, str]] = {
    "uuid": (pa.string(), pa.string(), "{}::text"),
    "text": (pa.string(), pa.string(), "{}"),
    "jsonb": (pa.string(), pa.string(), "{}::text"),
    "bool": (pa.bool_(), pa.bool_(), "{}::text"),
    "int2": (pa.int16(), pa.int16(), "{}::text"),
    "int4": (pa.int32(), pa.int32(), "{}::text"),
    "int8": (pa.int64(), pa.int64(), "{}::text"),
    "timestamptz": (TIME, pa.int64(), "(extract(epoch FROM {}) * 1000000)::bigint::text"),
}


class Column(NamedTuple):
    """A column by its name and PostgreSQL's name of its type."""

    name: str
    kind: str

    @property
    def arrow(self) -> Any:
        """Its type in the archive."""
        return _TYPES[self.kind][0]

    @property
    def exported(self) -> Any:
        """Its type as it comes out of the export."""
        return _TYPES[self.kind][1]

    @property
    def text(self) -> sql.Composable:
        """The SQL of its text."""
        return sql.SQL(_TYPES[self.kind][2]).format(sql.Identifier(self.name))


class Content(NamedTuple):
    """What a table or a part holds."""

    rows: int
    checksum: int
    first_at: datetime | None = None
    last_at: datetime | None = None


def columns_of(connection: Connection[Any], table: str) -> list[Column]:
    """Return a table's columns; raises ArchiveError for a type that the archive does not know."""
    rows = connection.execute(
        "SELECT attname, typname FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid"
        " WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        (f"public.{table}",),
    ).fetchall()
    for name, kind in rows:
        if kind not in _TYPES:
            raise ArchiveError(f"column {name} of {table} is of type {kind}, which this archive cannot hold")
    return [Column(name, kind) for name, kind in rows]


def schema_of(columns: Sequence[Column]) -> Any:
    """Return the schema of a file."""
    return pa.schema([pa.field(column.name, column.arrow) for column in columns])


def row_hash(columns: Sequence[Column]) -> sql.Composed:
    """Return the SQL of a row's checksum."""
    lengths = sql.SQL(", ").join(
        sql.SQL("coalesce(octet_length({0}) || ':' || {0}, '-')").format(column.text) for column in columns
    )
    return sql.SQL("('x' || left(encode(sha256(convert_to(concat({}), 'UTF8')), 'hex'), 15))::bit(60)::bigint").format(
        lengths
    )


def export_query(table: Table, source: str, columns: Sequence[Column], where: sql.Composable = ALL) -> sql.Composed:
    """Return the COPY that gives the texts of the rows in order, as CSV."""
    texts = (sql.SQL("{} AS {}").format(column.text, sql.Identifier(column.name)) for column in columns)
    return sql.SQL("COPY (SELECT {} FROM ONLY {} AS rows WHERE {} ORDER BY {}) TO STDOUT (FORMAT csv)").format(
        sql.SQL(", ").join(texts),
        sql.Identifier("public", source),
        where,
        # Qualified, since the bare name would be the text of the same name.
        sql.SQL(", ").join(sql.Identifier("rows", name) for name in table.order),
    )


def content_of(
    connection: Connection[Any], table: Table, source: str, columns: Sequence[Column], where: sql.Composable = ALL
) -> Content:
    """Let PostgreSQL say what a table holds."""
    row = connection.execute(
        sql.SQL("SELECT count(*), coalesce(sum({}), 0), min({}), max({}) FROM ONLY {} AS rows WHERE {}").format(
            row_hash(columns),
            sql.Identifier(table.time),
            sql.Identifier(table.time),
            sql.Identifier("public", source),
            where,
        )
    ).fetchone()
    if row is None:
        raise ArchiveError(f"{source} could not be counted")
    return Content(int(row[0]), int(row[1]), row[2], row[3])


def texts(batch: Any, columns: Sequence[Column]) -> list[list[str | None]]:
    """Return the texts of an Arrow batch, column by column."""
    found = []
    for column in columns:
        values = batch.column(column.name)
        if column.kind == "timestamptz":
            values = values.cast(pa.int64())
        found.append(values.cast(pa.string()).to_pylist())
    return found


def checksums(batch: Any, columns: Sequence[Column]) -> list[int]:
    """Return the checksum of each row of an Arrow batch."""
    return [_row_checksum(row) for row in zip(*texts(batch, columns), strict=True)]


def _row_checksum(values: Sequence[str | None]) -> int:
    return int.from_bytes(sha256(b"".join(_lengths(values))).digest()[:8]) >> 4


def _lengths(values: Sequence[str | None]) -> Iterator[bytes]:
    for value in values:
        if value is None:
            yield b"-"
        else:
            encoded = value.encode()
            yield b"%d:%b" % (len(encoded), encoded)
