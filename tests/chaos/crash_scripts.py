"""The scripts' paths: the archive, partitions made ahead, the schema, and the first values of the configuration."""

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import ClassVar

import psycopg
import pyarrow.parquet

from mutt import keys
from scripts.migrate import steps
from tests.chaos.crash_path import Path, compare
from tests.chaos.crash_stage import PATIENCE, Stage, Victim
from tests.harness.waiting import wait_for
from tests.service.archive_stage import FILL, month_ago

OLD, OLDER = month_ago(8), month_ago(9)  # looked at once: a long proof may run into the next month
MONTH = f"{OLD:%Y-%m}"
ROWS = 12
HELD = (
    "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted AND database ="
    " (SELECT oid FROM pg_database WHERE datname = current_database())"
)
LATE_ID = "00000000-0000-0000-0000-000000000001"
LATE_ROW = f"event {LATE_ID}"


class Script(Path):
    """A command that is run again when it was killed."""

    def live(self, victim: Victim) -> bool:
        """Wait for its end."""
        return victim.ends()

    def revive(self) -> None:
        """Wait until PostgreSQL has noticed that the killed run is gone: until then the next one is told of it."""
        wait_for(lambda: not self.stage.sql(HELD), "the end of the killed run's session", PATIENCE)

    def run(self, *arguments: str) -> None:
        """Run the script whole, for what has to be there before or to be looked at after."""
        victim = self.stage.start(self.victim, "", *arguments, **self.environment)
        if not self.live(victim):
            raise AssertionError(f"{self.victim} {' '.join(arguments)} did not succeed:\n{victim.log()[-2000:]}")


class Archive(Script):
    """A month of events and deliveries goes out of the database."""

    name = "archive"
    victim = "archive_old_events"

    def prepare(self) -> None:
        """Fill a month that is old enough, and make one that is empty."""
        fill(self.stage, OLD)
        self.stage.sql("SELECT create_monthly_partition(%s)", (OLDER,))
        self.written = rows(self.stage)

    def faults(self) -> Iterable[str]:
        """Every row is in the archive once, none in the database, and nothing is left half done."""
        yield from self.left_behind()
        if there := rows(self.stage):
            yield f"{there.total()} rows are in the database still"
        yield from compare("rows of the archive", archived(self.stage), self.written)

    def left_behind(self) -> Iterable[str]:
        """Tell of tables and files that nothing names."""
        yield from self.stage.half_made()
        states = self.stage.sql("SELECT location, state FROM archives")
        yield from (f"{location} is {state}" for location, state in states if state not in {"archived", "expired"})
        known = {location for location, state in states if state == "archived"}
        for path in self.stage.archive.rglob("*"):
            folder = str(path.parent.relative_to(self.stage.archive))
            if path.is_file() and folder not in known and path.name != "mutt-archive.json":
                yield f"file {path.relative_to(self.stage.archive)} belongs to no part"


class Restore(Archive):
    """A month comes back, with rows that came late."""

    name = "restore"
    arguments = ("--restore", MONTH)

    def prepare(self) -> None:
        """Archive a month, and let rows come late."""
        super().prepare()
        self.run()
        fill(self.stage, OLD)
        self.written += rows(self.stage)

    def faults(self) -> Iterable[str]:
        """Every row is in the database again."""
        yield from self.left_behind()
        yield from compare("rows of the database", rows(self.stage), self.written)
        yield from compare("rows of the archive", archived(self.stage), self.written)


class Release(Archive):
    """A restored month goes again, with rows that were added to it."""

    name = "release"

    def prepare(self) -> None:
        """Restore a month whose time is over by now, and add to it."""
        super().prepare()
        self.run()
        self.run("--restore", MONTH)
        fill(self.stage, OLD)
        self.written = rows(self.stage)
        self.stage.sql("UPDATE archives SET restored_until = now()")


class Unchanged(Archive):
    """A restored month goes again as it came; one that somebody dropped is forgotten."""

    name = "release-unchanged"

    def prepare(self) -> None:
        """Restore a month whose time is over by now."""
        super().prepare()
        self.run()
        self.run("--restore", MONTH)
        self.stage.sql("UPDATE archives SET restored_until = now()")
        self.stage.sql(f"DROP TABLE delivery_log_{OLD:%Y_%m}")


class Late(Archive):
    """Rows came after a month was verified: it is written again. A restore was killed before that, too."""

    name = "rewrite"

    def prepare(self) -> None:
        """Leave behind what killed runs leave."""
        super().prepare()
        self.run()
        self.run("--restore", MONTH)
        fill(self.stage, OLD)
        self.written = rows(self.stage)
        self.stage.sql(
            "UPDATE archives SET state = 'verified', restored_until = NULL,"
            " source = table_name || to_char(month, '_YYYY_MM')"
        )
        self.stage.sql("CREATE TABLE event_audit_log_2000_01_restoring (LIKE event_audit_log)")
        self.stage.sql("ALTER TABLE event_audit_log_2000_01_restoring OWNER TO mutt_user")


class NotEmpty(Archive):
    """A row comes into a month that is being dropped because it is empty."""

    name = "not-empty"

    def prepare(self) -> None:
        """Let a row come when the month is detached."""
        super().prepare()
        partition = f"event_audit_log_{OLDER:%Y_%m}"
        self.stage.at_command("ALTER TABLE", partition, late_row(OLDER))
        self.written[LATE_ROW] += 1


class RestoreLate(Restore):
    """A partition is made for a late row while the month is loaded; an earlier restore had been dropped by somebody."""

    name = "restore-late"

    def prepare(self) -> None:
        """Archive and restore a month, drop it, and let a row come."""
        Archive.prepare(self)
        self.run()
        self.run("--restore", MONTH)
        self.stage.sql(f"DROP TABLE event_audit_log_{OLD:%Y_%m}")
        partition = f"event_audit_log_{OLD:%Y_%m}"
        make = f"PERFORM create_monthly_partition('{OLD}'); {late_row(OLD)}"
        self.stage.at_command("CREATE TABLE", f"{partition}_restoring", make)

    def faults(self) -> Iterable[str]:
        """Every row is in the database again, with the late one."""
        yield from self.left_behind()
        yield from compare("rows of the database", rows(self.stage), [*self.written, LATE_ROW])


class Expire(Archive):
    """A part has become too old."""

    name = "expire"

    def prepare(self) -> None:
        """Archive a month and let it be from long ago."""
        super().prepare()
        self.run()
        self.stage.sql("UPDATE archives SET month = '2001-01-01'")

    def faults(self) -> Iterable[str]:
        """Its files are gone."""
        yield from self.left_behind()
        if archived(self.stage):
            yield "rows are in the archive still"


class Adopt(Archive):
    """The database was lost and made anew: it learns what the archive holds."""

    name = "adopt"
    arguments = ("--adopt",)

    def prepare(self) -> None:
        """Archive a month and forget it."""
        super().prepare()
        self.run()
        self.stage.sql("TRUNCATE archives")


class Partitions(Script):
    """Months made ahead."""

    name = "partitions"
    victim = "create_monthly_partitions"

    def prepare(self) -> None:
        """Take two months away."""
        for _ in range(2):
            self.stage.drop_last_partitions()

    def faults(self) -> Iterable[str]:
        """All are there, none half made."""
        yield from self.stage.half_made()
        if missing := self.stage.missing_partitions():
            yield f"{sorted(missing)} are missing"


class Migrate(Script):
    """An empty database becomes MUTT's."""

    name = "migrate"
    victim = "migrate"

    def prepare(self) -> None:
        """Make an empty database."""
        self.url = self.stage.databases.create(migrated=False)
        self.environment = {"DATABASE_URL": self.url}  # type: ignore[misc]

    def faults(self) -> Iterable[str]:
        """Compare it with the stage's database, step for step."""
        look = (
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname !~ '\\d{4}_\\d{2}'"
            " UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace ORDER BY 1"
        )
        with psycopg.connect(self.url) as connection:
            found = connection.execute(look.encode()).fetchall()
            versions = [version for (version,) in connection.execute("SELECT version FROM schema_version ORDER BY 1")]
        self.stage.databases.drop(self.url)
        if found != self.stage.sql(look):
            yield "the schema is not whole"
        if versions != [step.version for step in steps()]:
            yield f"the versions on record are {versions}"


class FirstValues(Script):
    """Variables become the first values of dynamic keys."""

    name = "first-values"
    victim = "init_dynamic_config"
    environment: ClassVar[dict[str, str]] = {"CACHE_RELOAD_INTERVAL": "77", "MOOG_RATE_LIMIT": "99"}

    def faults(self) -> Iterable[str]:
        """All are there."""
        for name, value in (("cache_reload_interval", b"77"), ("moog_rate_limit", b"99")):
            if self.stage.redis.get(keys.config(name)) != value:
                yield f"{name} is not set"


def late_row(month: date) -> str:
    """Return what puts a row straight into a month's partition, unless it is there."""
    return (
        f"INSERT INTO event_audit_log_{month:%Y_%m} (event_id, correlation_id, event_timestamp, received_at, forwarded,"
        f" hostname, message, team, handling, environment, raw) VALUES ('{LATE_ID}', gen_random_uuid(),"
        f" '{month} 12:00+00', now(), false, 'h', 'm', 'NETO', 'Log_only', 'prod', '{{}}') ON CONFLICT DO NOTHING"
    )


def fill(stage: Stage, month: date) -> None:
    """Put events and deliveries into a month."""
    stage.sql("SELECT create_monthly_partition(%s)", (month,))
    stage._connection.execute(FILL.encode(), {"start": datetime(month.year, month.month, 2, tzinfo=UTC), "rows": ROWS})
    stage.sql(
        "INSERT INTO delivery_log SELECT event_id, event_timestamp, 1, 200, 'delivered' FROM event_audit_log AS made"
        " WHERE NOT EXISTS (SELECT FROM delivery_log WHERE event_id = made.event_id) LIMIT 5"
    )


def rows(stage: Stage) -> Counter[str]:
    """Count the rows of both tables."""
    found = stage.sql(
        "SELECT 'event ' || event_id FROM event_audit_log UNION ALL SELECT 'sent ' || event_id FROM delivery_log"
    )
    return Counter(name for (name,) in found)


def archived(stage: Stage) -> Counter[str]:
    """Count the rows of both tables in the archive, where the parts that it should have say that they are."""
    found: Counter[str] = Counter()
    for table, location in stage.sql("SELECT table_name, location FROM archives WHERE state = 'archived'"):
        word = "event" if table == "event_audit_log" else "sent"
        for path in sorted((stage.archive / location).glob("*.parquet")):
            column = pyarrow.parquet.read_table(path, columns=["event_id"]).column("event_id")
            found.update(f"{word} {event_id}" for event_id in column.to_pylist())
    return found


PATHS = (
    Archive,
    Restore,
    Release,
    Unchanged,
    Late,
    NotEmpty,
    RestoreLate,
    Expire,
    Adopt,
    Partitions,
    Migrate,
    FirstValues,
)
