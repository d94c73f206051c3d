"""Which literal texts a regular expression cannot match without, so that most need not be tried at all.

The reader is conservative: whatever it does not know for certain yields fewer literals, never a wrong one.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

# Each option is a set of literals of which at least one is in every text that the pattern matches.
Option = frozenset[str]

LITERALS_MAX = 32
DEPTH_MAX = 40

_REPEAT = re.compile(r"\*|\+|\?|\{(\d+)(?:,\d*)?\}")
_GROUP = re.compile(r"\((?:\?(?::|P?<\w+>|[imsU-]+:))?(?!\?)")
_FLAGS = re.compile(r"\(\?[imsU-]+\)")
_CLASS_ITEM = re.compile(r"\[:\^?\w+:\]|\\.|[^\]]", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:[dDsSwWbBAzntrfva]|[pP](?:\{\^?\w+\}|\w)|x(?:\{[0-9A-Fa-f]+\}|[0-9A-Fa-f]{2}))")


class _Unknown(Exception):  # noqa: N818
    """The pattern uses what this reader does not follow."""


class _Term(NamedTuple):
    literal: str | None
    options: list[Option]


def required_literals(pattern: str) -> list[Option]:
    """Return what a text must hold for `pattern` to match it, in lower-case ASCII; [] when nothing is certain.

    The literals hold for `text.casefold()`: RE2's simple folding of an ASCII letter never leaves the class of
    characters that casefold to that letter.
    """
    try:
        options, end = _alternation(pattern, 0, 0)
    except _Unknown:
        return []
    return options if end == len(pattern) else []


def _alternation(pattern: str, at: int, depth: int) -> tuple[list[Option], int]:
    if depth > DEPTH_MAX:
        raise _Unknown
    branches: list[list[Option]] = []
    while True:
        options, at = _sequence(pattern, at, depth)
        branches.append(options)
        if at >= len(pattern) or pattern[at] != "|":
            break
        at += 1
    if len(branches) == 1:
        return branches[0], at
    if not all(branches):
        return [], at
    union = frozenset[str]().union(*(max(options, key=_shortest) for options in branches))
    return ([union] if len(union) <= LITERALS_MAX else []), at


def _shortest(option: Option) -> int:
    return min(map(len, option))


def _sequence(pattern: str, at: int, depth: int) -> tuple[list[Option], int]:
    options: list[Option] = []
    run = ""
    while at < len(pattern) and pattern[at] not in "|)":
        term, at = _term(pattern, at, depth)
        least, at, repeated = _repetition(pattern, at)
        if term.literal is not None and least > 0:
            run += term.literal
        if term.literal is None or repeated:
            if run:
                options.append(frozenset((run,)))
            run = ""
        if least > 0:
            options += term.options
    if run:
        options.append(frozenset((run,)))
    return options, at


def _term(pattern: str, at: int, depth: int) -> tuple[_Term, int]:
    character = pattern[at]
    reader = _READERS.get(character)
    if reader is not None:
        return reader(pattern, at, depth)
    # A brace that opens no repetition is a literal of RE2; it is taken as unknown text all the same.
    if character.isascii() and character.isprintable() and character not in ".^$*+?{":
        return _Term(character.lower(), []), at + 1
    return _Term(None, []), at + 1


def _escape(pattern: str, at: int, depth: int) -> tuple[_Term, int]:  # noqa: ARG001
    known = _ESCAPE.match(pattern, at)
    if known:
        return _Term(None, []), known.end()
    escaped = pattern[at + 1 : at + 2]
    if escaped.isascii() and escaped.isprintable() and escaped and not escaped.isalnum() and escaped != "_":
        return _Term(escaped, []), at + 2
    raise _Unknown


def _group(pattern: str, at: int, depth: int) -> tuple[_Term, int]:
    flags = _FLAGS.match(pattern, at)
    if flags:
        if _REPEAT.match(pattern, flags.end()):
            raise _Unknown  # RE2 repeats what stands before the flags
        return _Term(None, []), flags.end()
    opening = _GROUP.match(pattern, at)
    if not opening:
        raise _Unknown
    options, end = _alternation(pattern, opening.end(), depth + 1)
    if pattern[end : end + 1] != ")":
        raise _Unknown
    return _Term(None, options), end + 1


def _class(pattern: str, at: int, depth: int) -> tuple[_Term, int]:  # noqa: ARG001
    at += 1
    if pattern.startswith("^", at):
        at += 1
    if pattern.startswith("]", at):
        at += 1
    while not pattern.startswith("]", at):
        item = _CLASS_ITEM.match(pattern, at)
        if not item:
            raise _Unknown
        at = item.end()
    return _Term(None, []), at + 1


def _repetition(pattern: str, at: int) -> tuple[int, int, bool]:
    """Return the least number of repetitions, the place behind them, and whether there was an operator."""
    repeat = _REPEAT.match(pattern, at)
    if not repeat:
        return 1, at, False
    operator = repeat.group()
    least = int(repeat.group(1)) if operator[0] == "{" else int(operator == "+")
    end = repeat.end()
    return least, end + pattern.startswith("?", end), True


_READERS: dict[str, Callable[[str, int, int], tuple[_Term, int]]] = {
    "\\": _escape,
    "(": _group,
    "[": _class,
}
