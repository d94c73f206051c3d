import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import Connection
from psycopg.errors import CheckViolation, DatetimeFieldOverflow, LockNotAvailable, UniqueViolation

from mutt.months import months_due
from scripts.devtools import embedded
from scripts.devtools.embedded import PostgresServer, postgres_binary
from scripts.migrate import steps

RULE = {
    "match_string": "down",
    "trap_oid": None,
    "syslog_severity": None,
    "match_type": "contains",
    "priority": 100,
    "prod_handling": "Page_and_ticket",
    "dev_handling": "Log_only",
    "team_assignment": "NETO",
}


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with psycopg.connect(database_url, autocommit=True) as opened:
        yield opened


@pytest.fixture
def oldest_server(server_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresServer]:
    """Run PostgreSQL 16, the oldest that comes as a wheel."""

    def binary(name: str) -> Path:
        return postgres_binary(name).parents[2] / "pginstall" / "bin" / name

    monkeypatch.setattr(embedded, "postgres_binary", binary)
    folder = Path(tempfile.mkdtemp(prefix="oldest-", dir=server_folder))
    folder.chmod(0o755)
    server = PostgresServer(folder / "postgres")
    server.start()
    yield server
    server.stop()


def load_with_psql(url: str) -> None:
    files = [argument for path in steps()[0].files for argument in ("-f", str(path))]
    done = subprocess.run(
        [str(postgres_binary("psql")), "-X", "-q", "-v", "ON_ERROR_STOP=1", url, *files],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "ERROR" not in done.stderr
    assert "WARNING" not in done.stderr


def add_rule(connection: Connection, **changes: Any) -> int:
    rule = RULE | changes
    columns, values = ", ".join(rule), ", ".join(f"%({name})s" for name in rule)
    query = f"INSERT INTO alert_rules ({columns}) VALUES ({values}) RETURNING id"
    row = connection.execute(query.encode(), rule).fetchone()
    assert row is not None
    return int(row[0])


def partitions(connection: Connection, parent: str = "event_audit_log") -> list[str]:
    rows = connection.execute(
        "SELECT child.relname FROM pg_inherits"
        " JOIN pg_class parent ON pg_inherits.inhparent = parent.oid"
        " JOIN pg_class child ON pg_inherits.inhrelid = child.oid"
        " WHERE parent.relname = %s ORDER BY 1",
        (parent,),
    )
    return [row[0] for row in rows]


def one(connection: Connection, query: str, *parameters: object) -> Any:
    row = connection.execute(query.encode(), parameters).fetchone()
    assert row is not None
    return row[0]


def insert_event(connection: Connection, moment: datetime) -> None:
    connection.execute(
        "INSERT INTO event_audit_log (event_id, correlation_id, event_timestamp, received_at, forwarded, hostname,"
        " message, team, handling, environment) VALUES (%s, %s, %s, now(), false, 'h', 'm', 't', 'Log_only', 'prod')",
        (uuid4(), uuid4(), moment),
    )


def test_the_files_load_twice_with_plain_psql(empty_database_url: str) -> None:
    load_with_psql(empty_database_url)
    load_with_psql(empty_database_url)


def test_the_files_load_twice_on_the_oldest_server_there_is(oldest_server: PostgresServer) -> None:
    load_with_psql(oldest_server.url())
    load_with_psql(oldest_server.url())
    with psycopg.connect(oldest_server.url()) as connection:
        assert connection.info.server_version < 170000
        assert one(connection, "SELECT create_monthly_partition('2025-11-01')") == "event_audit_log_2025_11"
        insert_event(connection, datetime(2025, 11, 30, 23, 59, 59, tzinfo=UTC))


@pytest.mark.parametrize(
    "changes",
    [
        {"match_type": "glob"},
        {"priority": 0},
        {"priority": 1001},
        {"prod_handling": "Suppress"},
        {"dev_handling": "Page_and_ticket"},
        {"team_assignment": "  "},
        {"syslog_severity": 8},
        {"syslog_severity": -1},
        {"trap_oid": "1.3.6."},
        {"trap_oid": "1..3"},
        {"match_string": ""},
        {"match_string": None},
        {"match_string": None, "match_type": "regex"},
        {"match_string": None, "trap_oid": "1.3.6"},
        {"match_type": "oid_prefix"},
    ],
)
def test_the_table_refuses_an_impossible_rule(connection: Connection, changes: dict[str, Any]) -> None:
    with pytest.raises(CheckViolation):
        add_rule(connection, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"match_string": None, "syslog_severity": 0},
        {"match_type": "regex", "trap_oid": ".1.3.6"},
        {"match_type": "oid_prefix", "match_string": None, "trap_oid": "1.3.6.1.4.1.9"},
    ],
)
def test_the_table_takes_a_possible_rule(connection: Connection, changes: dict[str, Any]) -> None:
    assert add_rule(connection, **changes) > 0


def test_a_rule_changed_by_hand_gets_a_new_version_too(connection: Connection) -> None:
    rule = add_rule(connection)
    connection.execute("UPDATE alert_rules SET priority = 5, version = 1 WHERE id = %s", (rule,))
    connection.execute("UPDATE alert_rules SET priority = 6 WHERE id = %s", (rule,))
    assert one(connection, "SELECT version FROM alert_rules") == 3
    assert one(connection, "SELECT updated_at > created_at FROM alert_rules")


@pytest.mark.parametrize("table", ["development_hosts", "device_teams"])
def test_a_hostname_is_unique_in_the_form_that_is_compared(connection: Connection, table: str) -> None:
    column, value = (", team_assignment", ", 'NETO'") if table == "device_teams" else ("", "")
    insert = f"INSERT INTO {table} (hostname{column}) VALUES (%s{value})".encode()
    connection.execute(insert, ("SW-1.Example.",))

    assert one(connection, f"SELECT hostname FROM {table}") == "sw-1.example"
    with pytest.raises(UniqueViolation):
        connection.execute(insert, ("sw-1.EXAMPLE",))
    with pytest.raises(CheckViolation):
        connection.execute(insert, (".",))
    connection.execute(f"UPDATE {table} SET hostname = 'SW-2.'".encode())
    assert one(connection, f"SELECT hostname || (updated_at > created_at) FROM {table}") == "sw-2true"


def test_a_deleted_rule_keeps_its_audit_rows(connection: Connection) -> None:
    rule = add_rule(connection)
    insert_event(connection, datetime.now(UTC))
    connection.execute("UPDATE event_audit_log SET rule_id = %s", (rule,))
    connection.execute("DELETE FROM alert_rules")
    assert one(connection, "SELECT rule_id FROM event_audit_log") == rule


def test_both_tables_have_partitions_for_every_month_that_is_due(connection: Connection) -> None:
    due = months_due(datetime.now(UTC).date())
    for parent in ("event_audit_log", "delivery_log"):
        assert partitions(connection, parent) == [f"{parent}_{month:%Y_%m}" for month in due]


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "America/Los_Angeles"])
def test_a_month_begins_and_ends_in_utc_whatever_the_session_says(connection: Connection, zone: str) -> None:
    connection.execute("SELECT set_config('timezone', %s, false)", (zone,))
    assert one(connection, "SELECT create_monthly_partition('2025-11-30')") == "event_audit_log_2025_11"
    first, last = datetime(2025, 11, 1, tzinfo=UTC), datetime(2025, 12, 1, tzinfo=UTC) - timedelta(microseconds=1)
    insert_event(connection, first)
    insert_event(connection, last)
    for outside in (first - timedelta(microseconds=1), last + timedelta(microseconds=1)):
        with pytest.raises(CheckViolation):
            insert_event(connection, outside)


def test_any_day_gives_its_month_any_number_of_times(connection: Connection) -> None:
    names = {one(connection, "SELECT create_monthly_partition(%s)", date(2024, 2, day)) for day in range(1, 30)}
    assert names == {"event_audit_log_2024_02"}
    assert partitions(connection).count("event_audit_log_2024_02") == 1


@pytest.mark.parametrize("day", ["1999-12-31", "infinity", "-infinity", "10000-01-01", None])
def test_a_month_that_cannot_be_is_refused(connection: Connection, day: str | None) -> None:
    with pytest.raises(DatetimeFieldOverflow, match="the month must lie in the years 2000 to 9999"):
        connection.execute("SELECT create_monthly_partition(%s::date)", (day,))


def test_a_detached_partition_is_attached_again_with_its_rows(connection: Connection) -> None:
    month = months_due(datetime.now(UTC).date())[0]
    name = f"event_audit_log_{month:%Y_%m}"
    insert_event(connection, datetime(month.year, month.month, 20, tzinfo=UTC))
    connection.execute(f"ALTER TABLE event_audit_log DETACH PARTITION {name}".encode())
    assert one(connection, "SELECT count(*) FROM event_audit_log") == 0

    assert one(connection, "SELECT create_monthly_partition(%s)", month) == name

    assert one(connection, "SELECT count(*) FROM event_audit_log") == 1


def test_a_partition_has_every_index_of_its_parent(connection: Connection) -> None:
    def definitions(table: str) -> list[str]:
        rows = connection.execute("SELECT indexdef FROM pg_indexes WHERE tablename = %s", (table,))
        return sorted(row[0].split(" USING ")[1] for row in rows)

    name = one(connection, "SELECT create_monthly_partition('2024-05-05')")
    assert len(definitions("event_audit_log")) == 4
    assert definitions(name) == definitions("event_audit_log")


def test_many_sessions_make_the_same_partitions_once(connection: Connection, database_url: str) -> None:
    months = [date(2023, month, 7) for month in range(1, 13)]

    def make(_: int) -> list[str]:
        with psycopg.connect(database_url, autocommit=True) as own:
            return [one(own, "SELECT create_monthly_partition(%s)", month) for month in months]

    with ThreadPoolExecutor(6) as workers:
        made = list(workers.map(make, range(6)))

    assert all(names == [f"event_audit_log_2023_{number:02}" for number in range(1, 13)] for names in made)
    assert len([name for name in partitions(connection) if "_2023_" in name]) == 12


@pytest.fixture
def session(database_url: str) -> Iterator[Callable[[], Connection]]:
    """Open further sessions, each in a transaction of its own."""
    opened: list[Connection] = []

    def open_one() -> Connection:
        opened.append(psycopg.connect(database_url))
        return opened[-1]

    yield open_one
    for one_of_them in opened:
        one_of_them.close()


def test_a_partition_is_made_beside_a_reader_and_a_writer_that_never_end(
    connection: Connection, session: Callable[[], Connection]
) -> None:
    reader, writer = session(), session()
    reader.execute("SELECT count(*) FROM event_audit_log")
    insert_event(writer, datetime.now(UTC))

    assert one(connection, "SELECT create_monthly_partition('2024-07-01')") == "event_audit_log_2024_07"

    insert_event(writer, datetime.now(UTC))
    insert_event(connection, datetime(2024, 7, 4, tzinfo=UTC))


def test_whoever_blocks_the_partition_blocks_it_for_seconds_and_no_writer(
    connection: Connection, session: Callable[[], Connection]
) -> None:
    blocker, writer = session(), session()
    blocker.execute("LOCK TABLE event_audit_log IN SHARE UPDATE EXCLUSIVE MODE")  # as VACUUM and CREATE INDEX do

    with ThreadPoolExecutor(1) as worker:
        waiting = worker.submit(connection.execute, "SELECT create_monthly_partition('2024-07-01')")
        insert_event(writer, datetime.now(UTC))
        writer.commit()
        with pytest.raises(LockNotAvailable):
            waiting.result(timeout=60)
    blocker.rollback()
    assert one(connection, "SELECT create_monthly_partition('2024-07-01')") == "event_audit_log_2024_07"


def test_a_table_of_the_callers_own_never_stands_in_for_the_real_one(connection: Connection) -> None:
    connection.execute("CREATE TEMPORARY TABLE event_audit_log (event_timestamp timestamptz)")
    assert one(connection, "SELECT create_monthly_partition('2024-07-01')") == "event_audit_log_2024_07"
    assert one(connection, "SELECT count(*) FROM public.event_audit_log_2024_07") == 0
