"""/api/v2/unhandled: what no rule matches, on its way to the threshold."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query

from mutt.unmatched import Unmatched
from services.web_ui import event_schemas, schemas
from services.web_ui.context import Context, Parts, Viewer
from services.web_ui.journeys import shown_row
from services.web_ui.unmatched_patterns import listed

PAGE_MAX = 1000

router = APIRouter(prefix="/api/v2", tags=["audit"])


@router.get("/unhandled", response_model=event_schemas.UnmatchedPatterns, responses=schemas.errors(400))
async def list_unhandled(
    parts: Parts,
    _caller: Viewer,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX, description="Patterns in the page")] = 100,
    offset: Annotated[int, Query(ge=0, le=1_000_000, description="Patterns before the page")] = 0,
) -> dict[str, Any]:
    """List the patterns of events that no rule matched, nearest to the threshold of their one alert first."""
    return await document(parts, limit, offset)


async def document(parts: Context, limit: int, offset: int) -> dict[str, Any]:
    """Return the list as the API shows it."""
    patterns, overflow = await listed(parts)
    counting = parts.settings.counting
    now = datetime.now(UTC)
    return {
        "patterns": [_shown(each, now) for each in patterns[offset : offset + limit]],
        "total": len(patterns),
        "limit": limit,
        "offset": offset,
        "near": sum(each.state == "near" for each in patterns),
        "alert_sent": sum(each.state == "alert_sent" for each in patterns),
        "threshold": counting.unhandled_threshold,
        "expiry_seconds": counting.unhandled_expiry_seconds,
        "max_patterns": counting.unhandled_max_patterns,
        "overflow": overflow,
    }


def _shown(item: Unmatched, now: datetime) -> dict[str, Any]:
    left = None if item.expires_at is None else max(0, round((item.expires_at - now).total_seconds()))
    return {**shown_row(asdict(item)), "ttl": left}
