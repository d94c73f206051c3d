"""Realistic syslog and trap events out of the templates of samples.yaml."""

import random
import string
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from scripts.devtools.instance import UserError

KINDS = ("syslog", "trap", "unhandled")
DEFAULT_MIX = "syslog=7,trap=2,unhandled=1"
USERS = ("root", "admin", "oracle", "jdoe", "backup")


def parse_mix(text: str) -> dict[str, int]:
    """Return the weight of each kind, from "syslog=7,trap=2" or just "trap". Raises UserError."""
    weights = {}
    for part in text.split(","):
        kind, _, weight = part.strip().partition("=")
        if kind not in KINDS or not (weight or "1").isdecimal():
            raise UserError(
                f"--mix {text!r}: {part.strip()!r} is not KIND=WEIGHT; kinds are {', '.join(KINDS)}, weights are "
                f"whole numbers, for example --mix {DEFAULT_MIX}"
            )
        weights[kind] = int(weight or "1")
    if not any(weights.values()):
        raise UserError(f"--mix {text!r}: give at least one kind a weight above 0, for example --mix {DEFAULT_MIX}")
    return weights


def events(mix: Mapping[str, int], host: str | None, correlation_id: str) -> Iterator[dict[str, Any]]:
    """Yield events without end; no two are alike, all carry the correlation id."""
    from scripts.devtools import samples  # rules and all: too much for a command that sends nothing

    by_kind = {kind: [t for t in samples.read()["events"] if t["kind"] == kind] for kind in KINDS}
    kinds, weights = list(mix), list(mix.values())
    number = 0
    while True:
        number += 1
        template = random.choice(by_kind[random.choices(kinds, weights)[0]])
        yield _event(template, host, {"correlation_id": correlation_id, "sequence": number})


def _event(template: Mapping[str, Any], host: str | None, own: Mapping[str, Any]) -> dict[str, Any]:
    values = _values()
    event = {
        "timestamp": datetime.now(UTC).isoformat(timespec="microseconds"),
        "hostname": host or template["host"].format_map(values),
        "source": "snmp" if "trap_oid" in template else "syslog",
        "syslog_severity": template["severity"],
        "message": template["message"].format_map(values),
    }
    more = {name: value for name, value in template.items() if name not in {"kind", "host", "severity", "message"}}
    return {**event, **{name: str(value).format_map(values) for name, value in more.items()}, **own}


def _values() -> dict[str, Any]:
    return {
        "n": random.randint(2, 9000),
        "port": random.randint(1, 48),
        "pid": random.randint(300, 32000),
        "ip": ".".join(str(random.randint(1, 254)) for _ in range(4)),
        "mac": ":".join(f"{random.randint(0, 255):02x}" for _ in range(6)),
        "letter": random.choice(string.ascii_lowercase[:8]),
        "user": random.choice(USERS),
    }
