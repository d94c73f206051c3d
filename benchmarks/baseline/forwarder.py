"""One alert at a time: BRPOPLPUSH, one `requests` call over a session kept open, LREM."""

import json
import os
from typing import Any

import redis
import requests

SOURCE, PROCESSING = "mutt:alert_queue", "mutt:processing:moog:bench"


def main() -> None:
    """Forward for ever. Written in favour of the plain stack: it limits no rate, logs nothing and retries nothing."""
    queue = redis.Redis(host="127.0.0.1", port=int(os.environ["REDIS_PORT"]), password=os.environ["REDIS_PASS_CURRENT"])
    session = requests.Session()
    session.trust_env = False  # else it looks for proxies at each call
    session.headers["Authorization"] = "Bearer benchmark-key"
    while True:
        raw: Any = queue.brpoplpush(SOURCE, PROCESSING, timeout=5)
        if raw is None:
            continue
        alert = json.loads(raw)
        event = alert["event"]
        payload = {
            "signature": f"{event['hostname']}::{event.get('source')}::rule-{alert['rule_id']}",
            "source_id": event["hostname"],
            "external_id": alert["_mutt"]["event_id"],
            "manager": "MUTT",
            "source": event["hostname"],
            "severity": event.get("syslog_severity"),
            "description": event["message"],
            "custom_info": {"team": alert["team"], "handling": alert["handling"], "event": event},
        }
        session.post(os.environ["MOOG_WEBHOOK_URL"], json=payload, timeout=10).raise_for_status()
        queue.lrem(PROCESSING, -1, raw)


if __name__ == "__main__":
    main()
