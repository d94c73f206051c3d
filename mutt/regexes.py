"""Regular expressions that cannot stall: RE2, case-insensitive, with a bounded program each."""

from collections.abc import Sequence
from typing import Protocol

import re2

# Bytes that RE2 may use for one rule's program and its cache of states; past it a pattern is refused.
REGEX_MEMORY = 512 * 1024
# Bytes that one set of patterns may use; past it RE2 answers "nothing matches", which the sentinel reveals.
SET_MEMORY = 32 * 1024 * 1024
SET_SIZE = 512  # twice as many are compiled in one call of tens of milliseconds, which lets no other thread run

_NO_BACK_REFERENCE = "back-references are not supported: write what is to be repeated a second time"
_HINTS = (
    ("invalid perl operator: (?#", "leave the comment out: the rule's description has room for it"),
    ("invalid perl operator: (?(", "there are no conditions: write both cases with |"),
    ("invalid perl operator: (?", "look-around, back-references and inline comments are not supported"),
    ("invalid escape sequence: \\Z", r"write \z for the end of the text"),
    *((f"invalid escape sequence: \\{digit}", _NO_BACK_REFERENCE) for digit in range(1, 10)),
    ("invalid escape sequence: \\", r"use what RE2 knows: \d \w \s \b \A \z; for the character itself leave the \ out"),
    ("trailing \\", r"write \\ for the character itself"),
    ("invalid character class range: \\p", r"no group of characters is named so; \pL are letters, \pN are numbers"),
    ("invalid character class range", "the lower end stands first, as in a-z"),
    ("bad repetition operator", "one repetition a term, as in a* or (?:a+)*; possessive ones are not supported"),
    ("no argument for repetition operator", r"to match the character itself put a \ before it"),
    (
        "invalid repetition size",
        "at most 1000 repetitions in all, those within others multiplied, the lower bound first; + has no bound",
    ),
    ("missing )", r"close the group, or write \( for the character"),
    ("unexpected )", r"open the group, or write \) for the character"),
    ("missing ]", r"close the class, or write \[ for the character"),
    ("pattern too large", "use fewer or smaller repetitions and classes"),
)


class Searcher(Protocol):
    """A compiled pattern."""

    def search(self, text: bytes) -> object | None:
        """Return None where the pattern is nowhere in `text` (UTF-8)."""


def compile_regex(pattern: str) -> Searcher:
    """Compile a rule's pattern; raises ValueError with RE2's reason and a hint."""
    try:
        compiled: Searcher = re2.compile(pattern.encode(), _options(REGEX_MEMORY))
    except re2.error as error:
        raise ValueError(_explained(error)) from None
    except UnicodeEncodeError:
        raise ValueError("the pattern holds a lone surrogate character") from None
    return compiled


def refusal(pattern: str) -> str | None:
    """Return why a pattern cannot be a rule's; None when it can."""
    try:
        compile_regex(pattern)
    except ValueError as error:
        return str(error)
    return None


class RegexSet:
    """Many patterns searched at once; it may name patterns that do not match, and never omits one that does.

    Out of memory for its states RE2::Set reports that nothing matches. A pattern that matches every text is
    therefore part of each set: where even that one is not reported, every pattern is named.
    """

    __slots__ = ("_parts",)

    def __init__(self, patterns: Sequence[str], memory: int = SET_MEMORY, size: int = SET_SIZE) -> None:
        """Patterns must each pass compile_regex; `memory` is in bytes for each `size` of them."""
        self._parts = [
            (start, len(patterns[start : start + size]), _compile_set(patterns[start : start + size], memory))
            for start in range(0, len(patterns), size)
        ]

    def candidates(self, text: bytes, below: int) -> list[int]:
        """Return indexes, in no order, of the patterns that may match; parts wholly at or past `below` are skipped."""
        found: list[int] = []
        for start, count, compiled in self._parts:
            if start >= below:
                break
            matched = compiled.Match(text) if compiled is not None else None
            if matched is None:
                found += range(start, start + count)
            else:
                found += [start + index for index in matched if index < count]
        return found


def _compile_set(patterns: Sequence[str], memory: int) -> "re2.Set | None":
    compiled = re2.Set.SearchSet(_options(memory))
    for pattern in patterns:
        compiled.Add(pattern.encode())
    compiled.Add(b"")
    try:
        compiled.Compile()
    except re2.error:
        return None
    return compiled


def _options(memory: int) -> "re2.Options":
    options = re2.Options()
    options.case_sensitive = False
    options.never_capture = True
    options.log_errors = False
    options.max_mem = memory
    return options


def _explained(error: Exception) -> str:
    reason = error.args[0] if error.args else str(error)
    text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
    hint = next((hint for start, hint in _HINTS if text.startswith(start)), "see RE2's syntax")
    return f"RE2 refuses the pattern: {text} ({hint})"
