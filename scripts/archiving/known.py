"""The rows of a month that the archive has already, so that those beside them can be told."""

from collections.abc import Callable
from typing import Any

from psycopg import Connection, sql

from scripts.archiving.files import read_back, read_manifest
from scripts.archiving.store import Store
from scripts.archiving.tables import Column, row_hash


class Known:
    """The checksums of the rows of parts, in temporary tables: one for each set of columns that the parts have."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection
        self._tables: dict[tuple[Column, ...], str] = {}

    def read(self, store: Store, folder: str, progress: Callable[[int], None]) -> None:
        """Read a part, and add its rows; raises DamagedError when it is not what was written."""
        columns = tuple(read_manifest(store, folder).column_list())
        if columns not in self._tables:
            name = f"mutt_known_{len(self._tables)}"
            self._connection.execute(f"DROP TABLE IF EXISTS pg_temp.{name}".encode())
            self._connection.execute(f"CREATE TEMPORARY TABLE {name} (row_hash bigint NOT NULL)".encode())
            self._tables[columns] = name
        name = self._tables[columns]
        with self._connection.cursor() as cursor, cursor.copy(f"COPY pg_temp.{name} FROM STDIN".encode()) as copy:

            def take(found: list[int]) -> None:
                copy.write("".join(f"{each}\n" for each in found))
                progress(len(found))

            read_back(store, folder, take)
        self._connection.execute(f"ANALYZE pg_temp.{name}".encode())

    def filter(self) -> sql.Composable:
        """Return the condition of a row that is in none of the parts."""
        return sql.SQL(" AND ").join(
            [
                sql.SQL("true"),
                *(
                    sql.SQL("NOT EXISTS (SELECT FROM {} AS known WHERE known.row_hash = {})").format(
                        sql.Identifier("pg_temp", name), row_hash(columns)
                    )
                    for columns, name in self._tables.items()
                ),
            ]
        )
