"""The rules of a past moment, out of those of today and the record of changes."""

from typing import Any

from mutt.past_book import past_book

RULE: dict[str, Any] = {
    "id": 118,
    "match_string": "BGP",
    "trap_oid": None,
    "syslog_severity": None,
    "match_type": "contains",
    "priority": 900,
    "prod_handling": "Page_and_ticket",
    "dev_handling": "Log_only",
    "team_assignment": "CORE",
    "is_active": True,
    "name": None,
    "description": None,
    "version": 3,
    "created_at": "2026-11-01T00:00:00.000000Z",
}


def change(table: str, record: object, old: dict[str, Any] | None) -> dict[str, Any]:
    return {"table_name": table, "record_id": str(record), "old_values": old}


def test_changes_are_undone_newest_first() -> None:
    changes = [
        change("alert_rules", 118, RULE | {"version": 2, "team_assignment": "NETO"}),
        change("alert_rules", 118, RULE | {"version": 1, "team_assignment": "EDGE"}),
        change("alert_rules", 119, None),
        change("alert_rules", 7, RULE | {"id": 7, "version": 1}),
        change("development_hosts", "lab1", None),
        change("development_hosts", "lab2", {"hostname": "lab2"}),
        change("device_teams", "core1", {"hostname": "core1", "team_assignment": "OLD"}),
        change("dynamic_config", "x", None),
    ]
    book = past_book([RULE, RULE | {"id": 119}], ["lab1"], {"core1": "NEW"}, changes, match_short=False)
    assert {(rule.id, rule.version, rule.team_assignment) for rule in book.rules} == {(118, 1, "EDGE"), (7, 1, "CORE")}
    assert (book.hosts.environment("lab1"), book.hosts.environment("lab2")) == ("prod", "dev")
    assert book.hosts.team("core1") == "OLD"
    assert book.undone == 7


def test_without_changes_it_is_today_s() -> None:
    book = past_book([RULE], [], {}, [], match_short=True)
    assert (book.rules[0].version, book.undone) == (3, 0)
