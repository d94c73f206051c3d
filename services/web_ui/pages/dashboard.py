"""/: whether events flow, and what to do where they do not."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from services.web_ui.pages.frame import PageViewer, render

router = APIRouter(include_in_schema=False)


@router.get("/")
async def dashboard(request: Request, _user: PageViewer) -> Response:
    """Show the dashboard."""
    return await render(request, "dashboard.html")
