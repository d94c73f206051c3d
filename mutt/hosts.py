"""What makes an entry of the development hosts or of the teams valid."""

import re
from collections.abc import Mapping
from typing import Any

from mutt.checks import Check, check_fields, shown, text
from mutt.errors import RuleError
from mutt.handling import normalise_host
from mutt.rules import TEAM_MAX

HOSTNAME_MAX = 255
# What separates words, paths and queries is in no hostname or address; everything else is the sender's business.
_FORBIDDEN = re.compile(r"[\s/?#\x00-\x1f\x7f]")
_READ_ONLY = frozenset({"id", "version", "created_at", "updated_at"})


def hostname(value: Any) -> str:
    """Check a hostname or an address and return it in the form in which events are compared."""
    name: str = text(HOSTNAME_MAX, required=True)(value)
    if _FORBIDDEN.search(name):
        raise ValueError(f"{shown(name)} is no hostname; no blanks, slashes, ? or # are allowed")
    normal = normalise_host(name)
    if not normal:
        raise ValueError("must hold more than dots")
    return normal


HOST_FIELDS: dict[str, Check] = {"hostname": hostname}
TEAM_FIELDS: dict[str, Check] = {"hostname": hostname, "team_assignment": text(TEAM_MAX, required=True)}


def validate_host(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a development host's fields; raises RuleError with what is wrong of each."""
    return _validated(values, HOST_FIELDS)


def validate_team(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a host's team; raises RuleError with what is wrong of each."""
    return _validated(values, TEAM_FIELDS)


def _validated(values: Mapping[str, Any], fields: Mapping[str, Check]) -> dict[str, Any]:
    valid, details = check_fields(values, fields, _READ_ONLY)
    if details:
        raise RuleError(details)
    return valid
