"""Environment variables as typed fields of frozen dataclasses: one declaration holds name and limits."""

import dataclasses
import re
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from mutt.errors import SettingsError

TRUE_WORDS = frozenset({"1", "true", "yes", "on"})
FALSE_WORDS = frozenset({"0", "false", "no", "off"})

Settings = TypeVar("Settings")


@dataclass(frozen=True, slots=True)
class Variable:
    """What is known of one variable; `low` and `high` are inclusive."""

    name: str
    default: Any
    purpose: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    pattern: str | None = None
    required: bool = False


def var(  # dataclasses' own field() is typed to return Any for the same reason
    name: str,
    default: Any,
    purpose: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    pattern: str | None = None,
    required: bool = False,
) -> Any:
    """Declare a dataclass field that is read from the environment variable `name`."""
    known = Variable(name, default, purpose, low, high, choices, pattern, required)
    return field(default=default, metadata={"variable": known})


def read(cls: type[Settings], environ: Mapping[str, str]) -> Settings:
    """Build `cls` from `environ`, nested settings likewise. Raises SettingsError naming every fault."""
    faults: list[str] = []
    settings = _read(cls, environ, faults)
    if faults:
        raise SettingsError("\n".join(faults))
    return settings


def variables(cls: type[Any]) -> Iterator[tuple[Variable, Any]]:
    """Yield each variable that `cls` reads with its type, nested ones included, in order of declaration."""
    hints = typing.get_type_hints(cls)
    for item in dataclasses.fields(cls):
        known = item.metadata.get("variable")
        if known is not None:
            yield known, hints[item.name]
        elif dataclasses.is_dataclass(hints[item.name]):
            yield from variables(hints[item.name])


def _read(cls: type[Settings], environ: Mapping[str, str], faults: list[str]) -> Settings:
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for item in dataclasses.fields(cls):  # type: ignore[arg-type]
        known = item.metadata.get("variable")
        if known is None:
            if dataclasses.is_dataclass(hints[item.name]):
                values[item.name] = _read(hints[item.name], environ, faults)
            continue
        # An empty value is what a unit file or a manifest leaves for "not set".
        text = environ.get(known.name, "").strip()
        if text:
            try:
                values[item.name] = _convert(known, hints[item.name], text)
            except ValueError as error:
                faults.append(f"{known.name}={text!r} is not possible: {error}")
        elif known.required:
            faults.append(f"{known.name} is not set: {known.purpose}")
    return cls(**values)


def _convert(known: Variable, hint: Any, text: str) -> Any:
    if isinstance(hint, types.UnionType):
        hint = next(option for option in typing.get_args(hint) if option is not type(None))
    if hint is bool:
        return _boolean(text)
    if hint in (int, float):
        return _number(known, hint, text)
    if typing.get_origin(hint) is tuple:
        items = tuple(part.strip() for part in text.split(",") if part.strip())
        if not items:
            raise ValueError("give at least one name, separated by commas")
        return items
    if known.choices:
        matches = [choice for choice in known.choices if choice.lower() == text.lower()]
        if not matches:
            raise ValueError(f"allowed are {', '.join(known.choices)}")
        return matches[0]
    if known.pattern and not re.fullmatch(known.pattern, text):
        raise ValueError(f"it has to match {known.pattern}")
    return text


def _boolean(text: str) -> bool:
    word = text.lower()
    if word in TRUE_WORDS:
        return True
    if word in FALSE_WORDS:
        return False
    raise ValueError("allowed are true and false")


def _number(known: Variable, kind: type[int] | type[float], text: str) -> float:
    try:
        value = kind(text)
    except ValueError:
        raise ValueError(f"{'a whole number' if kind is int else 'a number'} is needed") from None
    too_low = known.low is not None and not value >= known.low
    if too_low or (known.high is not None and not value <= known.high):
        low = "" if known.low is None else f"at least {known.low:.12g}"
        high = "" if known.high is None else f"at most {known.high:.12g}"
        raise ValueError("allowed is " + " and ".join(part for part in (low, high) if part))
    return value
