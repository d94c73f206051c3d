"""/api/v2/metrics: how many events come in, and how many wait where."""

from datetime import UTC, datetime
from typing import Any

import msgspec
from fastapi import APIRouter

from mutt import keys, rates
from services.runtime.depths import measure
from services.web_ui import schemas
from services.web_ui.context import Context, Parts, Viewer

CACHE_KEY = f"{keys.METRICS_CACHE_PREFIX}:metrics"

router = APIRouter(prefix="/api/v2", tags=["metrics"])


@router.get("/metrics", response_model=schemas.Metrics, responses=schemas.errors())
async def show_metrics(parts: Parts, _caller: Viewer) -> Any:
    """Return the event rates and the queues' depths, at most METRICS_CACHE_TTL seconds old."""
    cached = await parts.redis.get(CACHE_KEY)
    if cached is not None:
        return msgspec.json.decode(cached)
    document = await _measured(parts, datetime.now(UTC))
    await parts.redis.set(CACHE_KEY, msgspec.json.encode(document), ex=parts.settings.metrics_cache_ttl)
    return document


async def _measured(parts: Context, now: datetime) -> dict[str, Any]:
    wanted = [keys.metrics_minute(at) for at in rates.minutes(now)] + [keys.metrics_hour(at) for at in rates.hours(now)]
    counts = [int(value or 0) for value in await parts.redis.mget(wanted)]
    names = parts.settings.names
    queues = {
        "ingest": names.ingest_queue,
        "alerts": names.alert_queue,
        "retries": keys.RETRY_MOOG,
        "audit_pending": keys.AUDIT_PENDING,
        "dlq_alerter": names.alerter_dlq,
        "dlq_moog": names.moog_dlq,
        "poison": keys.POISON,
        "quarantine": keys.QUARANTINE,
    }
    depths = await measure(parts.redis, list(queues.values()))
    return {
        "summary": rates.summary(now, counts[: rates.MINUTES]),
        "chart_24h": rates.chart(now, counts[rates.MINUTES :]),
        "queues": {name: depths[key] for name, key in queues.items()},
    }
