"""Rules as YAML: written, read back with each fault named, and compared."""

from typing import Any

import pytest
import yaml

from mutt import rule_files
from mutt.errors import RuleError
from mutt.rules import FIELDS
from mutt.yaml_values import load

ROW: dict[str, Any] = {
    "id": 1,
    "name": "Links: =down",
    "description": None,
    "match_string": "on",
    "trap_oid": None,
    "syslog_severity": 3,
    "match_type": "contains",
    "priority": 500,
    "prod_handling": "Page_and_ticket",
    "dev_handling": "Log_only",
    "team_assignment": "NETO",
    "is_active": False,
    "version": 3,
    "created_at": "x",
    "updated_at": "y",
}


def test_what_is_written_is_read_back_the_same() -> None:
    document = rule_files.write([ROW])
    rules = rule_files.read(document)
    assert rules == [{"id": 1, **{name: ROW[name] for name in FIELDS}}]
    plan = rule_files.plan(rules, [ROW])
    assert (plan.create, plan.update, plan.missing, plan.unchanged) == ([], [], [], 1)


def test_a_plan_tells_what_is_new_changed_and_missing() -> None:
    other = ROW | {"id": 2, "name": "Other"}
    document = (
        rule_files.write([ROW | {"priority": 7}])
        + rule_files.write([ROW | {"id": 9, "name": "New"}]).split("rules:\n")[1]
    )
    plan = rule_files.plan(rule_files.read(document), [ROW, other])
    assert [each["name"] for each in plan.create] == ["New"]
    assert [(each.row["id"], each.changes) for each in plan.update] == [(1, [("priority", 500, 7)])]
    assert [row["id"] for row in plan.missing] == [2]


def test_an_import_done_twice_changes_nothing_the_second_time() -> None:
    document = rule_files.write([ROW | {"id": 77}])
    plan = rule_files.plan(rule_files.read(document), [ROW])
    assert (plan.create, plan.missing, plan.unchanged) == ([], [], 1)


@pytest.mark.parametrize(
    ("document", "where", "said"),
    [
        ("rules: {", "document", "is not YAML"),
        ("just text", "document", "a list of rules"),
        ("- 5", "rule 1", "an object of fields"),
        ("- {id: 3, name: Links}", "rule 1 (id 3, Links)", "match_type"),
        ("- !!python/object/apply:os.system [id]", "document", "has a tag"),
        (rule_files.write([ROW | {"id": "x", "name": None}]), "rule 1 (id x)", "whole number"),
    ],
)
def test_each_fault_is_named_with_its_place(document: str, where: str, said: str) -> None:
    with pytest.raises(RuleError) as refused:
        rule_files.read(document)
    assert said in refused.value.details[where]


def test_one_id_twice_is_a_fault() -> None:
    document = rule_files.write([ROW, ROW])
    with pytest.raises(RuleError, match="twice"):
        rule_files.read(document)


def test_a_rule_without_an_id_that_stands_there_twice_is_refused_with_both_lines() -> None:
    handlings = "prod_handling: Ticket_only, dev_handling: Log_only"
    rule = f"- {{match_type: contains, match_string: abc, {handlings}, priority: 5, team_assignment: NETO}}\n"
    with pytest.raises(RuleError) as refused:
        rule_files.read("rules:\n" + rule + rule.replace("abc", "abd") + "# a comment\n" + rule)
    assert refused.value.details == {"rule 3": "line 5: the same rule as in line 2: leave one of them out"}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("- a\n---\n- b\n", "followed by another in line 2"),
        ("- {? [a] : b}", "a key that is no text in line 1"),
        ("- {a: 2026-13-45}", "is not YAML"),
        ("- " + "[" * 10_000, "is not YAML"),
    ],
)
def test_what_is_no_list_of_rules_is_refused_with_its_place(document: str, said: str) -> None:
    with pytest.raises(RuleError, match=said):
        rule_files.read(document)


def test_values_are_what_yaml_says_they_are() -> None:
    text = "[1, 0x10, 1.5, yes, no, ~, null, 'no', \"1\", 1970-01-01, a b, '', 0o7, 1_000, -3, '<<', '=']"
    assert load(text, 100, "").value == yaml.safe_load(text)
    assert load("[<<, =]", 100, "").value == ["<<", "="]


def test_too_many_rules_are_refused_at_once() -> None:
    with pytest.raises(RuleError, match="at most 20000"):
        rule_files.read("- a\n" * 20_001)


def test_aliases_that_would_grow_to_gigabytes_are_refused_before_anything_is_built() -> None:
    lines = ["rules:", "- name: &a0 [" + "lol, " * 10 + "]"]
    lines += [f"- name: &a{n} [" + f"*a{n - 1}, " * 10 + "]" for n in range(1, 12)]
    with pytest.raises(RuleError, match=r"an alias \(\*a0\) in line 3: write out"):
        rule_files.read("\n".join(lines))


def test_a_document_of_too_many_small_parts_is_refused_while_it_is_read() -> None:
    with pytest.raises(RuleError, match="split it"):
        rule_files.read("- {a: 1}\n" * 200_000)


def test_a_fault_is_named_by_a_name_only_where_that_is_a_text() -> None:
    with pytest.raises(RuleError) as refused:
        rule_files.read("- {id: [1], name: {a: b}}")
    assert list(refused.value.details) == ["rule 1"]
