"""The web UI as one ASGI app."""

from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp

from services.runtime.health import Health
from services.runtime.ops_server import routes
from services.web_ui import assets, replies
from services.web_ui.api import (
    audit,
    changes,
    config,
    dead_letters,
    events,
    files,
    hosts,
    rates,
    rules,
    slo,
    teams,
    trials,
    unhandled,
)
from services.web_ui.context import Context, Viewer
from services.web_ui.description import Api
from services.web_ui.gate import Gate
from services.web_ui.pages import api_help, dashboard, dead_actions, dead_list, deciding, sign_in
from services.web_ui.pages import events as events_page
from services.web_ui.pages import help as help_page
from services.web_ui.pages import journey as journey_page
from services.web_ui.pages import slo as slo_page
from services.web_ui.pages import unhandled as unhandled_page
from services.web_ui.service_levels import ServiceLevels
from services.web_ui.watcher import Watcher


def api() -> FastAPI:
    """Return the API alone, which openapi.json and docs/api.md describe."""
    app = Api()
    # Paths with a word of their own come before those that take any word.
    for part in (
        trials,
        changes,
        files,
        rules,
        hosts,
        teams,
        config,
        audit,
        events,
        unhandled,
        rates,
        slo,
        dead_letters,
    ):
        app.include_router(part.router)
    return app


def build(context: Context, health: Health) -> ASGIApp:
    """Return the app with all its routes; /health, /live and /metrics need no key."""
    app = api()
    app.state.context = context
    app.state.levels = ServiceLevels(context)
    app.state.watcher = Watcher(context, app.state.levels)
    app.state.pieces = dashboard.Pieces()
    replies.install(app)
    sign_in.install(app)
    for page in (
        assets,
        dashboard,
        slo_page,
        help_page,
        events_page,
        journey_page,
        unhandled_page,
        dead_actions,
        dead_list,
        deciding,
        api_help,
    ):
        app.include_router(page.router)

    @app.get("/api/v2/openapi.json", include_in_schema=False)
    async def openapi(_caller: Viewer) -> dict[str, Any]:
        return app.openapi()

    app.router.routes.extend(routes(health, context.instruments.registry))
    return Gate(app, context.instruments)
