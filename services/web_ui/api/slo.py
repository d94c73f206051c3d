"""/api/v1/slo, and its other name /api/v2/slo: the service levels."""

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel

from services.web_ui import schemas
from services.web_ui.context import Viewer
from services.web_ui.service_levels import ServiceLevels

router = APIRouter(prefix="/api/v2", tags=["slo"])


class ServiceLevel(BaseModel):
    """How one component does; figures are null and the state `no_data` where nothing was asked of it."""

    target: float
    availability: float | None
    error_budget_remaining: float | None
    burn_rate: float | None
    state: str
    window_hours: int
    source: str
    availability_without_sender_errors: float | None


class Slo(BaseModel):
    """The service levels by component."""

    window_hours: int
    components: dict[str, ServiceLevel]


@router.get("/slo", response_model=Slo, responses=schemas.errors())
async def show_slo(request: Request, _caller: Viewer) -> dict[str, Any]:
    """Return availability, burn rate and error budget, from Prometheus or from MUTT's own counters."""
    levels: ServiceLevels = request.app.state.levels
    hours, found = await levels.read(datetime.now(UTC))
    return {"window_hours": hours, "components": {each.component.name: each.document(hours) for each in found}}
