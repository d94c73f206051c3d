"""One message at a time: BRPOPLPUSH, a Python loop over the rules, one INSERT, LREM."""

import json
import os
import re
from typing import Any

import psycopg2  # type: ignore[import-untyped]
import redis

SOURCE, PROCESSING, ALERTS = "mutt:ingest_queue", "mutt:processing:alerter:baseline", "mutt:alert_queue"
FORWARDED = ("Page_and_ticket", "Ticket_only", "Email_only")
SELECT = "SELECT id, match_string, trap_oid, match_type, prod_handling FROM alert_rules ORDER BY priority DESC, id"
INSERT = (
    "INSERT INTO event_audit_log (event_timestamp, correlation_id, hostname, message, source, syslog_severity, "
    "rule_id, handling, raw) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"
)


class Alerter:
    """The rules in memory, one connection to each server."""

    def __init__(self) -> None:
        password = os.environ["REDIS_PASS_CURRENT"]
        self.redis = redis.Redis(host="127.0.0.1", port=int(os.environ["REDIS_PORT"]), password=password)
        self.database = psycopg2.connect(os.environ["DATABASE_URL"])
        with self.database, self.database.cursor() as cursor:
            cursor.execute(SELECT)
            self.rules: list[tuple[Any, ...]] = [
                (number, prepared(kind, text), oid, kind, handling)
                for number, text, oid, kind, handling in cursor.fetchall()
            ]

    def match(self, event: dict[str, Any]) -> tuple[int | None, str]:
        """Return the first rule that matches and its handling."""
        message, oid = event["message"], event.get("trap_oid", "")
        lower = message.lower()
        for number, text, prefix, kind, handling in self.rules:
            if kind == "contains":
                if text in lower:
                    return number, handling
            elif kind == "regex":
                if text.search(message):
                    return number, handling
            elif oid and (oid == prefix or oid.startswith(prefix + ".")):
                return number, handling
        return None, "Unhandled"

    def process(self, raw: bytes) -> None:
        """Match, audit and settle one message."""
        event = json.loads(raw)
        rule, handling = self.match(event)
        with self.database, self.database.cursor() as cursor:
            row = (event["timestamp"], event["correlation_id"], event["hostname"], event["message"])
            cursor.execute(
                INSERT, (*row, event.get("source"), event.get("syslog_severity"), rule, handling, raw.decode())
            )
        if handling in FORWARDED:
            self.redis.lpush(ALERTS, raw)
        self.redis.lrem(PROCESSING, -1, raw)  # type: ignore[arg-type]  # bytes are fine

    def run(self) -> None:
        """Process for ever."""
        while True:
            raw: Any = self.redis.brpoplpush(SOURCE, PROCESSING, timeout=5)
            if raw is not None:
                self.process(raw)


def prepared(kind: str, text: str | None) -> "re.Pattern[str] | str":
    """Return a rule's text as `match` compares it."""
    return re.compile(text or "", re.IGNORECASE) if kind == "regex" else (text or "").lower()


if __name__ == "__main__":
    Alerter().run()
