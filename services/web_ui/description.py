"""The API as it describes itself: what the code says of each endpoint, and what follows from that."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from mutt.api_words import DESCRIPTION, HEADERS, STATUSES, TAGS
from services.runtime.health import VERSION
from services.web_ui.context import Needs
from services.web_ui.keyring import Role
from services.web_ui.replies import SAFE_METHODS
from services.web_ui.sessions import CSRF_HEADER, SESSION

# One true exchange for each reply of each endpoint, recorded by tests/service/test_web_ui_contract.py.
EXAMPLES = Path(__file__).with_name("api_examples.json")
_SCHEMES: dict[str, dict[str, str]] = {
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": SESSION,
        "description": "The session of a person who signed in at /sign-in",
    },
    "csrf": {
        "type": "apiKey",
        "in": "header",
        "name": CSRF_HEADER,
        "description": "The token of that session's pages; needed beside the cookie for anything but GET",
    },
}


class Api(FastAPI):
    """The web UI's app, with a description of the API that leaves nothing out."""

    def __init__(self) -> None:
        self._roles: dict[tuple[str, str], Role | None] = {}
        # The description has a route of its own, which asks for a key like the rest of the API.
        super().__init__(
            title="MUTT web UI",
            version=VERSION,
            description=DESCRIPTION,
            openapi_url=None,
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,
            openapi_tags=[{"name": name, "description": about} for name, about in TAGS.items()],
            generate_unique_id_function=lambda route: route.name,
        )

    def openapi(self) -> dict[str, Any]:
        """Return the description; it is made once."""
        if self.openapi_schema is None:
            self.openapi_schema = _completed(super().openapi(), self._roles)
        return self.openapi_schema

    def include_router(self, router: APIRouter, *args: Any, **named: Any) -> None:
        """Include endpoints, and keep the role that each needs."""
        for route in router.routes:
            if isinstance(route, APIRoute):
                self._roles |= {(route.path_format, method): role_of(route) for method in route.methods or ()}
        super().include_router(router, *args, **named)


def role_of(route: APIRoute) -> Role | None:
    """Return the role that an endpoint needs, None where it needs none."""
    return next((each.call.role for each in _dependencies(route.dependant) if isinstance(each.call, Needs)), None)


def _dependencies(dependant: Dependant) -> Iterator[Dependant]:
    for each in dependant.dependencies:
        yield each
        yield from _dependencies(each)


def _completed(document: dict[str, Any], roles: Mapping[tuple[str, str], Role | None]) -> dict[str, Any]:
    components = document["components"]
    components["securitySchemes"] |= _SCHEMES
    components["headers"] = HEADERS
    examples = json.loads(EXAMPLES.read_text(encoding="utf-8")) if EXAMPLES.exists() else {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            _complete(operation, method.upper(), roles[path, method.upper()] or Role.VIEWER)
            _exemplify(operation, examples.get(f"{method.upper()} {path}", {}))
    return document


def _complete(operation: dict[str, Any], method: str, role: Role) -> None:
    """Add what follows from the role, the method and the body."""
    is_safe = method in SAFE_METHODS
    operation["x-role"] = role.name.lower()
    operation["security"] = [{"APIKeyHeader": []}, {"session": []} if is_safe else {"session": [], "csrf": []}]
    responses = operation["responses"]
    if not is_safe or role > Role.VIEWER:
        responses["403"] = _error()
    if "requestBody" in operation:
        responses |= {status: _error() for status in ("400", "408", "413")}
    for status, response in responses.items():
        if status in STATUSES:
            response["description"] = STATUSES[status]
        response["headers"] = {
            name: {"$ref": f"#/components/headers/{name}"} for name in _headers(method, status, operation)
        }
    operation["responses"] = dict(sorted(responses.items()))


def _error() -> dict[str, Any]:
    return {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}


def _headers(method: str, status: str, operation: dict[str, Any]) -> Iterator[str]:
    yield from ("X-API-Version", "X-Correlation-ID")
    if status.startswith("2") and "If-Match" in str(operation.get("parameters")) and method != "DELETE":
        yield "ETag"
    if status == "401":
        yield "WWW-Authenticate"


def _exemplify(operation: dict[str, Any], recorded: dict[str, Any]) -> None:
    request = recorded.get("request", {})
    for parameter in operation.get("parameters", ()):
        if parameter["name"] in request.get("parameters", {}):
            parameter["example"] = request["parameters"][parameter["name"]]
    if "body" in request:
        operation["requestBody"]["content"][request["type"]]["example"] = request["body"]
    for status, reply in recorded.get("replies", {}).items():
        content = operation["responses"].get(status, {}).get("content", {})
        if reply["type"] in content:
            content[reply["type"]]["example"] = reply["body"]
