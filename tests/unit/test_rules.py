"""Which rules are valid, and what is said of those that are not."""

from typing import Any

import pytest

from mutt.errors import RuleError
from mutt.rules import FIELDS, validate_rule

VALID: dict[str, Any] = {
    "match_string": "link down",
    "match_type": "contains",
    "priority": 10,
    "prod_handling": "Page_and_ticket",
    "dev_handling": "Log_only",
    "team_assignment": "NETO",
}


def faults(**changes: Any) -> dict[str, str]:
    with pytest.raises(RuleError) as caught:
        validate_rule(VALID | changes)
    return caught.value.details


def test_a_valid_rule_comes_back_with_every_field() -> None:
    assert validate_rule(VALID) == {
        "name": None,
        "description": None,
        "match_string": "link down",
        "trap_oid": None,
        "syslog_severity": None,
        "match_type": "contains",
        "priority": 10,
        "prod_handling": "Page_and_ticket",
        "dev_handling": "Log_only",
        "team_assignment": "NETO",
        "is_active": True,
    }


def test_what_the_database_sets_is_ignored_so_that_a_rule_that_was_read_can_be_sent_back() -> None:
    sent = VALID | {"id": 3, "version": 2, "created_at": "x", "updated_at": "y"}
    assert set(validate_rule(sent)) == set(FIELDS)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("match_type", "glob", "'glob' is not allowed; allowed are contains, regex, oid_prefix"),
        ("match_type", None, "is required; allowed are contains, regex, oid_prefix"),
        ("match_type", ["regex"], "is not allowed"),
        ("priority", 0, "0 is not allowed; a whole number from 1 to 1000"),
        ("priority", 1001, "a whole number from 1 to 1000"),
        ("priority", "5", "'5' is not allowed; a whole number from 1 to 1000"),
        ("priority", True, "True is not allowed"),
        ("priority", 1.0, "1.0 is not allowed"),
        ("priority", None, "is required; a whole number from 1 to 1000"),
        ("prod_handling", "Suppress", "allowed are Page_and_ticket, Ticket_only, Email_only, Log_only"),
        ("dev_handling", "Page_and_ticket", "allowed are Ticket_only, Email_only, Log_only, Suppress"),
        ("team_assignment", None, "is required; text of 1 to 100 characters"),
        ("team_assignment", 5, "a string is required"),
        ("team_assignment", "  ", "must not be empty"),
        ("team_assignment", "T" * 101, "has 101 characters; at most 100 are allowed"),
        ("syslog_severity", 8, "a whole number from 0 to 7, or null"),
        ("match_string", "", "must not be empty; use null for none"),
        ("match_string", 5, "a string or null is required"),
        ("match_string", "a\0", "must not hold NUL"),
        ("match_string", "\ud800", "lone surrogate"),
        ("match_string", "x" * 1025, "at most 1024"),
        ("match_string", None, "needs a match_string or a syslog_severity"),
        ("trap_oid", "1.3.x", "'1.3.x' is not an OID; numbers joined by dots, such as 1.3.6.1.4.1.9"),
        ("trap_oid", "1..3", "is not an OID"),
        ("is_active", "yes", "true or false"),
        ("colour", "red", "unknown field; known are name, description, match_string"),
    ],
)
def test_what_is_said_of_a_wrong_field(field: str, value: Any, said: str) -> None:
    details = faults(**{field: value})
    assert list(details) == [field]
    assert said in details[field]


def test_every_fault_is_named_at_once() -> None:
    assert set(faults(priority=0, team_assignment="", trap_oid="x")) == {"priority", "team_assignment", "trap_oid"}


def test_a_pattern_that_re2_refuses_is_refused_with_its_reason() -> None:
    assert "invalid perl operator: (?!" in faults(match_type="regex", match_string="(?!x)")["match_string"]


def test_a_severity_alone_is_a_condition_of_contains_and_regex() -> None:
    for kind in ("contains", "regex"):
        assert validate_rule(VALID | {"match_type": kind, "match_string": None, "syslog_severity": 0})


def test_an_oid_rule_needs_an_oid_and_may_have_text_that_is_no_pattern() -> None:
    assert "1.3.6.1.4.1.9" in faults(match_type="oid_prefix")["trap_oid"]
    assert validate_rule(VALID | {"match_type": "oid_prefix", "trap_oid": ".1.3", "match_string": "("})
