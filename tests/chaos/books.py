"""The books after the chaos: each acknowledged event against audit, alerts, quarantine and visible lists."""

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

import psycopg
from psycopg.rows import dict_row

from mutt import keys
from mutt.settings import QueueNames
from tests.chaos.load import Ledger

NAMES = QueueNames()
QUEUES = (NAMES.ingest_queue, NAMES.alert_queue, NAMES.alerter_dlq, NAMES.moog_dlq, keys.AUDIT_PENDING)
# What becomes of an event by what its message begins with. Other words belong to rules that the API changes: each
# version of those is in the record of changes.
HANDLINGS = {"PAGE": "Page_and_ticket", "MAIL": "Email_only", "LOG": "Log_only", "nobody knows": "Unhandled"}
FORWARDED = {"Page_and_ticket", "Ticket_only", "Email_only"}
Row = dict[str, Any]


def left_over(client: Any) -> dict[str, int]:
    """Return the length of everything that still waits or is held by somebody."""
    found = {key: client.llen(key) for key in QUEUES} | {keys.RETRY_MOOG: client.zcard(keys.RETRY_MOOG)}
    found |= {key.decode(): client.llen(key) for key in client.scan_iter("mutt:processing:*")}
    return {key: length for key, length in found.items() if length}


def faults(ledger: Ledger, client: Any, database_url: str, alerts: Iterable[dict[str, Any]]) -> list[str]:
    """Return what the promise does not allow, each fault with ids: nothing, when all is well."""
    complaints = [f"a sender was told: {text}" for text in ledger.complaints]
    found = claims(ledger, client, database_url, alerts)
    return complaints + [f"{len(ids)} {what}: {sorted(ids)[:5]}" for what, ids in found.items() if ids]


def claims(ledger: Ledger, client: Any, database_url: str, alerts: Iterable[dict[str, Any]]) -> dict[str, set[str]]:
    """Return, for each thing that the promise does not allow, the ids that it befell."""
    with psycopg.connect(database_url, row_factory=dict_row) as connection:
        rows = connection.execute(
            "SELECT event_id::text, correlation_id::text, handling, forwarded, source, rule_id, rule_version"
            " FROM event_audit_log WHERE received_at >= now() - interval '30 days'"
        ).fetchall()
        changes = connection.execute(
            "SELECT new_values FROM config_audit_log WHERE table_name = 'alert_rules' AND new_values IS NOT NULL"
        ).fetchall()
    versions = {(row["new_values"]["id"], row["new_values"]["version"]): row["new_values"] for row in changes}
    poison = [json.loads(entry) for entry in client.lrange(keys.POISON, 0, -1)]
    given_up = {entry["_mutt"]["event_id"] for entry in poison}
    never_audited = {entry["_mutt"]["event_id"] for entry in poison if entry["_mutt"].get("kind") == "audit"}
    given_up_correlations = {entry.get("event", entry).get("correlation_id") for entry in poison}
    own = [row for row in rows if row["source"] == "mutt"]
    audited = Counter(row["correlation_id"] for row in rows if row["source"] != "mutt")
    delivered = {alert["external_id"] for alert in alerts}
    owed = {row["event_id"] for row in rows if row["forwarded"]}
    sent = ledger.acknowledged
    # Judged again while PostgreSQL was away, by a rule that had changed: nobody could look at the row (decision 67).
    undecided = {row["event_id"] for row in rows if _fixed(sent.get(row["correlation_id"], {})) is None}
    return {
        "acknowledged, but neither audited nor visible": sent.keys() - audited.keys() - given_up_correlations,
        "audited more than once": {identity for identity, times in audited.items() if times > 1},
        "audited, but never acknowledged": audited.keys() - sent.keys(),
        "owed to Moogsoft, but neither delivered nor visible": owed - delivered - given_up,
        "delivered, but not owed": delivered - owed - never_audited - undecided,
        "judged wrongly": {
            row["correlation_id"]
            for row in rows
            if row["source"] != "mutt" and row["correlation_id"] in sent and _is_wrong(row, sent, versions)
        },
        "meta-alerts beside the one": {row["event_id"] for row in own[1:]},
        "rejected, but not in quarantine": ledger.bad - _marks(client),
    }


def _fixed(event: Row) -> str | None:
    """Return the handling of an event whose words are those of a rule that never changes."""
    message = event.get("message", "")
    return next((handling for words, handling in HANDLINGS.items() if message.startswith(words)), None)


def _is_wrong(row: Row, sent: dict[str, Row], versions: dict[tuple[int, int], Row]) -> bool:
    """Tell whether a row's handling is another than its words', or than that of the rule's version that it names."""
    expected = _fixed(sent[row["correlation_id"]])
    if expected is None:
        rule = versions.get((row["rule_id"], row["rule_version"]))
        expected = rule["prod_handling"] if rule is not None else "that of a rule in the record of changes"
    return row["handling"] != expected or row["forwarded"] is not (expected in FORWARDED)


def _marks(client: Any) -> set[str]:
    """Return the marks of the bad records in quarantine."""
    marks = set()
    for entry in client.lrange(keys.QUARANTINE, 0, -1):
        found = json.loads(json.loads(entry)["raw"])
        marks.add(found["fields"]["mark"] if "fields" in found else found["message"])
    return marks
