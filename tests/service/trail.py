"""What a test of the alerter sees: the audit table, the rules and the queues."""

from typing import Any

import msgspec
import psycopg
from redis import Redis

from tests.harness.entries import queue_entry
from tests.harness.waiting import wait_for

QUEUE, ALERTS, DEAD = "mutt:ingest_queue", "mutt:alert_queue", "mutt:dlq:alerter"
FAST: dict[str, Any] = {"ALERTER_HEARTBEAT_INTERVAL": "1", "ALERTER_JANITOR_TIMEOUT": "3"}
RULE = (
    "INSERT INTO alert_rules (match_string, trap_oid, syslog_severity, match_type, priority, prod_handling,"
    " dev_handling, team_assignment) VALUES (%s, %s, %s, %s, %s, %s, %s, %s) RETURNING id"
)


class Trail:
    """The audit table, the rules and the queues, as a test sees them."""

    def __init__(self, database_url: str, redis_url: str) -> None:
        self.database_url = database_url
        self.redis = Redis.from_url(redis_url)

    def sql(self, statement: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def rule(self, **columns: Any) -> int:
        rule: dict[str, Any] = {
            "match_string": None,
            "trap_oid": None,
            "syslog_severity": None,
            "match_type": "contains",
            "priority": 500,
            "prod_handling": "Page_and_ticket",
            "dev_handling": "Log_only",
            "team_assignment": "NETO",
        } | columns
        return int(self.sql(RULE, tuple(rule.values()))[0][0])

    def send(self, *entries: bytes) -> None:
        self.redis.lpush(QUEUE, *entries)

    def rows(self) -> list[dict[str, Any]]:
        with psycopg.connect(self.database_url, row_factory=psycopg.rows.dict_row) as connection:
            return connection.execute("SELECT * FROM event_audit_log ORDER BY event_id").fetchall()

    def wait_rows(self, count: int, timeout: float = 60) -> list[dict[str, Any]]:
        return wait_for(lambda: len(rows := self.rows()) >= count and rows, f"{count} audit rows", timeout) or []

    def length(self, key: str) -> int:
        kind = self.redis.type(key)
        return int(self.redis.zcard(key) if kind == b"zset" else self.redis.llen(key))

    def wait_length(self, key: str, count: int, timeout: float = 60) -> None:
        wait_for(lambda: self.length(key) == count, f"{count} entries in {key}, not {self.length(key)}", timeout)

    def entries(self, key: str) -> list[dict[str, Any]]:
        return [msgspec.json.decode(entry) for entry in self.redis.lrange(key, 0, -1)]

    def nothing_is_held(self) -> bool:
        return not list(self.redis.scan_iter("mutt:processing:*"))


def crowd(count: int) -> tuple[set[str], list[bytes]]:
    sent = [queue_entry(f"page {n}") for n in range(count)]
    return {event_id for event_id, _ in sent}, [entry for _, entry in sent]


def check_exactly_once(trail: Trail, ids: set[str]) -> None:
    rows = trail.wait_rows(len(ids))
    assert len(rows) == len(ids)
    assert {str(row["event_id"]) for row in rows} == ids
    # The queue first: what leaves it is in a processing list, and what leaves that is done.
    wait_for(lambda: trail.length(QUEUE) == 0 and trail.nothing_is_held(), "nothing waits and nothing is held", 60)
    wait_for(lambda: trail.length(ALERTS) >= len(ids), "an alert for each")
    alerts = [alert["_mutt"]["event_id"] for alert in trail.entries(ALERTS)]
    assert sorted(alerts) == sorted(ids)
    assert trail.length(DEAD) == 0
