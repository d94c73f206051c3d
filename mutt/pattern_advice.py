"""What is wrong with a pattern that RE2 refuses, where, and what to write instead."""

import re
from typing import NamedTuple

from mutt.regexes import refusal

_LOOK = {
    "(?!": "look-ahead",
    "(?=": "look-ahead",
    "(?<!": "look-behind",
    "(?<=": "look-behind",
}
_LOOK_AROUND = re.compile(r"\(\?<?[!=]")
_BACK_REFERENCE = re.compile(r"\\[1-9]|\(\?P=|\\k[<{']")
_ATOMIC = re.compile(r"\(\?>")
_POSSESSIVE = re.compile(r"[*+?}]\+")
# As mutt.regexes words it: the reason, then a hint in parentheses.
_HINT = re.compile(r"(?P<reason>.*) \((?P<hint>[a-z].*)\)", re.DOTALL)
_ESCAPED = re.compile(r"\\.", re.DOTALL)


class Advice(NamedTuple):
    """A problem with its place, and the remedy."""

    problem: str
    remedy: str


def advice(pattern: str) -> Advice | None:
    """Return what to tell of a pattern; None when RE2 takes it."""
    reason = refusal(pattern)
    if reason is None:
        return None
    # An escaped character keeps its place but is no operator.
    plain = _ESCAPED.sub("\0\0", pattern)
    found = _LOOK_AROUND.search(plain)
    if found is not None:
        return _look_around(pattern, found.start(), found.group())
    # Here only an escaped backslash is taken out: the operator begins with one.
    found = _BACK_REFERENCE.search(pattern.replace("\\\\", "\0\0"))
    if found is not None:
        problem = f"RE2 has no back-references: {_quoted(found.group())} at character {found.start() + 1}."
        return Advice(problem, "Write what is to be repeated a second time, or match its first half alone.")
    found = _ATOMIC.search(plain)
    if found is not None:
        problem = f"RE2 has no atomic groups: {_quoted('(?>')} at character {found.start() + 1}."
        return Advice(problem, "Write (?: instead: RE2 never backtracks, so nothing is lost.")
    found = _POSSESSIVE.search(plain)
    if found is not None:
        problem = f"RE2 has no possessive repetition: {_quoted(found.group())} at character {found.start() + 1}."
        return Advice(problem, "Leave the second sign out: RE2 never backtracks, so nothing is lost.")
    return _in_its_words(reason)


def _in_its_words(reason: str) -> Advice:
    found = _HINT.fullmatch(reason)
    if found is None:
        return Advice(reason, "See RE2's syntax.")
    remedy = found["hint"]
    return Advice(f"{found['reason']}.", remedy[:1].upper() + remedy[1:] + ".")


def _look_around(pattern: str, start: int, operator: str) -> Advice:
    kind = _LOOK[operator]
    problem = f"RE2 has no {kind}: {_quoted(operator)} at character {start + 1}."
    end = _closing(pattern, start)
    inner = pattern[start + len(operator) : end].removeprefix(".*").removesuffix(".*")
    rest = (pattern[:start] + pattern[end + 1 :]).strip()
    if operator.endswith("!") and inner and rest:
        remedy = (
            f"Write {_code(rest)} here, and give what contains {_code(inner)} a rule of its own with a higher priority."
        )
    elif inner:
        remedy = f"Write {_code(inner)} where it stands in the text, without {_quoted(operator)}."
    else:
        remedy = "Leave it out: it asks for nothing."
    return Advice(problem, remedy)


def _closing(pattern: str, start: int) -> int:
    depth, place = 0, start
    while place < len(pattern):
        if pattern[place] == "\\":
            place += 1
        elif pattern[place] == "(":
            depth += 1
        elif pattern[place] == ")":
            depth -= 1
            if depth == 0:
                return place
        place += 1
    return len(pattern)


def _quoted(text: str) -> str:
    return f'"{text}"'


def _code(text: str) -> str:
    # What is shown turns backticks into code; a pattern with one of its own is quoted.
    return _quoted(text) if "`" in text else f"`{text}`"
