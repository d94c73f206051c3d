"""YAML as plain values with their lines, built while it is read, so that a document ends where it grows too long.

The loaders of PyYAML build all of a document first, in C code that lets nobody else run meanwhile, and follow aliases
of aliases, which make gigabytes of a few lines.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import yaml

from mutt.errors import RuleError

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NOTHING = object()
_DIGITS_MAX = 18


class Document(NamedTuple):
    """What a document holds; `lines` says where each object begins, by its identity."""

    value: Any
    lines: dict[int, int]


def load(text: str, most: int, too_long: str) -> Document:
    """Return what a document holds; raises RuleError, with `too_long` once it has more than `most` parts."""
    try:
        return _build(_events(text, most, too_long))
    except (yaml.YAMLError, ValueError) as error:
        raise RuleError({"document": f"is not YAML: {' '.join(str(error).split())[:300]}"}) from None


def _events(text: str, most: int, too_long: str) -> Iterator[Any]:
    documents = 0
    for number, event in enumerate(yaml.parse(text, Loader=_Loader)):
        if number >= most:
            raise RuleError({"document": too_long})
        if isinstance(event, yaml.AliasEvent):
            raise RuleError(
                {"document": f"has an alias (*{event.anchor}){_place(event)}: write out what it stands for"}
            )
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise RuleError({"document": f"is followed by another{_place(event)}: one is taken"})
        if isinstance(event, yaml.NodeEvent | yaml.CollectionEndEvent):
            yield event


def _build(events: Iterator[Any]) -> Document:
    found: Any = None
    lines: dict[int, int] = {}
    # Each collection that is open, and of an object the key that waits for its value.
    above: list[tuple[Any, Any]] = []
    into: Any = _NOTHING
    key: Any = _NOTHING
    for event in events:
        if isinstance(event, yaml.CollectionEndEvent):
            into, key = above.pop()
            continue
        value = _value(event)
        if into is _NOTHING:
            found = value
        elif isinstance(into, list):
            into.append(value)
        elif key is _NOTHING:
            if isinstance(value, list | dict):
                raise RuleError({"document": f"has a key that is no text{_place(event)}"})
            key = value
            continue
        else:
            into[key] = value
            key = _NOTHING
        if isinstance(event, yaml.CollectionStartEvent):
            lines[id(value)] = _line(event)
            above.append((into, key))
            into, key = value, _NOTHING
    return Document(found, lines)


def _value(event: Any) -> Any:
    if event.tag is not None and event.tag != "!":
        raise RuleError({"document": f"has a tag ({event.tag[:60]}){_place(event)}: values are told by how they look"})
    if isinstance(event, yaml.MappingStartEvent):
        return {}
    if isinstance(event, yaml.SequenceStartEvent):
        return []
    text: str = event.value
    if not event.implicit[0]:
        return text
    if text.isascii() and text.isdecimal() and text[0] != "0" and len(text) <= _DIGITS_MAX:
        return int(text)
    return _plain(text) if len(text) <= 100 else text  # noqa: PLR2004  (no number or time is that long)


@lru_cache(maxsize=4096)
def _plain(text: str) -> Any:
    """Return what a word stands for that is not quoted: a number, a truth value, a time, nothing, or itself."""
    loader = yaml.SafeLoader("")
    tag: str = loader.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    if tag in {"tag:yaml.org,2002:merge", "tag:yaml.org,2002:value"}:
        return text
    return loader.construct_object(yaml.ScalarNode(tag, text))


def _place(event: Any) -> str:
    return f" in line {_line(event)}"


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1
