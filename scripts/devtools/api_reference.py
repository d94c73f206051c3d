"""docs/api.md, written from the description that the web UI gives of itself."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from mutt.api_words import STATUSES, Field, Operation, Reply, operations, shapes

OWN = frozenset({"400", "404", "409", "412"})  # refusals whose words differ from endpoint to endpoint
INTRODUCTION = """\
The web UI's API, on port 8090; it describes itself at `/api/v2/openapi.json`, and the console shows that at
`/help/api`. The examples are recorded from the service that the tests run, long lists cut.
"""


def reference(document: dict[str, Any], generated: str) -> str:
    """Return the page's text."""
    lines = ["# API", "", generated, "", INTRODUCTION, document["info"]["description"]]
    lines += [
        "| status | what it says |",
        "|---|---|",
        *(f"| {name} | {says} |" for name, says in STATUSES.items()),
        "",
    ]
    abouts = {tag["name"]: tag["description"] for tag in document.get("tags", ())}
    known = set(document["components"]["schemas"])
    for tag, told in operations(document).items():
        lines += [f"## {tag}", "", abouts.get(tag, ""), ""]
        for operation in told:
            lines += _operation(operation, known)
    lines += ["## Shapes", ""]
    for name, about, members in shapes(document):
        lines += [f"### {name}", "", about, "", *_table(members, known)]
    return "\n".join(lines).rstrip() + "\n"


def _operation(told: Operation, known: set[str]) -> Iterator[str]:
    yield from (f"### {told.method} {told.path}", "", f"{told.about} Needs the role {told.role}.", "")
    yield from _table(told.parameters, known)
    if told.body:
        yield from (f"Body, {told.body}:" if told.fields else f"Body: {told.body}.", "")
        yield from _table(told.fields, known)
        yield from _code(told.example)
    yield from _replies(told.replies, known)


def _replies(replies: Iterable[Reply], known: set[str]) -> Iterator[str]:
    """Yield what succeeds with its example, and a line for each refusal with the words of its own."""
    for each in replies:
        if each.status.startswith("2"):
            yield from (f"Reply {each.status}, {_linked(each.shape, known)}:" if each.shape else "Reply:", "")
            yield from _code(each.example)
    others = [each for each in replies if not each.status.startswith("2")]
    own = [each for each in others if each.status in OWN]
    yield f"Refusals: {', '.join(each.status for each in others)}." + (" Such as:" if own else "")
    yield ""
    for each in own:
        yield f"- {each.status}: {_cell(json.loads(each.example)['error'] if each.example else each.meaning)}"
    if own:
        yield ""


def _code(example: str) -> Iterator[str]:
    if example:
        yield from ("```json" if example.startswith(("{", "[")) else "```text", example, "```", "")


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
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
