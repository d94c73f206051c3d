"""Export and import: rules as YAML, development hosts and teams as CSV or JSON."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from services.web_ui import schemas, trial_schemas
from services.web_ui.bodies import REASON_MAX, change_of, read_bytes
from services.web_ui.context import Context, Editor, Parts, Viewer
from services.web_ui.imports import (
    DOCUMENT_MAX,
    HOST_KIND,
    TEAM_KIND,
    Kind,
    all_lines,
    apply_lines,
    apply_rules,
    csv_of,
    exported_rules,
    preview_lines,
    preview_rules,
    shown_plan,
)
from services.web_ui.keyring import Caller
from services.web_ui.replies import ApiError

Format = Annotated[Literal["csv", "json"], Query(description="The file's format")]


class Import(BaseModel):
    """The parameters of an import."""

    preview: Annotated[bool, Field(description="Only compare: nothing is changed")] = False
    mode: Annotated[
        Literal["merge", "replace"], Field(description="replace deletes what the file does not name, merge leaves it")
    ] = "merge"
    seal: Annotated[
        str | None, Field(max_length=64, description="The seal of a preview: 409 when it would do otherwise by now")
    ] = None
    reason: Annotated[str | None, Field(max_length=REASON_MAX, description="Why; kept with each change")] = None

    @property
    def replaces(self) -> bool:
        """Whether what the file does not name has to go."""
        return self.mode == "replace"


Asked = Annotated[Import, Query()]

router = APIRouter(prefix="/api/v2", tags=["files"])


@router.get("/rules/export", response_class=Response, responses=schemas.errors() | trial_schemas.RULES_FILE)
async def export_rules(parts: Parts, _caller: Viewer) -> Response:
    """Return all rules as a YAML document that the import takes."""
    return attachment(await exported_rules(parts), "application/yaml", "mutt-rules.yaml")


@router.post(
    "/rules/import",
    response_model=trial_schemas.Plan,
    responses=schemas.errors(409),
    openapi_extra=trial_schemas.YAML_FILE,
)
async def import_rules(request: Request, parts: Parts, caller: Editor, asked: Asked) -> dict[str, Any]:
    """Take rules from a YAML document, all of them or none; each bad one is named, with `preview` nothing is done."""
    document = await _document(request)
    change = change_of(request, caller)
    if asked.preview:
        return shown_plan(await preview_rules(parts, document, replace=asked.replaces), applied=False)
    return shown_plan(await apply_rules(parts, document, change, asked.seal, replace=asked.replaces), applied=True)


@router.get(
    "/dev-hosts/export", response_class=Response, responses=schemas.errors(400) | trial_schemas.lines_reply("hosts")
)
async def export_hosts(parts: Parts, _caller: Viewer, format: Format = "csv") -> Response:  # noqa: A002  (its name in the query)
    """Return all development hosts as a file that the import takes."""
    return await export_of(parts, HOST_KIND, format)


@router.get(
    "/teams/export", response_class=Response, responses=schemas.errors(400) | trial_schemas.lines_reply("teams")
)
async def export_teams(parts: Parts, _caller: Viewer, format: Format = "csv") -> Response:  # noqa: A002
    """Return all hosts with teams as a file that the import takes."""
    return await export_of(parts, TEAM_KIND, format)


@router.post(
    "/dev-hosts/import",
    response_model=trial_schemas.Plan,
    responses=schemas.errors(409),
    openapi_extra=trial_schemas.lines_file("hosts"),
)
async def import_hosts(request: Request, parts: Parts, caller: Editor, asked: Asked) -> dict[str, Any]:
    """Take development hosts from CSV or JSON, all of them or none; each bad line is named."""
    return await _import(request, parts, caller, HOST_KIND, asked)


@router.post(
    "/teams/import",
    response_model=trial_schemas.Plan,
    responses=schemas.errors(409),
    openapi_extra=trial_schemas.lines_file("teams"),
)
async def import_teams(request: Request, parts: Parts, caller: Editor, asked: Asked) -> dict[str, Any]:
    """Take hosts with their teams from CSV or JSON, all of them or none; each bad line is named."""
    return await _import(request, parts, caller, TEAM_KIND, asked)


def attachment(text: str, kind: str, name: str) -> Response:
    """Return a file to be kept."""
    return Response(text, media_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'})


async def export_of(parts: Context, kind: Kind, form: str) -> Response:
    """Return the file of all hosts or teams."""
    async with parts.database() as queries:
        rows = await all_lines(queries, kind.table)
    if form == "csv":
        return attachment(csv_of(rows, kind), "text/csv", f"mutt-{kind.topic}.csv")
    listed = [{name: row[name] for name in kind.columns} for row in rows]
    headers = {"Content-Disposition": f'attachment; filename="mutt-{kind.topic}.json"'}
    return JSONResponse({kind.key: listed}, headers=headers)


async def _import(request: Request, parts: Context, caller: Caller, kind: Kind, asked: Import) -> dict[str, Any]:
    document = await _document(request)
    said = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if said == "application/json" and document.lstrip()[:1] not in {"[", "{"}:
        raise ApiError(400, "the file is said to be JSON and is none", details={"document": "is no list or object"})
    change = change_of(request, caller)
    if asked.preview:
        return shown_plan(await preview_lines(parts, kind, document, replace=asked.replaces), applied=False)
    return shown_plan(
        await apply_lines(parts, kind, document, change, asked.seal, replace=asked.replaces), applied=True
    )


async def _document(request: Request) -> str:
    data = await read_bytes(request, DOCUMENT_MAX)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ApiError(400, f"the file is not UTF-8: {error}", details={"document": "is not UTF-8"}) from None
