"""An OpenAPI document in words: what each operation takes and gives, for docs/api.md and the console's page of it."""

from collections.abc import Iterator
from typing import Any, NamedTuple

METHODS = ("get", "post", "put", "delete")
OF_ALL = frozenset({"400", "401", "403", "503", "default"})  # replies that every operation has


class Field(NamedTuple):
    """A parameter or a member; `where` is path, query or body, `need` says "required", "optional" or nothing."""

    name: str
    where: str
    need: str
    type: str
    meaning: str


class Operation(NamedTuple):
    """One method of one path; `body` names the body's content types, "" without one."""

    method: str
    path: str
    about: str
    parameters: list[Field]
    body: str
    fields: list[Field]
    replies: list[str]


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
        return " or ".join(kind)
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
        method.upper(), path, told.get("description", ""), parameters, ", ".join(content), members, _replies(told)
    )


def _replies(told: dict[str, Any]) -> list[str]:
    replies = []
    for status, reply in told["responses"].items():
        if status in OF_ALL:
            continue
        given = [type_of(content.get("schema", {})) for content in reply.get("content", {}).values()]
        named = [each for each in given if each != "any"]
        replies.append(f"{status} with {', '.join(named)}" if named and status.startswith("2") else status)
    return replies


def _bounded(kind: str, schema: dict[str, Any]) -> str:
    low, high, default = schema.get("minimum"), schema.get("maximum"), schema.get("default")
    bounds = f", {int(low):,} to {int(high):,}" if low is not None and high is not None else ""
    return kind + bounds + (f", default {default}" if default not in (None, "") else "")


def _line(text: str) -> str:
    return " ".join(text.split())
