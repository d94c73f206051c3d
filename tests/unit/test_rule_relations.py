"""Which rule hides which, told from conditions alone, and what is right above and below."""

from typing import Any

import pytest

from mutt.rule_relations import covers, hidden, hiding, loosened, neighbours
from mutt.rules import Rule


def rule(number: int = 1, **changes: Any) -> Rule:
    values: dict[str, Any] = {
        "match_string": None,
        "trap_oid": None,
        "syslog_severity": None,
        "match_type": "contains",
        "priority": 500,
        "prod_handling": "Log_only",
        "dev_handling": "Log_only",
        "team_assignment": "X",
    } | changes
    return Rule(id=number, **values)


@pytest.mark.parametrize(
    ("wide", "narrow", "expected"),
    [
        ({"match_string": "down"}, {"match_string": "link DOWN"}, True),
        ({"match_string": "link down"}, {"match_string": "down"}, False),
        ({"match_string": "down"}, {"match_string": "link.*down", "match_type": "regex"}, True),
        ({"match_string": "down"}, {"match_string": "link.*(up|down)", "match_type": "regex"}, False),
        ({"match_string": "a.c", "match_type": "regex"}, {"match_string": "abc"}, False),
        ({"match_string": "a.c", "match_type": "regex"}, {"match_string": "a.c", "match_type": "regex"}, True),
        ({"syslog_severity": 3}, {"match_string": "x", "syslog_severity": 3}, True),
        ({"syslog_severity": 3}, {"match_string": "x"}, False),
        ({"match_string": "x"}, {"syslog_severity": 3}, False),
        ({"trap_oid": "1.3.6", "match_type": "oid_prefix"}, {"trap_oid": ".1.3.6.1", "match_type": "oid_prefix"}, True),
        ({"trap_oid": "1.3.6", "match_type": "oid_prefix"}, {"trap_oid": "1.3.61", "match_type": "oid_prefix"}, False),
    ],
)
def test_one_rule_covers_another_only_where_that_is_certain(
    wide: dict[str, Any], narrow: dict[str, Any], expected: bool
) -> None:
    assert covers(rule(**wide), rule(**narrow)) is expected


def test_a_rule_is_hidden_by_a_wider_one_above_it() -> None:
    wide = rule(1, match_string="down", priority=600)
    narrow = rule(2, match_string="link down")
    assert hiding(narrow, [wide, narrow]) == wide
    assert hidden(wide, [wide, narrow]) == [narrow]
    assert hiding(wide, [wide, narrow]) is None
    off = rule(1, match_string="down", priority=600, is_active=False)
    assert hiding(narrow, [off]) is None
    assert hidden(off, [narrow]) == []


def test_neighbours_are_by_priority_then_by_id_and_a_former_self_is_none() -> None:
    rules = [rule(number, priority=priority, match_string="x") for number, priority in ((1, 9), (2, 5), (3, 5), (4, 1))]
    found = neighbours(rule(3, priority=5, match_string="x"), rules)
    assert (found.above, found.below) == (rules[1], rules[3])
    ends = neighbours(rule(9, priority=1000, match_string="x"), rules)
    assert (ends.above, ends.below) == (None, rules[0])


def test_a_rule_is_loosened_by_one_condition_at_a_time() -> None:
    names = [name for name, _ in loosened(rule(match_string="Interface Te down", syslog_severity=3))]
    assert names == ["syslog_severity", "match_string"]
    assert loosened(rule(match_string="down")) == []
    assert loosened(rule(match_string="UPDOWN.*down", match_type="regex"))[0][1].match_string == "updown"
    trap = rule(trap_oid="1.3", match_type="oid_prefix", match_string="x")
    kinds = {name: other.match_type for name, other in loosened(trap)}
    assert kinds == {"trap_oid": "contains", "match_string": "oid_prefix"}
