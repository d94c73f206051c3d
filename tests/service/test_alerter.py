import signal
from typing import Any

import pytest

from mutt import keys
from tests.harness.entries import queue_entry
from tests.harness.processes import StartService, fetch
from tests.harness.waiting import wait_for
from tests.service.trail import ALERTS, DEAD, QUEUE, Trail


def test_each_kind_of_rule_decides_its_event_and_the_rest_is_unhandled(
    trail: Trail, start_service: StartService
) -> None:
    contains = trail.rule(match_string="line card", priority=900)
    regex = trail.rule(
        match_string=r"BGP.*down", match_type="regex", prod_handling="Ticket_only", team_assignment="CORE"
    )
    oid = trail.rule(trap_oid="1.3.6.1.4.1.9", match_type="oid_prefix", prod_handling="Email_only")
    severity = trail.rule(syslog_severity=0, priority=10, prod_handling="Log_only")
    alerter = start_service("alerter")
    sent = {
        "contains": queue_entry("Line Card 3 removed", vendor={"slot": 3}),
        "regex": queue_entry("bgp neighbor 10.0.0.1 Down"),
        "oid": queue_entry("trap", trap_oid=".1.3.6.1.4.1.9.9.1", source="snmp"),
        "severity": queue_entry("the roof is on fire", syslog_severity="emerg"),
        "none": queue_entry("nothing to see", trap_oid="1.3.6.1.4.1.99"),
    }
    trail.send(*(entry for _, entry in sent.values()))
    rows = {str(row["event_id"]): row for row in trail.wait_rows(5)}
    found = {
        name: tuple(rows[event_id][column] for column in ("rule_id", "handling", "team", "forwarded", "environment"))
        for name, (event_id, _) in sent.items()
    }
    assert found == {
        "contains": (contains, "Page_and_ticket", "NETO", True, "prod"),
        "regex": (regex, "Ticket_only", "CORE", True, "prod"),
        "oid": (oid, "Email_only", "NETO", True, "prod"),
        "severity": (severity, "Log_only", "NETO", False, "prod"),
        "none": (None, "Unhandled", "NETO", False, "prod"),
    }
    assert rows[sent["contains"][0]]["raw"]["vendor"] == {"slot": 3}
    assert rows[sent["oid"][0]]["trap_oid"] == "1.3.6.1.4.1.9.9.1"
    trail.wait_length(ALERTS, 3)
    assert {alert["_mutt"]["event_id"] for alert in trail.entries(ALERTS)} == {
        sent[name][0] for name in ("contains", "regex", "oid")
    }
    wait_for(trail.nothing_is_held, "empty processing lists")
    wait_for(lambda: alerter.metric("mutt_alerter_processing_latency_seconds_count") == 5, "5 counted")
    assert alerter.metric("mutt_alerter_events_processed_total", status="handled") == 4
    assert alerter.metric("mutt_alerter_events_processed_total", status="unhandled") == 1
    assert alerter.metric("mutt_alerter_cache_rules_count") == 4


def test_a_development_host_and_a_devices_team_change_the_decision(trail: Trail, start_service: StartService) -> None:
    trail.rule(match_string="fan", dev_handling="Suppress")
    trail.sql("INSERT INTO development_hosts (hostname) VALUES ('lab1.example')")
    trail.sql("INSERT INTO device_teams (hostname, team_assignment) VALUES ('core1.example', 'CORE')")
    start_service("alerter")
    lab, core = queue_entry("fan failed", "LAB1.example."), queue_entry("fan failed", "core1.example")
    trail.send(lab[1], core[1])
    rows = {str(row["event_id"]): row for row in trail.wait_rows(2)}
    assert (rows[lab[0]]["environment"], rows[lab[0]]["handling"]) == ("dev", "Suppress")
    assert (rows[core[0]]["team"], rows[core[0]]["handling"]) == ("CORE", "Page_and_ticket")
    trail.wait_length(ALERTS, 1)


def test_a_clear_is_forwarded_when_its_problem_would_be(trail: Trail, start_service: StartService) -> None:
    rule = trail.rule(trap_oid="1.3.6.1.6.3.1.1.5.3", match_type="oid_prefix")
    start_service("alerter")
    event_id, entry = queue_entry("link came back", trap_oid="1.3.6.1.6.3.1.1.5.4", source="snmp", ifIndex=7)
    trail.send(entry)
    row = trail.wait_rows(1)[0]
    assert (row["rule_id"], row["handling"], row["forwarded"]) == (rule, "Page_and_ticket", True)
    trail.wait_length(ALERTS, 1)
    assert trail.entries(ALERTS)[0]["_mutt"]["event_id"] == event_id


def test_undecodable_bytes_are_dead_letters_and_their_batch_is_not(trail: Trail, start_service: StartService) -> None:
    alerter = start_service("alerter")
    trail.send(b"\xff\xfe not json", queue_entry()[1], b"{}")
    trail.wait_rows(1)
    trail.wait_length(DEAD, 2)
    for letter in trail.entries(DEAD):
        assert letter["_mutt"]["last_error"]["type"] == "undecodable"
        assert letter["raw_base64"]
    wait_for(lambda: alerter.metric("mutt_alerter_events_processed_total", status="poison") == 2, "2 counted")


def test_a_row_that_postgresql_refuses_is_retried_then_dead_and_costs_its_batch_nothing(
    trail: Trail, start_service: StartService
) -> None:
    trail.sql("ALTER TABLE event_audit_log ADD CONSTRAINT no_devil CHECK (message <> 'devil')")
    alerter = start_service("alerter")
    devil = queue_entry("devil")
    trail.send(*(queue_entry(f"angel {n}")[1] for n in range(5)), devil[1], *(queue_entry()[1] for _ in range(5)))
    assert len(trail.wait_rows(10)) == 10
    trail.wait_length(DEAD, 1)
    letter = trail.entries(DEAD)[0]["_mutt"]
    assert (letter["event_id"], letter["retry_count"], letter["last_error"]["type"]) == (devil[0], 4, "23514")
    assert "no_devil" in letter["last_error"]["message"]
    wait_for(lambda: alerter.metric("mutt_alerter_events_processed_total", status="error") == 4, "4 counted")


def test_an_unmatched_pattern_brings_one_meta_alert_with_its_own_audit_row(
    trail: Trail, start_service: StartService
) -> None:
    trail.sql("INSERT INTO device_teams (hostname, team_assignment) VALUES ('sw9.example', 'ACCESS')")
    environment: dict[str, Any] = {"UNHANDLED_THRESHOLD": "10"}
    start_service("alerter", **environment)
    start_service("alerter", **environment)
    for part in range(6):
        trail.send(*(queue_entry(f"psu {n} at {part}.5 volts", "sw9.example")[1] for n in range(5)))
    rows = trail.wait_rows(31)
    metas = [row for row in rows if row["source"] == "mutt"]
    assert len(metas) == 1
    assert (metas[0]["handling"], metas[0]["team"], metas[0]["rule_id"]) == ("Ticket_only", "ACCESS", None)
    assert metas[0]["hostname"] == "sw9.example"
    assert "psu <num> at <num> volts" in metas[0]["message"]
    wait_for(lambda: trail.length(QUEUE) == 0 and trail.nothing_is_held(), "all settled")
    assert [alert["_mutt"]["event_id"] for alert in trail.entries(ALERTS)] == [str(metas[0]["event_id"])]
    counters = list(trail.redis.scan_iter("mutt:unhandled:*"))
    assert [trail.redis.get(key) for key in counters] == [b"30"]


def test_a_changed_rule_counts_at_once_when_told_and_at_sighup(trail: Trail, start_service: StartService) -> None:
    alerter = start_service("alerter")
    assert alerter.metric("mutt_alerter_cache_rules_count") == 0
    trail.rule(match_string="one")
    trail.redis.publish(keys.CONFIG_UPDATES, "rules")
    wait_for(lambda: alerter.metric("mutt_alerter_cache_rules_count") == 1, "one rule")
    trail.rule(match_string="two")
    alerter.signal(signal.SIGHUP)
    wait_for(lambda: alerter.metric("mutt_alerter_cache_rules_count") == 2, "two rules")


def test_the_caches_reload_by_the_clock_and_survive_a_broken_table(trail: Trail, start_service: StartService) -> None:
    alerter = start_service("alerter", CACHE_RELOAD_INTERVAL="1")
    trail.rule(match_string="one")
    wait_for(lambda: alerter.metric("mutt_alerter_cache_rules_count") == 1, "one rule")
    trail.sql("ALTER TABLE alert_rules RENAME TO hidden")
    wait_for(lambda: "rules, hosts and teams were not reloaded" in fetch(alerter.health_url)[1], "the reason in health")
    failures = alerter.metric("mutt_alerter_cache_reload_failures_total")
    assert failures is not None
    assert failures >= 1
    trail.send(queue_entry("one two")[1])
    assert trail.wait_rows(1)[0]["handling"] == "Page_and_ticket"
    trail.sql("ALTER TABLE hidden RENAME TO alert_rules")
    alerter.wait_healthy()


def test_a_full_alert_queue_sheds_the_least_urgent_whole_and_unaudited(
    trail: Trail, start_service: StartService
) -> None:
    trail.rule(match_string="page")
    trail.rule(match_string="mail", prod_handling="Email_only")
    for key, value in (("warn_threshold", 5), ("shed_threshold", 10)):
        trail.redis.set(f"mutt:config:alerter_queue_{key}", value)
    trail.redis.lpush(ALERTS, *("waiting",) * 8)
    alerter = start_service("alerter", DYNAMIC_CONFIG_ENABLED="true")
    mails = [queue_entry(f"mail {n}") for n in range(3)]
    pages = [queue_entry(f"page {n}") for n in range(2)]
    logs = [queue_entry(f"quiet {n}") for n in range(2)]
    trail.send(*(entry for _, entry in mails + pages + logs))
    trail.wait_length(DEAD, 3)
    shed = trail.entries(DEAD)
    assert {letter["_mutt"]["event_id"] for letter in shed} == {event_id for event_id, _ in mails}
    assert all(letter["_mutt"]["shedding_reason"] and "last_error" not in letter["_mutt"] for letter in shed)
    assert {str(row["event_id"]) for row in trail.wait_rows(4)} == {event_id for event_id, _ in pages + logs}
    wait_for(lambda: alerter.metric("mutt_alerter_shed_events_total", mode="dlq") == 3, "3 shed")


def test_a_full_alert_queue_defers_when_told_to(trail: Trail, start_service: StartService) -> None:
    trail.rule(match_string="page")
    trail.redis.set("mutt:config:alerter_shed_mode", "defer")
    trail.redis.set("mutt:config:alerter_queue_shed_threshold", 2)
    trail.redis.set("mutt:config:alerter_defer_sleep_ms", 20)
    trail.redis.lpush(ALERTS, "a", "b", "c")
    alerter = start_service("alerter", DYNAMIC_CONFIG_ENABLED="true")
    first = queue_entry("quiet")
    trail.send(first[1])
    trail.wait_rows(1)
    trail.send(queue_entry("page")[1])
    wait_for(lambda: (alerter.metric("mutt_alerter_shed_events_total", mode="defer") or 0) >= 3, "deferrals")
    assert trail.length(QUEUE) == 1
    assert trail.length(DEAD) == 0
    trail.redis.delete(ALERTS)
    trail.wait_rows(2)


def test_an_impossible_setting_is_refused_with_its_name(start_service: StartService) -> None:
    alerter = start_service("alerter", wait=False, ALERTER_JANITOR_TIMEOUT="20")
    assert alerter.process.wait(60) == 78
    assert "ALERTER_JANITOR_TIMEOUT=20 is not possible" in alerter.log()


def test_a_redis_that_evicts_is_refused_with_the_setting(trail: Trail, start_service: StartService) -> None:
    trail.redis.config_set("maxmemory-policy", "allkeys-lru")
    alerter = start_service("alerter", wait=False)
    assert alerter.process.wait(60) == 78
    assert "maxmemory-policy allkeys-lru" in alerter.log()


def test_a_month_without_a_partition_gets_one_and_an_impossible_one_is_the_events_fault(
    trail: Trail, start_service: StartService
) -> None:
    start_service("alerter")
    later, earlier = queue_entry(), queue_entry()
    trail.send(later[1].replace(b'"event_timestamp":"202', b'"event_timestamp":"204'))
    trail.send(earlier[1].replace(b'"event_timestamp":"20', b'"event_timestamp":"19'))
    assert [str(row["event_id"]) for row in trail.wait_rows(1)] == [later[0]]
    trail.wait_length(DEAD, 1)
    letter = trail.entries(DEAD)[0]["_mutt"]
    assert (letter["event_id"], letter["last_error"]["type"]) == (earlier[0], "22008")


@pytest.mark.parametrize(("decided", "now"), [("Page_and_ticket", "Log_only"), ("Log_only", "Page_and_ticket")])
def test_what_a_dead_alerter_had_audited_stands_though_the_rule_has_changed(
    trail: Trail, start_service: StartService, decided: str, now: str
) -> None:
    """The alert is that of the row, or none: the event is judged anew, and the row is there already."""
    rule = trail.rule(match_string="fan", prod_handling=decided)
    event_id, entry = queue_entry("fan failed")
    trail.send(entry)
    first = start_service("alerter")
    trail.wait_rows(1)
    assert first.terminate() == 0
    alerts = trail.entries(ALERTS)
    trail.redis.delete(ALERTS)
    trail.sql(f"UPDATE alert_rules SET prod_handling = '{now}', version = version + 1 WHERE id = {rule}")
    start_service("alerter")  # whose rules are the new ones

    trail.send(entry, queue_entry("fan failed")[1])

    rows = {str(row["event_id"]): row["handling"] for row in trail.wait_rows(2)}
    assert sorted([rows.pop(event_id), *rows.values()]) == sorted([decided, now])
    wait_for(trail.nothing_is_held, "empty processing lists")
    forwarded = trail.entries(ALERTS)
    assert [alert for alert in forwarded if alert["_mutt"]["event_id"] == event_id] == alerts
    assert len(forwarded) == 1


def test_a_row_that_waited_brings_the_alert_that_its_first_decision_owes(
    trail: Trail, start_service: StartService
) -> None:
    """One alerter committed it and died; another, without PostgreSQL, decided by a newer rule that nothing is owed."""
    trail.rule(match_string="fan")
    event_id, entry = queue_entry("fan failed")
    trail.send(entry)
    start_service("alerter")
    trail.wait_rows(1)
    trail.wait_length(ALERTS, 1)
    alert: Any = trail.redis.rpop(ALERTS)

    later = alert.replace(b'"Page_and_ticket"', b'"Log_only"')
    assert later != alert
    trail.redis.lpush(keys.AUDIT_PENDING, later)

    trail.wait_length(keys.AUDIT_PENDING, 0)
    trail.wait_length(ALERTS, 1)
    assert trail.redis.rpop(ALERTS) == alert
    wait_for(trail.nothing_is_held, "empty processing lists")
    assert [row["handling"] for row in trail.wait_rows(1)] == ["Page_and_ticket"]
    assert event_id in alert.decode()
