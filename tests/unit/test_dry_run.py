"""Dry runs: today's rule book beside the one with the change, over events of the past."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from mutt.caught import NO_RULE
from mutt.dry_run import NEW_RULE, DryRun
from mutt.events import QueuedEvent
from mutt.handling import Hosts
from mutt.past_events import from_audit
from mutt.rules import Rule

NOW = datetime(2026, 11, 24, 22, 41, tzinfo=UTC)
LINKS = Rule(57, "UPDOWN", None, None, "contains", 840, "Ticket_only", "Log_only", "CORE", name="Links", version=7)
LAB = Rule(160, "lab", None, None, "contains", 900, "Log_only", "Suppress", "LAB", name="Lab")
RULES = [LINKS, LAB, Rule(9, "other", None, None, "contains", 100, "Email_only", "Log_only", "OPS")]


def event(message: str, severity: int | None = 3, *, at: datetime = NOW, host: str = "core1") -> QueuedEvent:
    event_id = str(uuid.uuid4())
    return from_audit((event_id, event_id, at, at, host, message, None, severity, None, {}))


def run(
    rule: Rule, *events: QueuedEvent, rules: list[Rule] | None = None, hosts: Hosts | None = None
) -> dict[str, Any]:
    dry = DryRun(RULES if rules is None else rules, rule, hosts or Hosts(), "NETO")
    for each in events:
        dry.add(each)
    return dry.report()


def moves(report: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [
        (
            move["from"] and move["from"]["id"],
            move["to"] and move["to"]["id"],
            move["today"],
            move["with_change"],
            move["events"],
            move["direction"],
        )
        for move in report["moves"]
    ]


def test_a_change_tells_what_it_catches_and_from_whom() -> None:
    report = run(
        replace(LINKS, priority=910, prod_handling="Page_and_ticket"),
        event("UPDOWN Gi0/1"),
        event("UPDOWN Gi0/2"),
        event("lab UPDOWN Gi0/3"),
        event("nothing at all"),
    )
    assert (report["read"], report["matched"], report["caught"], report["handled_differently"]) == (4, 3, 3, 3)
    assert moves(report) == [
        (57, 57, "Ticket_only", "Page_and_ticket", 2, "louder"),
        (160, 57, "Log_only", "Page_and_ticket", 1, "far louder"),
    ]
    assert report["warnings"][0]["text"] == "It takes 1 event from rule 160, which should only log."
    assert report["warnings"][0]["priority"] == 899
    assert [sample["message"] for sample in report["samples"]] == ["UPDOWN Gi0/1", "UPDOWN Gi0/2", "lab UPDOWN Gi0/3"]


def test_a_new_rule_takes_what_no_rule_matched() -> None:
    rule = Rule(NEW_RULE, "fan", None, None, "contains", 500, "Ticket_only", "Log_only", "DC")
    report = run(rule, event("fan 3 failed"), event("other fan"))
    assert moves(report) == [
        (None, None, "Unhandled", "Ticket_only", 1, "louder"),
        (9, None, "Email_only", "Ticket_only", 1, "louder"),
    ]
    assert report["moves"][0]["to"]["this"] is True
    assert report["moves"][0]["from"] is None


def test_a_new_rule_ranks_behind_the_rules_of_its_priority() -> None:
    rule = Rule(NEW_RULE, "lab fan", None, None, "contains", 900, "Page_and_ticket", "Log_only", "DC")
    report = run(rule, event("lab fan"))
    assert (report["matched"], report["caught"]) == (1, 0)
    assert report["hidden_by"][0]["rule"]["id"] == 160
    assert report["hidden_by"][0]["completely"] is True
    assert report["warnings"][0]["text"] == "Rule 160 is tried first and leaves it nothing, whatever arrives."
    assert report["warnings"][0]["priority"] == 901


def test_what_a_narrower_version_lets_go_is_shown_too() -> None:
    report = run(replace(LINKS, match_string="UPDOWN Te"), event("UPDOWN Te1"), event("UPDOWN Gi1"))
    assert moves(report) == [
        (57, 57, "Ticket_only", "Ticket_only", 1, "same"),
        (57, None, "Ticket_only", "Unhandled", 1, "quieter"),
    ]
    assert report["caught"] == 1


def test_a_rule_that_is_switched_off_catches_nothing() -> None:
    report = run(replace(LINKS, is_active=False), event("UPDOWN Te1"))
    assert (report["matched"], report["caught"]) == (0, 0)
    assert moves(report) == [(57, None, "Ticket_only", "Unhandled", 1, "quieter")]


def test_which_events_are_caught_is_kept_with_their_rules() -> None:
    dry = DryRun(RULES, replace(LINKS, priority=910), Hosts(), "NETO")
    events = [event("UPDOWN a"), event("lab UPDOWN b"), event("nothing"), event("UPDOWN c")]
    for each in events:
        dry.add(each)
    a, b, _, c = (each.envelope.event_id for each in events)
    assert (dry.caught.count(), dry.caught.page(0, 2), dry.caught.page(2, 2)) == (3, [a, b], [c])
    assert (dry.caught.page(0, 9, 160), dry.caught.count(NO_RULE)) == ([b], 0)


def test_pages_are_folded_by_signature_and_counted_by_the_minute() -> None:
    later = NOW + timedelta(minutes=1)
    report = run(
        replace(LINKS, prod_handling="Page_and_ticket"),
        event("UPDOWN: port A1 is sick", at=later),
        event("UPDOWN: port A1 is sick"),
        event("UPDOWN: port A1 is sick"),
        event("UPDOWN: fan is sick"),
    )
    assert report["pages"] == {"with_change": 2, "today": 0}
    assert report["worst_minute"]["with_change"] == {"at": "2026-11-24T22:41:00Z", "pages": 2}
    assert report["worst_minute"]["today"] == {"at": None, "pages": 0}
    assert report["minutes"] == [
        {"at": "2026-11-24T22:41:00Z", "with_change": 2, "today": 0},
        {"at": "2026-11-24T22:42:00Z", "with_change": 1, "today": 0},
    ]


def test_a_development_host_gets_the_other_handling() -> None:
    hosts = Hosts.of(["core1"], {})
    report = run(replace(LINKS, dev_handling="Email_only"), event("UPDOWN"), hosts=hosts)
    assert moves(report) == [(57, 57, "Log_only", "Email_only", 1, "louder")]


def test_a_clear_follows_its_problem_into_another_rule() -> None:
    problem = Rule(NEW_RULE, "changed state to down", None, None, "contains", 500, "Page_and_ticket", "Log_only", "DC")
    clear = event("%LINK-3-UPDOWN: Interface Gi0/1, changed state to up")
    report = run(problem, clear, rules=[])
    assert moves(report) == [(None, None, "Unhandled", "Page_and_ticket", 1, "louder")]
    assert report["pages"]["with_change"] == 0


def test_near_misses_fail_one_condition() -> None:
    rule = replace(LINKS, match_string="UPDOWN Interface", syslog_severity=3)
    report = run(rule, event("UPDOWN Interface", 4), event("Interface is UPDOWN"), event("nothing"))
    assert report["near_misses"]["events"] == 2
    assert [sample["failed"] for sample in report["near_misses"]["samples"]] == ["syslog_severity", "match_string"]


def test_rules_that_it_hides_are_named() -> None:
    wide = Rule(NEW_RULE, "up", None, None, "contains", 950, "Log_only", "Log_only", "X")
    report = run(wide, event("UPDOWN Te1"), event("lab is up"), event("lab"))
    hides = {entry["rule"]["id"]: entry for entry in report["hides"]}
    assert (hides[57]["completely"], hides[57]["certain"]) == (True, True)
    assert (hides[160]["events"], hides[160]["of"], hides[160]["completely"]) == (1, 2, False)


def test_the_cost_of_matching_is_measured_with_both_books() -> None:
    dry = DryRun(RULES, LINKS, Hosts(), "NETO")
    assert dry.cost()["today_us"] is None
    dry.add(event("UPDOWN"))
    cost = dry.cost()
    assert cost["events"] == 1
    assert cost["today_us"] > 0
    assert cost["with_change_us"] > 0


def test_no_event_is_a_report_too() -> None:
    report = run(LINKS)
    assert (report["read"], report["read_back_to"], report["moves"], report["minutes"]) == (0, None, [], [])
