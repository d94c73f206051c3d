"""The sample rules, and the events that `muttdev.py send` makes of its templates."""

import itertools
import uuid
from collections import Counter
from typing import Any

import pytest

from mutt.matching import RuleBook
from mutt.rules import Rule
from scripts.devtools import samples, traffic
from scripts.devtools.instance import UserError

RULES = samples.rows_by_table()["alert_rules"]
BOOK = RuleBook(Rule(id=number, **rule) for number, rule in enumerate(RULES, 1))
RUN = str(uuid.UUID(int=7))


def made(mix: str, count: int = 400, host: str | None = None) -> list[dict[str, Any]]:
    return list(itertools.islice(traffic.events(traffic.parse_mix(mix), host, RUN), count))


def matched(event: dict[str, Any]) -> Rule | None:
    return BOOK.first_match(event["message"], event["syslog_severity"], event.get("trap_oid"))


def test_a_rule_of_ones_own_can_win_over_every_sample() -> None:
    assert len(RULES) == 12
    assert max(rule["priority"] for rule in RULES) <= 900


def test_hosts_of_the_samples_are_nobodys() -> None:
    rows = samples.rows_by_table()
    names = [row["hostname"] for table in ("development_hosts", "device_teams") for row in rows[table]]
    assert names
    assert all(name.endswith(".example") for name in (*names, *(event["hostname"] for event in made("syslog,trap"))))


def test_what_is_sent_matches_nearly_every_rule() -> None:
    hit = {rule.name for event in made("syslog,trap", 2000) if (rule := matched(event))}
    assert {rule["name"] for rule in RULES} - hit == {"Emergencies of anything else"}


def test_events_of_the_kind_unhandled_match_no_rule_and_the_others_do() -> None:
    assert not any(map(matched, made("unhandled")))
    assert all(map(matched, made("syslog")))


def test_the_mix_is_kept_and_no_two_events_are_alike() -> None:
    events = made("syslog=3,trap=1", 2000)
    kinds = Counter(event["source"] for event in events)
    assert 0.15 < kinds["snmp"] / 2000 < 0.35
    assert len({str(event) for event in events}) == 2000
    assert {event["correlation_id"] for event in events} == {RUN}


def test_a_host_can_be_given_for_all() -> None:
    assert {event["hostname"] for event in made("trap", 50, "mine.example")} == {"mine.example"}


@pytest.mark.parametrize("mix", ["", "sysloog", "syslog=many", "syslog=-1", "trap=0", "syslog=1;trap=2"])
def test_a_mix_that_is_none_is_refused_with_an_example(mix: str) -> None:
    with pytest.raises(UserError, match=r"--mix .*for example --mix syslog=7"):
        traffic.parse_mix(mix)
