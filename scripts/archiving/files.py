"""A part's files: rows as Parquet, and the manifest that is written last and says what the part is."""

import io
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from psycopg import Connection, Copy, sql
from pyarrow import csv

from scripts.archiving.errors import ArchiveError, DamagedError
from scripts.archiving.parts import Part
from scripts.archiving.store import Store
from scripts.archiving.tables import ALL, CHECKSUM, Column, Content, Table, checksums, export_query, schema_of

MANIFEST = "manifest.json"
VERSION = 1
FILE_ROWS = 500_000
FILE_BYTES = 128 << 20  # of rows in memory; on the disk they take a tenth
GROUP_ROWS = 65_536
BATCH_ROWS = 16_384
BLOCK_BYTES = 64 << 20  # of CSV; a row has to fit, and an event has 16 MiB at most

Progress = Callable[[int], None]


class File(msgspec.Struct, frozen=True):
    """One file of a part."""

    name: str
    rows: int
    bytes: int
    sha256: str
    first_at: datetime
    last_at: datetime


class Manifest(msgspec.Struct, frozen=True):
    """What a part is, beside its files: enough to read it without the database."""

    version: int
    table: str
    time: str
    month: str
    part: int
    schema_version: int
    rows: int
    bytes: int
    checksum: str
    checksum_is: str
    first_at: datetime | None
    last_at: datetime | None
    columns: list[tuple[str, str]]
    files: list[File]
    created_at: datetime

    def column_list(self) -> list[Column]:
        """Return the columns."""
        return [Column(name, kind) for name, kind in self.columns]

    def content(self) -> Content:
        """Return what it says that its files hold."""
        return Content(self.rows, int(self.checksum), self.first_at, self.last_at)


class _Lines(io.RawIOBase):
    """The bytes of a COPY as a stream."""

    def __init__(self, copy: Copy) -> None:
        super().__init__()
        self._copy = copy
        self._rest = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        pieces, length = [self._rest], len(self._rest)
        while size < 0 or length < size:
            piece = bytes(self._copy.read())
            if not piece:
                break
            pieces.append(piece)
            length += len(piece)
        data = b"".join(pieces)
        self._rest = b"" if size < 0 else data[size:]
        return data if size < 0 else data[:size]


class Writer(NamedTuple):
    """Writes rows as files of a part."""

    store: Store
    folder: str
    columns: Sequence[Column]
    time: str
    file_rows: int = FILE_ROWS
    where: sql.Composable = ALL

    def write(self, connection: Connection[Any], table: Table, source: str, progress: Progress) -> list[File]:
        """Write all rows of a table in order and return the files."""
        with connection.cursor() as cursor, cursor.copy(export_query(table, source, self.columns, self.where)) as copy:
            batches = _of_csv(copy, self.columns)
            return [self._file(number, batch) for number, batch in enumerate(self._cut(batches, progress), 1)]

    def _cut(self, batches: Iterator[Any], progress: Progress) -> Iterator[Any]:
        held: list[Any] = []
        count = size = 0
        for batch in batches:
            offset = 0
            while offset < batch.num_rows:
                piece = batch.slice(offset, self.file_rows - count)
                held.append(piece)
                count += piece.num_rows
                size += piece.nbytes
                offset += piece.num_rows
                progress(piece.num_rows)
                if count == self.file_rows or size >= FILE_BYTES:
                    yield pa.Table.from_batches(held)
                    held, count, size = [], 0, 0
        if held:
            yield pa.Table.from_batches(held)

    def _file(self, number: int, rows: Any) -> File:
        name = f"{number:05d}.parquet"
        with self.store.writing(f"{self.folder}/{name}") as sink:
            pq.write_table(rows, sink, compression="zstd", row_group_size=GROUP_ROWS)
        times = rows.column(self.time)
        return File(name, rows.num_rows, sink.size, sink.sha256, _moment(times[0]), _moment(times[-1]))


def write_manifest(
    store: Store, part: Part, writer: Writer, files: list[File], content: Content, *, schema: int
) -> Manifest:
    """Write a part's manifest, with which the part is there."""
    manifest = Manifest(
        VERSION,
        part.table_name,
        writer.time,
        f"{part.month:%Y-%m}",
        part.part,
        schema,
        content.rows,
        sum(file.bytes for file in files),
        str(content.checksum),
        CHECKSUM,
        content.first_at,
        content.last_at,
        [(column.name, column.kind) for column in writer.columns],
        files,
        datetime.now(UTC),
    )
    with store.writing(f"{part.location}/{MANIFEST}") as sink:
        sink.write(msgspec.json.format(msgspec.json.encode(manifest)))
    return manifest


def read_manifest(store: Store, folder: str) -> Manifest:
    """Return a part's manifest; raises DamagedError when it is gone or is none."""
    try:
        manifest = msgspec.json.decode(store.read(f"{folder}/{MANIFEST}"), type=Manifest)
    except FileNotFoundError:
        raise DamagedError(f"{store.words}: {folder}/{MANIFEST} is missing") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DamagedError(f"{store.words}: {folder}/{MANIFEST} is no manifest: {error}") from error
    if manifest.version > VERSION:
        raise ArchiveError(f"{folder} was written by a newer release (manifest {manifest.version})")
    return manifest


def read_file(store: Store, folder: str, file: File) -> Any:
    """Return a file's rows; raises DamagedError when they are not those that were written."""
    path = f"{folder}/{file.name}"
    try:
        data = store.read(path)
    except FileNotFoundError:
        raise DamagedError(f"{store.words}: {path} is missing") from None
    if sha256(data).hexdigest() != file.sha256:
        raise DamagedError(f"{store.words}: {path} is damaged: its SHA-256 is not that of the manifest")
    rows = pq.read_table(pa.BufferReader(data))
    if rows.num_rows != file.rows:
        raise DamagedError(f"{store.words}: {path} holds {rows.num_rows} rows, its manifest says {file.rows}")
    return rows


def read_back(store: Store, folder: str, take: Callable[[list[int]], object]) -> Content:
    """Read all of a part and return what it holds; raises DamagedError when it is not what its manifest says.

    `take` is given the checksums of the rows as they are read.
    """
    manifest = read_manifest(store, folder)
    columns = manifest.column_list()
    rows = total = 0
    for file in manifest.files:
        for batch in read_file(store, folder, file).to_batches(max_chunksize=BATCH_ROWS):
            found = checksums(batch, columns)
            rows += len(found)
            total += sum(found)
            take(found)
    if (rows, str(total)) != (manifest.rows, manifest.checksum):
        raise DamagedError(
            f"{store.words}: {folder} holds {rows} rows with checksum {total}, "
            f"its manifest says {manifest.rows} with {manifest.checksum}"
        )
    return manifest.content()


def _of_csv(copy: Copy, columns: Sequence[Column]) -> Iterator[Any]:
    schema = schema_of(columns)
    reader = csv.open_csv(
        _Lines(copy),
        # One thread, since each would hold blocks of its own; PostgreSQL is what takes the time.
        read_options=csv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False),
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(
            column_types={column.name: column.exported for column in columns},
            # PostgreSQL writes null as nothing and an empty text as "".
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    for batch in reader:
        yield batch.cast(schema)


def _moment(value: Any) -> datetime:
    moment: datetime = value.as_py()
    return moment
