"""Explanations: every rule in order, the winner, the host, the team, and Moogsoft's bytes."""

import json
import os
from typing import Any

from mutt.events import decided_entry, decode_entry
from mutt.explaining import Sending, explain, matched_span, read_pasted
from mutt.handling import Hosts
from mutt.intake import Intake, Limits, Receipt
from mutt.matching import RuleBook
from mutt.rules import Rule

PAGE = Rule(1, "down", None, 3, "contains", 500, "Page_and_ticket", "Log_only", "CORE", version=4)
TRAP = Rule(2, None, "1.3.6.1", None, "oid_prefix", 900, "Log_only", "Log_only", "SNMP")
TEXT = Rule(3, "li.k", None, None, "regex", 100, "Log_only", "Suppress", "LOGS")
BOOK = RuleBook([PAGE, TRAP, TEXT])


def entry_of(**fields: Any) -> bytes:
    raw = json.dumps({"hostname": "core1", "message": "link DOWN", "syslog_severity": 3} | fields).encode()
    return Intake(("message",), Limits(), os.urandom).accept(raw, Receipt(1_764_000_000_000_000)).entry


def explained(hosts: Hosts | None = None, **fields: Any) -> dict[str, Any]:
    return explain(decode_entry(entry_of(**fields)), BOOK, hosts or Hosts(), "NETO", Sending("onprem", batch=False))


def test_every_rule_is_told_in_order_with_the_condition_that_failed() -> None:
    found = explained()
    assert [(rule["id"], rule["matched"], rule["failed"]) for rule in found["rules"]] == [
        (2, False, "trap_oid"),
        (1, True, None),
        (3, True, None),
    ]
    assert found["rules"][0]["reason"] == "trap OID is absent, not below 1.3.6.1"
    assert found["winner"]["id"] == 1
    assert found["matched_text"] == (5, 9)
    assert (found["environment"], found["handling"], found["team"]) == ("prod", "Page_and_ticket", "CORE")
    assert found["team_from"] == "rule 1"


def test_what_moogsoft_would_get_is_told_byte_for_byte() -> None:
    found = explained(extra=1.50)
    body = json.loads(found["moogsoft"])
    assert body["severity"] == 4
    assert body["custom_info"]["rule_id"] == 1
    assert '"extra": 1.5' in found["moogsoft"] or '"extra":1.5' in found["moogsoft"]


def test_a_development_host_and_a_host_with_a_team_are_told_as_such() -> None:
    found = explained(Hosts.of(["core1"], {"core1": "LAB"}))
    assert (found["environment"], found["handling"], found["team"]) == ("dev", "Log_only", "LAB")
    assert found["environment_from"] == "listed as a development host"
    assert found["team_from"] == "the host's own team"
    assert (found["forwarded"], found["moogsoft"]) == (False, None)


def test_an_event_that_nothing_matches_is_unhandled_with_its_pattern() -> None:
    found = explained(message="fan 3 failed", syslog_severity=4)
    assert (found["winner"], found["handling"], found["team"]) == (None, "Unhandled", "NETO")
    assert found["pattern"]["template"] == "fan <num> failed"
    reasons = {rule["id"]: rule["reason"] for rule in found["rules"]}
    assert reasons == {
        2: "trap OID is absent, not below 1.3.6.1",
        1: "severity is 4, not 3",
        3: "the message does not match li.k",
    }


def test_a_clear_is_explained_by_the_rule_of_its_problem() -> None:
    book = RuleBook([Rule(5, "to down", None, None, "contains", 500, "Ticket_only", "Log_only", "CORE")])
    clear = decode_entry(entry_of(message="%LINK-3-UPDOWN: Interface Gi0/1, changed state to up"))
    found = explain(clear, book, Hosts(), "NETO", Sending("saas", batch=True))
    assert (found["winner"]["id"], found["as_problem"], found["handling"]) == (5, True, "Ticket_only")
    assert json.loads(found["moogsoft"])["events"][0]["severity"] == 0


def test_an_alert_of_a_queue_can_be_pasted_as_it_lies_there() -> None:
    entry = entry_of()
    alert = decided_entry(entry, handling="Page_and_ticket", team="X", rule_id=1, rule_version=1, environment="prod")
    assert read_pasted(alert).entry == entry
    assert read_pasted(entry).entry == entry


def test_the_matched_text_is_found_in_the_message_as_it_is() -> None:
    assert matched_span(TEXT, "ä lïnk LINK") == (7, 11)
    assert matched_span(PAGE, "up") is None
    assert matched_span(PAGE, "ß down") is None
    assert matched_span(TRAP, "x") is None
    broken = Rule(9, "(", None, None, "regex", 1, "Log_only", "Log_only", "X")
    assert matched_span(broken, "(") is None
