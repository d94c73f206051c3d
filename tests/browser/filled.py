"""A system in which something has happened, hostile lines among it, for the tests that look at every page."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from uuid import uuid4

import redis

from mutt import keys
from mutt.envelope import amend
from mutt.fields import iso
from tests.harness.entries import queue_entry
from tests.harness.processes import StartService
from tests.harness.waiting import wait_for
from tests.service.dead_letters import dead, dead_alert, mutt_of
from tests.service.trail import FAST, Trail
from tests.service.web_api import Api

ARCHIVED = """
INSERT INTO archives (table_name, month, part, state, source, location, rows, bytes, checksum, restored_until)
VALUES ('event_audit_log', '2018-03-01', 1, 'expired', 'x', 'x', 1, 1, '1', NULL),
    ('event_audit_log', '2024-01-01', 1, 'archived', 'x', 'x', 1, 1, '1', NULL),
    ('event_audit_log', '2024-03-01', 1, 'archived', 'x', 'x', 1, 1, '1', '2030-01-02Z')
"""
# What log lines of attackers and broken devices hold: markup, right-to-left overrides, NUL, emoji, terminal escapes.
HOSTILE = (
    "<script>document.title='owned'</script><img src=x onerror=document.title='owned'>",
    "\u202egnp.exe\u202c and \u2066isolated\u2069 and \u200bzero width",
    "nul \x00 bell \x07 backspace \x08 escape \x1b[31mred\x1b[0m \x1b]0;title\x07",
    "\U0001f525\U0001f468\u200d\U0001f469\u200d\U0001f467 e\u0301\u0301\u0301\u0301\u0301 \ufffd \ud7ff",
    "\"><svg onload=document.title='owned'> javascript:alert(1) {{7*7}} ${7*7} %0d%0aSet-Cookie:x=1",
    "x" * 60_000,
)
HOST = "<b>evil</b>.example"


@dataclass(frozen=True, slots=True)
class Filled:
    """What there is to look at."""

    rule_id: int
    event_ids: list[str]
    letter: str
    digest: str
    pattern: str


def fill(trail: Trail, api: Api, start_service: StartService) -> Filled:
    """Make rules, events that matched and that did not, dead letters, changes and archived months."""
    trail.sql(ARCHIVED)
    rule = api.create_rule(match_string="page me", name="<i>rule</i>", description=HOSTILE[1])
    api.call("PUT", f"/rules/{rule['id']}", {"team_assignment": "CORE", "reason": HOSTILE[0][:200]})
    api.call("POST", "/dev-hosts", {"hostname": "lab-1.example"})
    api.call("POST", "/teams", {"hostname": "core-1.example", "team_assignment": "<b>CORE</b>"})
    api.call("PUT", "/config/moog_rate_limit", {"value": 70})
    entries = [queue_entry(line.replace("\x00", "\ufffd") + " page me", HOST) for line in HOSTILE]
    entries += [queue_entry(f"{line[:200]} unmatched".replace("\x00", "\ufffd"), HOST) for line in HOSTILE]
    start_service("alerter", **FAST)
    trail.send(*(entry for _, entry in entries))
    trail.wait_rows(len(entries))
    letter = _bury(trail.redis)
    found = wait_for(lambda: list(trail.redis.scan_iter("mutt:unhandled-info:*")), "an unhandled pattern")
    pattern = bytes(found[0]).decode()
    return Filled(rule["id"], [event_id for event_id, _ in entries], *letter, pattern.rpartition(":")[2])


def _bury(client: redis.Redis) -> tuple[str, str]:
    """Put letters into all four lists; return what addresses the hostile one in poison."""
    letters = [dead_alert(line[:3000], 60) for line in HOSTILE]
    refused = [
        amend(
            letter,
            kind="moog",
            last_error={"type": "4xx", "message": f"HTTP 422: {HOSTILE[0]}", "at": mutt_of(letter)["received_at"]},
        )
        for letter in letters
    ]
    client.lpush(keys.POISON, b"\xff\x00 no entry at all", *refused)
    client.lpush("mutt:dlq:moog", *letters)
    client.lpush("mutt:dlq:alerter", *(dead(line, 60) for line in HOSTILE))
    at = iso(datetime.now(UTC))
    for line in HOSTILE:
        mutt = {"v": 1, "event_id": str(uuid4()), "received_at": at, "error": f"not taken: {line[:200]}"}
        client.lpush(keys.QUARANTINE, json.dumps({"_mutt": mutt, "raw": line}, separators=(",", ":")))

    return mutt_of(refused[0])["event_id"], sha256(refused[0]).hexdigest()


def pages(filled: Filled) -> list[str]:
    """Return an address of every page, with something in it."""
    return [
        "/",
        "/events",
        "/events?search=evil",
        *(f"/events/{event_id}" for event_id in filled.event_ids[:6]),
        "/unhandled",
        f"/unhandled?open={filled.pattern}",
        *(f"/dead-letters?queue={queue}" for queue in ("poison", "moog", "alerter", "quarantine")),
        f"/dead-letters?queue=poison&letter={filled.letter}&sha256={filled.digest}",
        "/rules",
        f"/rules/{filled.rule_id}",
        f"/rules/{filled.rule_id}/history",
        "/rules/new",
        f"/rules/new?from_unhandled={filled.pattern}",
        f"/rules/explain?event_id={filled.event_ids[0]}",
        "/hosts",
        "/configuration",
        "/changes",
        "/slo",
        "/help",
        "/help/api",
        "/rules/import",
        "/hosts/import/hosts",
        "/hosts/import/teams",
        "/hosts/core-1.example",
        "/configuration/moog_rate_limit",
        f"/events/{uuid4()}?nowhere",
    ]
