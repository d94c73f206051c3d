"""What becomes of an event."""

import pytest

from mutt.handling import FORWARDED, Handling, Hosts, decide, normalise_host
from mutt.matching import RuleBook
from mutt.patterns import pattern_of
from mutt.rules import Rule

BOOK = RuleBook([Rule(7, "down", None, None, "contains", 5, "Page_and_ticket", "Suppress", "NETO", version=3)])


def test_a_production_host_gets_the_rules_production_handling_and_team() -> None:
    decision = decide("link down", "core1", 3, None, BOOK, Hosts(), "DEFAULT")
    assert decision == ("Page_and_ticket", "NETO", 7, 3, "prod", None)


def test_a_development_host_gets_the_development_handling() -> None:
    decision = decide("link down", "LAB1.Example.", None, None, BOOK, Hosts.of(["lab1.example"], {}), "DEFAULT")
    assert (decision.handling, decision.environment) == ("Suppress", "dev")


def test_a_hosts_own_team_overrides_the_rules_and_the_default() -> None:
    hosts = Hosts.of([], {"Core1.example.": "DC-OPS"})
    assert decide("link down", "core1.EXAMPLE", 3, None, BOOK, hosts, "DEFAULT").team == "DC-OPS"
    assert decide("all well", "core1.EXAMPLE", 3, None, BOOK, hosts, "DEFAULT").team == "DC-OPS"


def test_an_event_that_no_rule_matches_is_unhandled_with_its_pattern() -> None:
    decision = decide("odd 17", "core1", 3, None, BOOK, Hosts(), "DEFAULT")
    assert decision == ("Unhandled", "DEFAULT", None, None, "prod", pattern_of("odd 18"))


def test_the_short_name_counts_only_where_asked_for_and_after_the_full_one() -> None:
    listed = (["lab1"], {"lab1": "LAB", "lab1.b.example": "SITE-B"})
    assert Hosts.of(*listed).environment("lab1.a.example") == "prod"
    hosts = Hosts.of(*listed, match_short=True)
    assert hosts.environment("lab1.a.example") == "dev"
    assert hosts.team("lab1.a.example") == "LAB"
    assert hosts.team("lab1.b.example") == "SITE-B"


def test_the_first_number_of_an_address_is_no_short_name() -> None:
    assert Hosts.of(["10"], {"10": "X"}, match_short=True).team("10.0.0.1") is None


@pytest.mark.parametrize(("name", "expected"), [("A.B.", "a.b"), ("a", "a"), ("", ""), (".", "")])
def test_hostnames_compare_lower_case_without_trailing_dot(name: str, expected: str) -> None:
    assert normalise_host(name) == expected


def test_what_is_forwarded() -> None:
    assert {handling for handling in Handling if handling in FORWARDED} == {
        "Page_and_ticket",
        "Ticket_only",
        "Email_only",
    }
