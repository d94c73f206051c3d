"""The books after the chaos: each acknowledged event against audit, alerts and visible lists."""

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

import psycopg
from psycopg.rows import dict_row

from mutt import keys
from mutt.settings import QueueNames
from tests.chaos.load import FORWARDED, Ledger

NAMES = QueueNames()
QUEUES = (NAMES.ingest_queue, NAMES.alert_queue, NAMES.alerter_dlq, NAMES.moog_dlq, keys.AUDIT_PENDING)


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
            "SELECT event_id::text, correlation_id::text, handling, forwarded, source FROM event_audit_log"
        ).fetchall()
    poison = [json.loads(entry) for entry in client.lrange(keys.POISON, 0, -1)]
    given_up = {entry["_mutt"]["event_id"] for entry in poison}
    given_up_correlations = {entry.get("event", entry).get("correlation_id") for entry in poison}
    own = [row for row in rows if row["source"] == "mutt"]
    audited = Counter(row["correlation_id"] for row in rows if row["source"] != "mutt")
    delivered = {alert["external_id"] for alert in alerts}
    owed = {row["event_id"] for row in rows if row["forwarded"]}
    sent = ledger.acknowledged
    handled = {row["correlation_id"]: row["forwarded"] for row in rows}
    wrong = {
        identity
        for identity, event in sent.items()
        if identity in handled and handled[identity] is not event["message"].startswith(FORWARDED)
    }
    return {
        "acknowledged, but neither audited nor visible": sent.keys() - audited.keys() - given_up_correlations,
        "audited more than once": {identity for identity, times in audited.items() if times > 1},
        "audited, but never acknowledged": audited.keys() - sent.keys(),
        "owed to Moogsoft, but neither delivered nor visible": owed - delivered - given_up,
        "delivered, but not owed": delivered - owed,
        "judged wrongly": wrong,
        "meta-alerts beside the one": {row["event_id"] for row in own[1:]},
    }
