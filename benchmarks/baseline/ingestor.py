"""Flask behind gunicorn: one event a request, one LPUSH an event over a pooled connection."""

import hmac
import os
import uuid
from typing import Any

import redis
from flask import Flask, jsonify, request

REQUIRED = ("timestamp", "message", "hostname")
QUEUE = "mutt:ingest_queue"
CAP = 1_000_000

app = Flask(__name__)
key = os.environ["INGEST_API_KEY"]
queue = redis.Redis(host="127.0.0.1", port=int(os.environ["REDIS_PORT"]), password=os.environ["REDIS_PASS_CURRENT"])


@app.post("/api/v2/ingest")
def ingest() -> tuple[Any, int]:
    """Check key, fields and queue depth, push, answer."""
    if not hmac.compare_digest(request.headers.get("X-API-KEY", ""), key):
        return jsonify(status="error", message="invalid API key"), 401
    event = request.get_json(silent=True)
    if not isinstance(event, dict):
        return jsonify(status="error", message="not a JSON object"), 400
    missing = [name for name in REQUIRED if not event.get(name)]
    if missing:
        return jsonify(status="error", message=f"missing: {', '.join(missing)}"), 400
    event.setdefault("correlation_id", str(uuid.uuid4()))
    depth = queue.llen(QUEUE)
    if depth >= CAP:
        return jsonify(status="error", message="queue is full"), 503
    queue.lpush(QUEUE, app.json.dumps(event))
    return jsonify(status="queued", correlation_id=event["correlation_id"], queue_depth=depth), 200
