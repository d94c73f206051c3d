"""The events and rules that the benchmarks run on: 100 rules, syslog lines of about 364 bytes as JSON."""

import itertools
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

LITERALS = (
    "LINK-3-UPDOWN", "LINEPROTO-5-UPDOWN", "BGP-5-ADJCHANGE", "OSPF-5-ADJCHG", "SYS-5-CONFIG_I",
    "SEC_LOGIN-4-LOGIN_FAILED",
    "HSRP-5-STATECHANGE", "DUAL-5-NBRCHANGE", "SPANTREE-2-BLOCK", "PM-4-ERR_DISABLE", "ENVMON-2-FAN_FAILED",
    "PLATFORM_THERMAL-1-OVERTEMP", "STACKMGR-4-SWITCH_REMOVED",
    "CDP-4-DUPLEX_MISMATCH", "IP-4-DUPADDR", "SNMP-3-AUTHFAIL",
)  # fmt: skip
FILLER = (
    "neighbor state changed on the uplink of the distribution layer, see the runbook of the site for what to do next "
    "and whom to call then"
)
RULES = 100


@dataclass(frozen=True, slots=True)
class BenchmarkRule:
    """A rule as both stacks load it from their table."""

    match_string: str | None
    trap_oid: str | None
    match_type: str
    priority: int


def rules(count: int = RULES) -> list[BenchmarkRule]:
    """Return `count` rules: eight in ten literals, the rest regexes and OIDs; those that match lie spread."""
    made = []
    for number in range(count):
        priority = 1000 - number * 900 // count
        if number % 6 == 3:
            made.append(BenchmarkRule(LITERALS[number // 6 % len(LITERALS)], None, "contains", priority))
        elif number % 10 == 8:
            made.append(BenchmarkRule(rf"process {number}\d+ exited with code [1-9]\d*", None, "regex", priority))
        elif number % 10 == 9:
            made.append(BenchmarkRule(None, f"1.3.6.1.4.1.{9000 + number}", "oid_prefix", priority))
        else:
            made.append(BenchmarkRule(f"MODULE{number:05d}-3-FAULT", None, "contains", priority))
    return made


def events(count: int, seed: int = 1) -> Iterator[bytes]:
    """Yield `count` events as JSON bytes, each one different, without ids of the sender's."""
    source = random.Random(seed)
    moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    for number in itertools.islice(itertools.count(), count):
        literal = source.choice(LITERALS)
        event = {
            "timestamp": moment,
            "hostname": f"sw{source.randrange(2000):04d}.site{source.randrange(40):02d}.example",
            "source": "syslog",
            "syslog_severity": source.randrange(8),
            "message": f"%{literal}: Interface GigabitEthernet1/0/{number % 48}, sequence {number}, {FILLER}",
            "facility": "local7",
            "program": "ios",
        }
        yield json.dumps(event, separators=(",", ":")).encode()


def bodies(count: int, batch: int, seed: int = 1) -> list[bytes]:
    """Return the bodies of the requests that bring `count` events: single objects, or arrays of `batch`."""
    source = events(count, seed)
    chunks = iter(lambda: list(itertools.islice(source, batch)), [])
    return [chunk[0] if batch == 1 else b"[" + b",".join(chunk) + b"]" for chunk in chunks]
