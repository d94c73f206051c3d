"""docs/api.md, written from the description that the web UI gives of itself."""

from collections.abc import Iterable, Iterator
from typing import Any

from mutt.api_words import Field, Operation, operations, shapes

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


def reference(document: dict[str, Any], generated: str) -> str:
    """Return the page's text."""
    lines = ["# API", "", generated, "", INTRODUCTION]
    known = set(document["components"]["schemas"])
    for tag, told in operations(document).items():
        lines += [f"## {tag}", ""]
        for operation in told:
            lines += _operation(operation, known)
    lines += ["## Shapes", ""]
    for name, about, members in shapes(document):
        lines += [f"### {name}", "", about, "", *_table(members, known)]
    return "\n".join(lines).rstrip() + "\n"


def _operation(told: Operation, known: set[str]) -> Iterator[str]:
    yield from (f"### {told.method} {told.path}", "", told.about, "")
    yield from _table(told.parameters, known)
    if told.body:
        yield from (f"Body, {told.body}:" if told.fields else f"Body: {told.body}.", "")
        yield from _table(told.fields, known)
    yield from (f"Replies: {'; '.join(_linked(reply, known) for reply in told.replies)}.", "")


def _table(members: Iterable[Field], known: set[str]) -> list[str]:
    rows = [
        f"| `{each.name}` | {', '.join(filter(None, (each.where, each.need)))} | {_linked(each.type, known)} "
        f"| {_cell(each.meaning)} |"
        for each in members
    ]
    return ["| name | in | type | meaning |", "|---|---|---|---|", *rows, ""] if rows else []


def _linked(text: str, known: set[str]) -> str:
    """Return a type with links to the shapes that it names."""
    words = (f"[{word}](#{word.lower()})" if word in known else word for word in _cell(text).split(" "))
    return " ".join(words)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
