"""A trap as snmptrapd hands it to its handler, and the event that MUTT gets of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from integrations.senders.trap_names import TRAPS, Names, enumerated

UPTIME, TRAP_OID = "1.3.6.1.2.1.1.3.0", "1.3.6.1.6.3.1.1.4.1.0"
AGENT_ADDRESS, ENTERPRISE = "1.3.6.1.6.3.18.1.3.0", "1.3.6.1.6.3.1.1.4.3.0"
OF_THE_PROTOCOL = frozenset({UPTIME, TRAP_OID, AGENT_ADDRESS, ENTERPRISE})
NO_ADDRESS = "0.0.0.0"  # noqa: S104  # what an agent writes that does not know its own

EVENT_MOST = 60_000  # bytes; MUTT takes 65,536
MESSAGE_MOST = 4_000  # characters
HOSTNAME_MOST = 255  # characters
OID_MOST = 1_408  # characters: 128 numbers; whoever sends a trap may put any value where an OID or address belongs
HEADER_LINES = 2

_VARBIND = re.compile(r"\.?([0-2](?:\.[0-9]+)+)(?: (.*))?", re.DOTALL)
_HEX = re.compile(r'"(?:[0-9A-Fa-f]{2}\s+)+"')
_NUMBER = re.compile(r"-?[0-9]{1,20}")
_ADDRESS = re.compile(r"\[([^\]]+)\]")


class TrapError(Exception):
    """The text is none of snmptrapd's; the message says why."""


@dataclass
class Trap:
    """What snmptrapd told: values are numbers, text, or bytes as `00:1a:2b`."""

    host: str
    transport: str
    varbinds: list[tuple[str, Any]] = field(default_factory=list)

    def first(self, oid: str) -> Any:
        """Return the value of the first varbind of this OID."""
        return next((value for name, value in self.varbinds if name == oid), None)

    def oids(self) -> set[str]:
        """Return all OIDs that a reader wants a name for, those among the values too."""
        values = (value.lstrip(".") for _, value in self.varbinds if isinstance(value, str) and value.startswith("."))
        return {oid for oid, _ in self.varbinds} | set(values)


def parse(text: bytes) -> Trap:
    """Read what snmptrapd wrote; raises TrapError."""
    lines = text.decode("utf-8", "replace").split("\n")
    if len(lines) <= HEADER_LINES:
        raise TrapError(f"{len(lines)} lines: a host, a transport and varbinds have to be there")
    trap = Trap(lines[0].strip(), lines[1].strip())
    for varbind in _varbinds(lines[HEADER_LINES:]):
        found = _VARBIND.fullmatch(varbind)
        if found is None:
            raise TrapError(f"no numeric OID in {varbind[:100]!r}: snmptrapd has to run with -Onxt")
        trap.varbinds.append((found[1], _value(found[2] or "")))
    if not isinstance(trap.first(TRAP_OID), str):
        raise TrapError("no snmpTrapOID is among the varbinds")
    return trap


def event(trap: Trap, moment_ns: int, identity: str, names: Names, severities: Mapping[str, int]) -> dict[str, Any]:
    """Return the event; the same trap gives the same bytes, however often it is sent."""
    trap_oid = str(trap.first(TRAP_OID)).lstrip(".")[:OID_MOST]
    source = _address(trap.transport)
    agent = trap.first(AGENT_ADDRESS)
    if isinstance(agent, str):
        agent = agent[:OID_MOST]
    made: dict[str, Any] = {
        "correlation_id": identity,
        "timestamp": _iso(moment_ns),
        "hostname": _hostname(trap, source, agent),
        "message": "",
        "source": "snmp",
        "trap_oid": trap_oid,
        "trap_name": names.name(trap_oid),
    }
    level = severity(trap_oid, severities)
    if level is not None:
        made["syslog_severity"] = level
    if source:
        made["sender_address"] = source
    if agent not in {None, NO_ADDRESS}:
        made["agent_address"] = agent
    if isinstance(trap.first(UPTIME), int):
        made["uptime_seconds"] = trap.first(UPTIME) / 100
    enterprise = trap.first(ENTERPRISE)
    if isinstance(enterprise, str):
        made["enterprise"] = enterprise.lstrip(".")[:OID_MOST]
    made["varbinds"] = [_varbind(oid, value, names) for oid, value in trap.varbinds if oid not in OF_THE_PROTOCOL]
    made["message"] = _message(made)
    return made


def record(made: dict[str, Any]) -> bytes:
    """Return the event as JSON that MUTT takes: the longest values are cut until it fits."""
    data = _encode(made)
    while len(data) > EVENT_MOST:
        made["truncated"] = True
        longest = max(made["varbinds"], key=lambda varbind: len(str(varbind["value"])))
        size = len(str(longest["value"]))
        if size < len("truncated"):  # many small ones
            made["varbinds"] = made["varbinds"][: len(made["varbinds"]) // 2]
        else:
            longest["value"] = str(longest["value"])[: size // 2]
            longest.pop("text", None)
        data = _encode(made)
    return data


def severity(trap_oid: str, severities: Mapping[str, int]) -> int | None:
    """Return the syslog severity of a trap: the operator's by the longest prefix, else the built-in one."""
    prefix = trap_oid
    while prefix:
        if prefix in severities:
            return severities[prefix]
        prefix = prefix.rpartition(".")[0]
    return TRAPS[trap_oid][1] if trap_oid in TRAPS else None


def _varbinds(lines: list[str]) -> list[str]:
    """Join lines to varbinds: a value in quotes goes on until a line ends with one."""
    joined: list[str] = []
    is_open = False
    for line in lines:
        if is_open:
            joined[-1] += "\n" + line
            is_open = not line.rstrip().endswith('"')
        elif line.strip():
            joined.append(line)
            value = line.partition(" ")[2].strip()
            is_open = value.startswith('"') and (value == '"' or not value.endswith('"'))
    return joined


def _value(text: str) -> Any:
    if _HEX.fullmatch(text.strip()):
        return _text_or_hex(bytes.fromhex(text.strip().strip('"')))
    text = text.strip()
    if _NUMBER.fullmatch(text):
        return int(text)
    return text[1:-1] if text.startswith('"') and text.endswith('"') and len(text) > 1 else text


def _text_or_hex(data: bytes) -> str:
    """Return text where the bytes are some, a trailing NUL left out, else pairs of digits with colons between."""
    try:
        text = data.removesuffix(b"\0").decode()
    except UnicodeDecodeError:
        text = "\0"
    return text if all(character.isprintable() or character in "\t\r\n" for character in text) else data.hex(":")


def _varbind(oid: str, value: Any, names: Names) -> dict[str, Any]:
    made: dict[str, Any] = {"oid": oid, "name": names.name(oid), "value": value}
    if isinstance(value, int):
        text = enumerated(oid, value)
    else:
        text = names.name(value[1:]) if value.startswith(".") else None
    if text is not None and text != value:
        made["text"] = text
    return made


def _message(made: Mapping[str, Any]) -> str:
    short = made["trap_name"].rpartition("::")[2]
    said = (f"{each['name'].rpartition('::')[2]}={each.get('text', each['value'])}" for each in made["varbinds"])
    text = ", ".join(said)
    whole = f"{short}: {text}" if text else short
    return whole if len(whole) <= MESSAGE_MOST else whole[: MESSAGE_MOST - 1] + "…"


def _hostname(trap: Trap, source: str | None, agent: Any) -> str:
    """Return the device: the agent that a trap of version 1 names where another passed it on, else who sent it."""
    if isinstance(agent, str) and agent not in {NO_ADDRESS, source or agent}:
        return agent[:HOSTNAME_MOST]
    named = trap.host and "[" not in trap.host and "<" not in trap.host
    return (trap.host if named else source or "unknown")[:HOSTNAME_MOST]


def _address(transport: str) -> str | None:
    found = _ADDRESS.search(transport)
    return found[1] if found else None


def _iso(moment_ns: int) -> str:
    seconds, rest = divmod(moment_ns, 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest // 1000:06}Z"


def _encode(made: Mapping[str, Any]) -> bytes:
    return json.dumps(made, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
