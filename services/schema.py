"""Which version of the database's schema the services need, and whether the database has it."""

from typing import Any

from psycopg import AsyncConnection

from mutt.errors import MisconfiguredError

# The last step of database/ that this code knows; during an upgrade the schema may be one ahead or behind.
SCHEMA_VERSION = 2


async def schema_version(connection: AsyncConnection[Any]) -> int:
    """Return the version of the database's schema, 0 when it has none."""
    cursor = await connection.execute("SELECT to_regclass('public.schema_version') IS NOT NULL")
    row = await cursor.fetchone()
    if not row or not row[0]:
        return 0
    cursor = await connection.execute("SELECT coalesce(max(version), 0) FROM public.schema_version")
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def check_schema(connection: AsyncConnection[Any]) -> int:
    """Return the schema's version; raises MisconfiguredError that says what to do when it does not fit."""
    found = await schema_version(connection)
    if found == 0:
        raise MisconfiguredError(
            f"database {connection.info.dbname!r} holds no MUTT schema: run scripts/migrate.py as its owner"
        )
    if found < SCHEMA_VERSION - 1:
        raise MisconfiguredError(
            f"the schema of database {connection.info.dbname!r} is version {found}, this release works on "
            f"{max(SCHEMA_VERSION - 1, 1)} and {SCHEMA_VERSION}: run scripts/migrate.py"
        )
    if found > SCHEMA_VERSION + 1:
        raise MisconfiguredError(
            f"the schema of database {connection.info.dbname!r} is version {found}, this release works up to "
            f"{SCHEMA_VERSION + 1}: install the release that the schema belongs to"
        )
    return found


def ahead(found: int) -> str | None:
    """Return what to say of a schema that is newer than this release, on which it still works; None when it is not."""
    if found <= SCHEMA_VERSION:
        return None
    return (
        f"the schema is version {found}, this release was made for {SCHEMA_VERSION}: it works, and does not on "
        f"{SCHEMA_VERSION + 2}; upgrade it"
    )
