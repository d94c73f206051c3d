"""Checks of single values that people send; each returns the value or raises with what would be right."""

from collections.abc import Callable, Collection, Mapping
from enum import StrEnum
from typing import Any

SHOWN_MAX = 80

Check = Callable[[Any], Any]


def check_fields(
    values: Mapping[str, Any], checks: Mapping[str, Check], ignored: Collection[str] = ()
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the values that pass, and for each other field what is wrong with it; absent counts as null."""
    unknown = f"unknown field; known are {', '.join(checks)}"
    details = {field: unknown for field in values if field not in checks and field not in ignored}
    valid: dict[str, Any] = {}
    for field, check in checks.items():
        try:
            valid[field] = check(values.get(field))
        except (TypeError, ValueError) as error:
            details[field] = str(error)
    return valid, details


def text(most: int, *, required: bool = False) -> Check:
    """Check a string of at most `most` characters; a required one is stripped and must hold something."""

    def check(value: Any) -> str | None:
        if value is None and not required:
            return None
        if value is None:
            raise ValueError(f"is required; text of 1 to {most} characters")
        if not isinstance(value, str):
            raise TypeError("a string is required" if required else "a string or null is required")
        if not value or (required and not value.strip()):
            raise ValueError("must not be empty" if required else "must not be empty; use null for none")
        if len(value) > most:
            raise ValueError(f"has {len(value)} characters; at most {most} are allowed")
        if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in value):
            raise ValueError("must not hold NUL or lone surrogate characters")
        return value.strip() if required else value

    return check


def choice(choices: tuple[StrEnum, ...]) -> Check:
    """Check that a string is one of the choices."""
    allowed = ", ".join(choices)

    def check(value: Any) -> str:
        if value is None:
            raise ValueError(f"is required; allowed are {allowed}")
        if not isinstance(value, str) or value not in {str(each) for each in choices}:
            raise ValueError(f"{shown(value)} is not allowed; allowed are {allowed}")
        return value

    return check


def whole(low: int, high: int, *, required: bool = False) -> Check:
    """Check a whole number, bounds included."""

    def check(value: Any) -> int | None:
        if value is None:
            if required:
                raise ValueError(f"is required; a whole number from {low} to {high}")
            return None
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            null = "" if required else ", or null"
            raise ValueError(f"{shown(value)} is not allowed; a whole number from {low} to {high}{null}")
        return value

    return check


def boolean(value: Any) -> bool:
    """Check a truth value; null means true."""
    if value is None:
        return True
    if not isinstance(value, bool):
        raise TypeError(f"{shown(value)} is not allowed; true or false (absent means true)")
    return value


def shown(value: Any) -> str:
    """Return a value as an error message quotes it."""
    return repr(value)[:SHOWN_MAX]
