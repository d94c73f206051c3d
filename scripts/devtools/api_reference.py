"""docs/api.md, written from the description that the web UI gives of itself."""

from collections.abc import Iterator
from typing import Any

INTRODUCTION = """\
The web UI's API, on port 8090. Every path is also there below `/api/v1/`, with the header `X-API-Deprecated: true`;
of the SLO alone `/api/v1/slo` is the current one. The API describes itself at `/api/v2/openapi.json`.

**Who may.** A key in the header `X-API-KEY`, or the session of a signed-in browser; then anything but GET also needs
the page's token in `X-CSRF-Token`. A *viewer* reads; an *operator* also replays, edits and deletes dead letters; an
*editor* also changes rules, hosts and teams; an *admin* also changes the configuration. Keys, their names and their
roles are in `WEBUI_API_KEYS`.

**What comes back.** JSON, with `X-API-Version` and `X-Correlation-ID`. Anything but 2xx is `{"error",
"correlation_id"}`, with `details` by field at a 400. 401: no key, or one that is not known. 403: the role does not
suffice. 404: there is no such thing. 409: it exists already, or is not as it was seen. 412: it was changed meanwhile.
413: the body is too large. 503: Redis or PostgreSQL does not answer; the header `Retry-After` says when to try again.
Times are UTC, ISO 8601, with `Z`.

**Changes** are recorded in the same transaction, with the name of the key; an optional `reason` in the body or the
query is kept with them.
"""
METHODS = ("get", "post", "put", "delete")
OF_ALL = frozenset({"400", "401", "403", "503", "default"})  # replies that every path has


def reference(document: dict[str, Any], generated: str) -> str:
    """Return the page's text."""
    lines = ["# API", "", generated, "", INTRODUCTION]
    tags: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method in METHODS:
            if method in methods:
                operation = methods[method]
                tag = (operation.get("tags") or ["other"])[0]
                tags.setdefault(tag, []).extend(_operation(method, path, operation))
    for tag, told in tags.items():
        lines += [f"## {tag}", "", *told]
    lines += ["## Shapes", ""]
    for name, schema in sorted(document["components"]["schemas"].items()):
        if "properties" in schema and not name.startswith(("HTTPValidation", "ValidationError")):
            lines += [f"### {name}", "", schema.get("description", ""), "", *_fields(schema), ""]
        elif "enum" in schema:
            lines += [f"### {name}", "", f"One of {', '.join(f'`{value}`' for value in schema['enum'])}.", ""]
    return "\n".join(lines).rstrip() + "\n"


def _operation(method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    yield from (f"### {method.upper()} {path}", "", operation.get("description", ""), "")
    if parameters := operation.get("parameters"):
        yield from ("| parameter | in | type | meaning |", "|---|---|---|---|")
        for each in parameters:
            about = _cell(each.get("description", ""))
            need = ", required" if each.get("required") and each["in"] != "path" else ""
            yield f"| `{each['name']}` | {each['in']}{need} | {_type(each['schema'])} | {about} |"
        yield ""
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        schema = content.get("schema", {})
        yield from (f"Body, {kind}:" if schema.get("properties") else f"Body, {kind}: {_type(schema)}", "")
        if schema.get("properties"):
            yield from (*_fields(schema), "")
    yield from (_replies(operation["responses"]), "")


def _replies(responses: dict[str, Any]) -> str:
    told = []
    for status, reply in responses.items():
        if status in OF_ALL:
            continue
        shapes = [_type(content.get("schema", {})) for content in reply.get("content", {}).values()]
        is_error = status.startswith(("4", "5"))
        told.append(f"{status}" + (f" with {', '.join(filter(None, shapes))}" if any(shapes) and not is_error else ""))
    return f"Replies: {'; '.join(told)}."


def _fields(schema: dict[str, Any]) -> list[str]:
    required = set(schema.get("required", ()))
    lines = ["| field | type | meaning |", "|---|---|---|"]
    for name, each in schema["properties"].items():
        need = "" if name in required else ", optional"
        lines.append(f"| `{name}` | {_type(each)}{need} | {_cell(each.get('description', ''))} |")
    return lines


def _type(schema: dict[str, Any]) -> str:
    """Return a schema's type in words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(each) for each in schema["anyOf"]))
    if "enum" in schema:
        return "one of " + ", ".join(f"`{value}`" for value in schema["enum"])
    kind = schema.get("type")
    if isinstance(kind, list):
        return " or ".join(kind)
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return _bounded(str(kind or "any"), schema)


def _bounded(kind: str, schema: dict[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    bounds = f", {int(low):,} to {int(high):,}" if low is not None and high is not None else ""
    default = schema.get("default")
    told = f", default `{default}`" if default not in (None, "") else ""
    return f"{kind}{bounds}{told}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
