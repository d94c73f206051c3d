"""Sample rules, development hosts and teams for an empty database."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
import yaml
from psycopg import sql

from mutt.rules import validate_rule

FILE = Path(__file__).with_name("samples.yaml")
CHANGED_BY, REASON = "muttdev", "sample data of the developer mode"
KEYS = {"alert_rules": "id", "development_hosts": "hostname", "device_teams": "hostname"}


@cache
def read() -> dict[str, Any]:
    """Return the content of samples.yaml."""
    content: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return content


def load(database_url: str) -> bool:
    """Load the samples with their audit rows if there is no rule, host or team yet; return whether it did."""
    with psycopg.connect(database_url) as connection:
        for table in KEYS:
            if connection.execute(sql.SQL("SELECT 1 FROM {} LIMIT 1").format(sql.Identifier(table))).fetchone():
                return False
        for table, rows in rows_by_table().items():
            for row in rows:
                _insert(connection, table, row)
    return True


def rows_by_table() -> dict[str, list[dict[str, Any]]]:
    """Return the sample rows of each table, the rules validated as the API validates them."""
    content = read()
    return {
        "alert_rules": [validate_rule(rule) for rule in content["rules"]],
        "development_hosts": [{"hostname": host} for host in content["development_hosts"]],
        "device_teams": content["device_teams"],
    }


def _insert(connection: psycopg.Connection, table: str, row: dict[str, Any]) -> None:
    given = {name: value for name, value in row.items() if value is not None}
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING {}").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, given)),
        sql.SQL(", ").join(map(sql.Placeholder, given)),
        sql.Identifier(KEYS[table]),
    )
    key = connection.execute(statement, given).fetchone()
    connection.execute(
        "INSERT INTO config_audit_log (changed_by, operation, table_name, record_id, new_values, reason)"
        " VALUES (%s, 'CREATE', %s, %s, %s, %s)",
        (CHANGED_BY, table, str(key[0]) if key else None, json.dumps(given), REASON),
    )
