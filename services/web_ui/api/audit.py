"""/api/v2/audit-logs and /config-audit: what became of the events, and who changed what."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

from fastapi import APIRouter, Query
from psycopg.errors import QueryCanceled
from pydantic import BaseModel, Field

from mutt.handling import Handling, normalise_host
from mutt.paging import DAY, Position, decode_cursor, encode_cursor, end_of, start_of
from services.web_ui import schemas
from services.web_ui.api.parameters import ID_MAX
from services.web_ui.audit_queries import SEARCH_TIMEOUT_MS, AuditQueries, Total, contains, time_of
from services.web_ui.context import Parts, Viewer
from services.web_ui.replies import ApiError

PAGE_MAX = 200
# Rows that may be skipped by page number; further on only a cursor is quick.
OFFSET_MAX = 10_000
# What no index finds is looked for within a range of time, this long unless one is given.
SEARCHED = ("q", "handling", "rule_id")

_FIRST = datetime.min.replace(tzinfo=UTC)

T = TypeVar("T")

Moment = Annotated[str | None, Field(description="A date, or a time in ISO 8601", max_length=40)]
Page = Annotated[int, Field(ge=1, le=1_000_000, description="The page, from 1 on; far back a cursor is needed")]
PageSize = Annotated[
    int | None, Field(ge=1, le=PAGE_MAX, description="Entries in a page; absent means AUDIT_LOG_PAGE_SIZE")
]


def _word(meaning: str) -> Any:
    # PostgreSQL's text holds no NUL, so nothing can be equal to it.
    return Field(min_length=1, max_length=255, pattern="^[^\x00]*$", description=meaning)


class EventQuery(BaseModel):
    """The parameters of audit-logs."""

    hostname: Annotated[str | None, _word("A hostname or an address, whole")] = None
    rule_id: Annotated[int | None, Field(ge=1, le=ID_MAX, description="The rule that handled them")] = None
    correlation_id: Annotated[UUID | None, Field(description="All events of one request")] = None
    event_id: Annotated[UUID | None, Field(description="One event")] = None
    handling: Annotated[Handling | None, Field(description="What became of them")] = None
    q: Annotated[str | None, _word("Text in the message, in any case of letters")] = None
    start_date: Moment = None
    end_date: Moment = None
    page: Page = 1
    limit: PageSize = None
    cursor: Annotated[str | None, Field(max_length=200, description="next_cursor of the page before")] = None

    def filters(self, now: datetime) -> dict[str, Any]:
        """Return what is asked for as conditions; a search without an index is given a range of time."""
        start, end = _moment("start_date", start_of, self.start_date), _moment("end_date", end_of, self.end_date)
        exactly = self.correlation_id is not None or self.event_id is not None
        if start is None and not exactly and any(getattr(self, name) is not None for name in SEARCHED):
            start = max(end or now, _FIRST + DAY) - DAY
        found = {
            "hostname": None if self.hostname is None else list({self.hostname, normalise_host(self.hostname)}),
            "rule_id": self.rule_id,
            "correlation_id": self.correlation_id,
            "event_id": self.event_id,
            "handling": None if self.handling is None else str(self.handling),
            "q": None if self.q is None else contains(self.q),
            "start": start,
            "end": end,
        }
        return {name: value for name, value in found.items() if value is not None}


class ChangeQuery(BaseModel):
    """The parameters of config-audit."""

    changed_by: Annotated[str | None, _word("The name of the key that made the change")] = None
    table_name: Annotated[str | None, _word("alert_rules, development_hosts, device_teams, dynamic_config …")] = None
    record_id: Annotated[str | None, _word("The id, hostname or key of what was changed")] = None
    operation: Annotated[str | None, _word("CREATE, UPDATE, DELETE; of dead letters REPLAY, EDIT, DELETE")] = None
    start_date: Moment = None
    end_date: Moment = None
    page: Page = 1
    limit: PageSize = None


router = APIRouter(prefix="/api/v2", tags=["audit"])


@router.get("/audit-logs", response_model=schemas.AuditLogs, responses=schemas.errors(400))
async def list_events(parts: Parts, _caller: Viewer, asked: Annotated[EventQuery, Query()]) -> dict[str, Any]:
    """List audited events, newest first.

    Where `q`, `handling` or `rule_id` is given without a range of time, the last 24 hours are looked through.
    """
    size = asked.limit or parts.settings.audit_log_page_size
    filters = asked.filters(datetime.now(UTC))
    after = _moment("cursor", decode_cursor, asked.cursor)
    offset = 0 if after else (asked.page - 1) * size
    if offset > OFFSET_MAX:
        raise ApiError(400, f"page {asked.page} begins behind row {OFFSET_MAX}; go on with next_cursor, or narrow")
    try:
        async with parts.search() as queries:
            audit = AuditQueries(queries)
            rows = await audit.events(filters, size, offset, after)
            last = after is None and len(rows) < size and (offset == 0 or bool(rows))
            total = Total(offset + len(rows), exact=True) if last else await audit.count_events(filters)
    except QueryCanceled:
        longest = f"the search took longer than {SEARCH_TIMEOUT_MS // 1000} s"
        raise ApiError(503, f"{longest}; narrow the range of time, or give a hostname") from None
    following = encode_cursor(Position(time_of(rows[-1]), rows[-1]["event_id"])) if len(rows) == size else None
    pagination = _pagination(asked.page, size, total.rows) | {"exact": total.exact, "next_cursor": following}
    return {"logs": rows, "pagination": pagination}


@router.get("/config-audit", response_model=schemas.ConfigAudit, responses=schemas.errors(400))
async def list_changes(parts: Parts, _caller: Viewer, asked: Annotated[ChangeQuery, Query()]) -> dict[str, Any]:
    """List the changes of rules, hosts, teams and configuration, newest first."""
    size = asked.limit or parts.settings.audit_log_page_size
    filters = {
        "changed_by": asked.changed_by,
        "table_name": asked.table_name,
        "record_id": asked.record_id,
        "operation": asked.operation,
        "changed_start": _moment("start_date", start_of, asked.start_date),
        "changed_end": _moment("end_date", end_of, asked.end_date),
    }
    filters = {name: value for name, value in filters.items() if value is not None}
    async with parts.database() as queries:
        rows, total = await AuditQueries(queries).changes(filters, size, (asked.page - 1) * size)
    return {"changes": rows, "pagination": _pagination(asked.page, size, total)}


def _moment(name: str, read: Callable[[str], T], text: str | None) -> T | None:
    if text is None:
        return None
    try:
        return read(text)
    except ValueError as error:
        raise ApiError(400, f"{name} {error}", details={name: str(error)}) from None


def _pagination(page: int, limit: int, total: int) -> dict[str, Any]:
    return {"page": page, "limit": limit, "total": total, "pages": -(-total // limit)}
