"""Tables, indexes, the partition function, and the SQL that operators type."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.contract.sheet import SHEET, Row, params
from tests.contract.sheet import commands as command_rows
from tests.contract.sheet import tables as table_rows

INDEXES = """
SELECT i.indisunique, i.indisprimary, ARRAY(
    SELECT a.attname::text FROM unnest(i.indkey[0:i.indnkeyatts - 1]) WITH ORDINALITY AS k(number, place)
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number ORDER BY k.place)
FROM pg_index i WHERE i.indrelid = %s::regclass AND i.indisvalid
"""


@pytest.fixture
def database(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@params(table_rows())
def test_a_table_has_its_columns_key_and_indexes(row: Row, database: psycopg.Connection) -> None:
    facts = row.facts
    columns = database.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0", [facts["name"]]
    )
    assert set(facts["columns"]) <= {name for (name,) in columns}
    indexes = database.execute(INDEXES, [facts["name"]]).fetchall()
    leading: list[list[str]] = [names for _unique, _primary, names in indexes]
    for wanted in facts["indexes"]:
        assert any(names[: len(wanted)] == wanted for names in leading), f"no index on {wanted}"
    if "unique" in facts:
        assert any(unique and names == facts["unique"] for unique, _primary, names in indexes)
    if "primary_key" in facts:
        assert any(primary and names == facts["primary_key"] for _unique, primary, names in indexes)


@params(table_rows())
def test_a_table_is_partitioned_by_month_or_not_at_all(row: Row, database: psycopg.Connection) -> None:
    found = database.execute(
        "SELECT partstrat FROM pg_partitioned_table WHERE partrelid = %s::regclass", [row.facts["name"]]
    )
    assert (found.fetchone() is not None) == row.facts["partitioned"]


@params(command_rows("sql"))
def test_an_operators_sql_works(row: Row, database: psycopg.Connection) -> None:
    answer: list[Any] = database.execute(row.facts.encode()).fetchall()
    if "create_monthly_partition" in row.facts:
        assert answer == [("event_audit_log_2025_11",)]


def test_partitions_reach_back_as_far_as_events_are_kept(database: psycopg.Connection) -> None:
    days = SHEET["retention"]["event_audit_active_days"]
    names = {
        name
        for (name,) in database.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'event_audit_log'::regclass"
        )
    }
    months = database.execute(
        "SELECT to_char(now() AT TIME ZONE 'UTC' - make_interval(days => d), '\"event_audit_log_\"YYYY_MM') "
        "FROM generate_series(0, %s) AS d",
        [days],
    )
    assert {name for (name,) in months} <= names


@pytest.mark.parametrize("statement", ["DELETE FROM config_audit_log", "TRUNCATE config_audit_log"])
def test_a_changed_configuration_is_never_deleted(database: psycopg.Connection, statement: str) -> None:
    assert SHEET["retention"]["config_audit_deleted"] is False
    database.execute(
        "INSERT INTO config_audit_log (changed_by, operation, table_name) VALUES ('test', 'UPDATE', 'alert_rules')"
    )
    with pytest.raises(psycopg.errors.RestrictViolation, match="kept for ever"):
        database.execute(statement.encode())
    assert database.execute("SELECT count(*) FROM config_audit_log").fetchone() == (1,)
    partitioned = database.execute("SELECT FROM pg_partitioned_table WHERE partrelid = 'config_audit_log'::regclass")
    assert partitioned.fetchone() is None  # no month of it can be dropped
