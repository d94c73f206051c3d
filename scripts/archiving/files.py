"""A part's files: rows as Parquet, and the manifest that is written last and says what the part is."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from psycopg import Connection, Copy, sql
from pyarrow import csv

from scripts.archiving.errors import ArchiveError, DamagedError, MonthError
from scripts.archiving.parts import Part
from scripts.archiving.store import Store
from scripts.archiving.tables import ALL, CHECKSUM, Column, Content, Table, checksums, export_query, schema_of

MANIFEST = "manifest.json"
VERSION = 1
FILE_ROWS = 500_000
FILE_BYTES = 128 << 20  # of rows in memory; on the disk they take a tenth
# What is in memory at once: of a file that is written or read, one group of rows.
GROUP_ROWS = 65_536
GROUP_BYTES = 16 << 20
BATCH_ROWS = 16_384
CHUNK_BYTES = 4 << 20  # of CSV

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
            groups = self._groups(_of_csv(copy, self.columns), progress)
            files: list[File] = []
            group = next(groups, None)
            while group is not None:
                file, group = self._file(len(files) + 1, group, groups)
                files.append(file)
        return files

    def _groups(self, batches: Iterator[Any], progress: Progress) -> Iterator[Any]:
        most = min(GROUP_ROWS, self.file_rows)
        held: list[Any] = []
        count = size = 0
        for batch in batches:
            offset = 0
            while offset < batch.num_rows:
                piece = batch.slice(offset, most - count)
                held.append(piece)
                count += piece.num_rows
                size += piece.nbytes
                offset += piece.num_rows
                progress(piece.num_rows)
                if count == most or size >= GROUP_BYTES:
                    yield pa.Table.from_batches(held)
                    held, count, size = [], 0, 0
        if held:
            yield pa.Table.from_batches(held)

    def _file(self, number: int, group: Any, following: Iterator[Any]) -> tuple[File, Any]:
        """Write a file that begins with a group; return it, and the first group that is not in it."""
        name = f"{number:05d}.parquet"
        first = _moment(group.column(self.time)[0])
        rows = size = 0
        with (
            self.store.writing(f"{self.folder}/{name}") as sink,
            pq.ParquetWriter(sink, schema_of(self.columns), compression="zstd") as out,
        ):
            while group is not None and size < FILE_BYTES and rows + group.num_rows <= self.file_rows:
                out.write_table(group)
                rows += group.num_rows
                size += group.nbytes
                last = _moment(group.column(self.time)[-1])
                group = next(following, None)
        return File(name, rows, sink.size, sink.sha256, first, last), group


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


def read_file(store: Store, folder: str, file: File) -> Iterator[Any]:
    """Return a file's rows in batches; raises DamagedError when they are not those that were written."""
    path = f"{folder}/{file.name}"
    try:
        data = store.read(path)
    except FileNotFoundError:
        raise DamagedError(f"{store.words}: {path} is missing") from None
    if sha256(data).hexdigest() != file.sha256:
        raise DamagedError(f"{store.words}: {path} is damaged: its SHA-256 is not that of the manifest")
    parquet = pq.ParquetFile(pa.BufferReader(data), pre_buffer=False)
    if parquet.metadata.num_rows != file.rows:
        raise DamagedError(
            f"{store.words}: {path} holds {parquet.metadata.num_rows} rows, its manifest says {file.rows}"
        )
    return (
        batch
        for group in range(parquet.num_row_groups)
        for batch in parquet.read_row_group(group).to_batches(max_chunksize=BATCH_ROWS)
    )


def read_back(store: Store, folder: str, take: Callable[[list[int]], object]) -> Content:
    """Read all of a part and return what it holds; raises DamagedError when it is not what its manifest says.

    `take` is given the checksums of the rows as they are read.
    """
    manifest = read_manifest(store, folder)
    columns = manifest.column_list()
    rows = total = 0
    for file in manifest.files:
        for batch in read_file(store, folder, file):
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
    convert = csv.ConvertOptions(
        column_types={column.name: column.exported for column in columns},
        # PostgreSQL writes null as nothing and an empty text as "".
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    for chunk in _chunks(copy):
        # Not open_csv: it reads up to 32 blocks ahead of a slow archive, and a row has to fit into a block.
        read = csv.ReadOptions(
            block_size=len(chunk) + 1, use_threads=False, column_names=[column.name for column in columns]
        )
        try:
            rows = csv.read_csv(pa.BufferReader(chunk), read, csv.ParseOptions(newlines_in_values=True), convert).cast(
                schema
            )
        except pa.ArrowException as error:
            raise MonthError(f"rows cannot be converted: {error}") from error
        yield from rows.to_batches()


def _chunks(copy: Copy) -> Iterator[bytes]:
    """Yield whole rows: PostgreSQL sends a row a message."""
    held: list[bytes] = []
    size = 0
    while piece := bytes(copy.read()):
        held.append(piece)
        size += len(piece)
        if size >= CHUNK_BYTES:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


def _moment(value: Any) -> datetime:
    moment: datetime = value.as_py()
    return moment
