"""PostgreSQL's advisory locks, each with a number of its own: who shared one would wait for work of another kind."""

from enum import IntEnum, unique

MUTT = 1297437780  # 'MUTT' in ASCII: the first half of each, so that other programs in the database use others


@unique
class Lock(IntEnum):
    """The second half. `database/partitioned_event_audit_log.sql` takes PARTITIONS too."""

    PARTITIONS = 1
    MIGRATIONS = 2
    CONFIGURATION = 3
    IMPORTS = 4
    ARCHIVES = 5
    DEAD_LETTERS = 6
