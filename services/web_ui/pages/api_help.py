"""/help/api: the API as it describes itself, on a page that loads nothing from elsewhere."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from mutt.api_words import operations, shapes
from services.web_ui.pages.frame import PageViewer, render

router = APIRouter(include_in_schema=False)


@router.get("/help/api")
async def api_help(request: Request, _user: PageViewer) -> Response:
    """Show every operation and every shape."""
    document = request.app.openapi()
    context = {"tags": operations(document), "shapes": list(shapes(document))}
    return await render(request, "api-help.html", context)
