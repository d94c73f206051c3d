"""An OpenAPI document in words: what each operation takes and gives, for docs/api.md and the console's page of it."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

METHODS = ("get", "post", "put", "delete")
DESCRIPTION = """\
Rules, hosts, teams, configuration, dead letters and audit. Every path is also there below `/api/v1/`, with the header
`X-API-Deprecated: true`; of the SLO alone `/api/v1/slo` is the current one.

**Who may.** A key in the header `X-API-KEY`, or the session of a signed-in browser; then anything but GET also needs
the page's token in `X-CSRF-Token`. Each operation tells the least role that it needs: a *viewer* reads; an *operator*
also replays, edits and deletes dead letters; an *editor* also changes rules, hosts and teams; an *admin* also changes
the configuration. Keys, their names and their roles are in `WEBUI_API_KEYS`.

**What comes back.** JSON, unless an operation says otherwise. Anything but 2xx is `{"error", "correlation_id"}`, with
`details` by field at a 400. Times are UTC, ISO 8601, with `Z`.

**Changes** are recorded in the same transaction, with the name of the key; an optional `reason` in the body or the
query is kept with them, and the request's `X-Correlation-ID`. What is read has a version, in the header `ETag` and as
`version`; a change that sends it back, as `If-Match` or as `version`, is refused with 412 when somebody else was
quicker, and the reply holds both versions. A change that sends none is made to whatever is stored.
"""
TAGS = {
    "rules": "What decides how an event is handled, and what a change would do before it is made.",
    "history": "What was changed of one thing, and the way back.",
    "files": "All rules, hosts or teams as a file, out and in.",
    "dev-hosts": "The hosts whose events are handled as development.",
    "teams": "The hosts whose events go to a team of their own.",
    "config": "The values that change while the services run.",
    "audit": "What became of events, and who changed what.",
    "metrics": "How many events come in, and how many wait.",
    "slo": "The service levels.",
    "dead-letters": "What MUTT gave up on: read, replayed, edited, deleted.",
}
STATUSES = {
    "400": "What was sent is not valid; `error` says what is wrong, `details` says it by field",
    "401": "No key, or one that is not known",
    "403": "The role does not suffice; or a session without its token",
    "404": "There is no such thing",
    "408": "The body did not arrive in time",
    "409": "It exists already, or is not as it was seen",
    "412": "Somebody else was quicker: both versions",
    "413": "The body is too large",
    "503": "Redis or PostgreSQL does not answer; `Retry-After` says when to try again",
    "default": "Any other error, such as a 500, whose cause is in the log under its correlation_id",
}
HEADERS = {
    "X-API-Version": {"description": "The version of the API", "schema": {"type": "string", "examples": ["v2.5"]}},
    "X-Correlation-ID": {
        "description": "The request's id, as it was sent or else made; logs and records hold it",
        "schema": {"type": "string", "format": "uuid"},
    },
    "ETag": {"description": "The version, for If-Match", "schema": {"type": "string"}},
    "WWW-Authenticate": {"description": "Where a key is expected", "schema": {"type": "string"}},
}


class Field(NamedTuple):
    """A parameter or a member; `where` is path, query or body, `need` says "required", "optional" or nothing."""

    name: str
    where: str
    need: str
    type: str
    meaning: str


class Reply(NamedTuple):
    """One status; `shape` names what comes with it, `example` is its JSON or text, "" without one."""

    status: str
    meaning: str
    shape: str
    example: str


class Operation(NamedTuple):
    """One method of one path; `body` names the body's content types, "" without one; `role` is the least that may."""

    method: str
    path: str
    about: str
    role: str
    parameters: list[Field]
    body: str
    fields: list[Field]
    example: str
    replies: list[Reply]


def operations(document: dict[str, Any]) -> dict[str, list[Operation]]:
    """Return all operations by their tag, in the document's order."""
    tags: dict[str, list[Operation]] = {}
    for path, methods in document["paths"].items():
        for method in METHODS:
            if method in methods:
                tag = (methods[method].get("tags") or ["other"])[0]
                tags.setdefault(tag, []).append(_operation(method, path, methods[method]))
    return tags


def shapes(document: dict[str, Any]) -> Iterator[tuple[str, str, list[Field]]]:
    """Yield each shape's name, what it is, and its members; none for a list of possible values."""
    for name, schema in sorted(document["components"]["schemas"].items()):
        if name.startswith(("HTTPValidation", "ValidationError")):
            continue
        if "properties" in schema:
            yield name, schema.get("description", ""), fields(schema)
        elif "enum" in schema:
            yield name, f"One of {', '.join(schema['enum'])}.", []


def fields(schema: dict[str, Any]) -> list[Field]:
    """Return the members of an object's schema."""
    required = set(schema.get("required", ()))
    return [
        Field(name, "body", "" if name in required else "optional", type_of(each), _line(each.get("description", "")))
        for name, each in schema.get("properties", {}).items()
    ]


def type_of(schema: dict[str, Any]) -> str:
    """Return a schema's type in words; another shape by its name."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(type_of(each) for each in schema["anyOf"]))
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    kind = schema.get("type")
    if isinstance(kind, list):
        return _bounded(" or ".join(kind), schema)
    if kind == "array":
        return f"list of {type_of(schema.get('items', {}))}"
    return _bounded(str(kind or "any"), schema)


def _operation(method: str, path: str, told: dict[str, Any]) -> Operation:
    parameters = [
        Field(
            each["name"],
            each["in"],
            "required" if each.get("required") and each["in"] != "path" else "",
            type_of(each["schema"]),
            _line(each.get("description", "")),
        )
        for each in told.get("parameters", ())
    ]
    content = told.get("requestBody", {}).get("content", {})
    members = [member for each in content.values() for member in fields(each.get("schema", {}))]
    return Operation(
        method.upper(),
        path,
        told.get("description", ""),
        told.get("x-role", ""),
        parameters,
        ", ".join(content),
        members,
        _example(content),
        [_reply(status, reply) for status, reply in told["responses"].items() if status != "default"],
    )


def _reply(status: str, told: dict[str, Any]) -> Reply:
    content = told.get("content", {})
    given = [type_of(each.get("schema", {})) for each in content.values()]
    shape = ", ".join(dict.fromkeys(each for each in given if each not in ("any", "string", "object")))
    return Reply(status, told.get("description", ""), shape or ", ".join(content), _example(content))


def _example(content: dict[str, Any]) -> str:
    for kind, each in content.items():
        if "example" in each and kind == "application/json":
            return json.dumps(each["example"], ensure_ascii=False, indent=2)
        if "example" in each:
            return "\n".join(str(each["example"]).splitlines())
    return ""


def _bounded(kind: str, schema: dict[str, Any]) -> str:
    low, high, default = schema.get("minimum"), schema.get("maximum"), schema.get("default")
    bounds = f", {int(low):,} to {int(high):,}" if low is not None and high is not None else ""
    if "maxLength" in schema:
        bounds = f", at most {schema['maxLength']:,} characters"
    return kind + bounds + (f", default {json.dumps(default)}" if default not in (None, "") else "")


def _line(text: str) -> str:
    return " ".join(text.split())
