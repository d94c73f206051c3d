"""The partitions that there are, and the months that they hold."""

import re
from datetime import date
from typing import Any, NamedTuple

from psycopg import Connection

from scripts.archiving.tables import TABLES

RESTORING = "_restoring"  # behind the name of a partition that is not one yet
_NAME = re.compile(r"(event_audit_log|delivery_log)_(\d{4})_(\d{2})")


class Month(NamedTuple):
    """A month by its first day, and the first day of the next."""

    start: date
    end: date

    @classmethod
    def of(cls, start: date) -> "Month":
        """Return the month that begins at a day."""
        number = start.year * 12 + start.month
        # No month follows December of 9999.
        end = date(number // 12, number % 12 + 1, 1) if number < date.max.year * 12 + 12 else date.max
        return cls(start, end)


def half_restored(connection: Connection[Any]) -> list[str]:
    """Return the names of the tables that a restore was building when it ended."""
    rows = connection.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname ~ %s",
        (f"^{_NAME.pattern}{RESTORING}$",),
    ).fetchall()
    return [name for (name,) in rows]


def partitions_of(connection: Connection[Any]) -> list[tuple[str, Month, str]]:
    """Return table, month and name of each partition, the oldest month first."""
    rows = connection.execute(
        "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid"
        " WHERE inhparent = ANY(%s::regclass[])",
        (list(TABLES),),
    ).fetchall()
    found = []
    for (name,) in rows:
        match = _NAME.fullmatch(name)
        if match:
            found.append((match[1], Month.of(date(int(match[2]), int(match[3]), 1)), name))
    return sorted(found, key=lambda each: (each[1], each[0] != "event_audit_log"))
