"""Which settings the code uses: a variable that nothing reads promises what does not happen."""

import ast
import dataclasses
import typing
from collections.abc import Iterator
from functools import cache
from typing import Any

from tests.contract.sheet import ROOT


@cache
def attributes_read() -> frozenset[str]:
    """Return every attribute name that the services and the core read."""
    names: set[str] = set()
    for folder in ("mutt", "services"):
        for path in (ROOT / folder).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return frozenset(names)


def fields(cls: type[Any]) -> Iterator[tuple[str, str]]:
    """Yield (name of the variable, name of the field) of a settings class and of those within."""
    hints = typing.get_type_hints(cls)
    for item in dataclasses.fields(cls):
        if "variable" in item.metadata:
            yield item.metadata["variable"].name, item.name
        elif dataclasses.is_dataclass(hints[item.name]):
            yield from fields(hints[item.name])
