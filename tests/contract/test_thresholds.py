"""Figures: retries, circuit, backpressure, limits, rules, answers."""

from datetime import UTC, datetime
from typing import Any

import pytest

from mutt.answers import Verdict, classify, unanswered
from mutt.backpressure import Level, pressure
from mutt.circuit import GAUGE, State
from mutt.dynamic_keys import ALL
from mutt.errors import RuleError
from mutt.keys import POISON
from mutt.retry import forward_delay, remediation_due
from mutt.rules import DEV_HANDLINGS, PROD_HANDLINGS, MatchType, validate_rule
from mutt.settings import (
    AlerterSettings,
    IngestorSettings,
    MoogForwarderSettings,
    QueueNames,
    RemediationSettings,
)
from scripts.archiving.arguments import ACTIVE_DAYS, ARCHIVE_YEARS
from tests.contract.sheet import ROOT, SHEET, Row, params, standing

NAMES = QueueNames()


def test_an_alerters_event_is_tried_again_as_often_as_promised() -> None:
    facts = SHEET["retry"]["alerter"]
    assert AlerterSettings().max_retries == facts["max_retries"]
    assert (NAMES.ingest_queue, NAMES.alerter_dlq) == (facts["back_to"], facts["then"])


def test_a_forwarders_waits_follow_the_formula() -> None:
    facts, settings = SHEET["retry"]["forwarder"], MoogForwarderSettings()
    assert (settings.max_retries, settings.retry_base_delay, settings.retry_max_delay, NAMES.moog_dlq) == (
        facts["max_retries"], facts["base_seconds"], facts["cap_seconds"], facts["then"],
    )  # fmt: skip
    waits = [forward_delay(attempt, settings.retry_base_delay, settings.retry_max_delay, 0) for attempt in range(1, 8)]
    assert waits == [*facts["waits"], facts["sixth"], facts["seventh"]]
    shortened = forward_delay(7, settings.retry_base_delay, settings.retry_max_delay, 1)
    assert 0 < shortened < facts["cap_seconds"]


def test_a_dead_letter_waits_longer_each_time() -> None:
    facts, settings = SHEET["retry"]["remediation"], RemediationSettings()
    assert (settings.max_retries, settings.backoff_base) == (facts["max_retries"], facts["base_seconds"])
    waits = [remediation_due(attempts, settings.backoff_base) for attempts in range(settings.max_retries)]
    assert waits == facts["waits"]
    assert facts["then"] == POISON


def test_the_circuit_opens_and_tries_again_at_the_promised_figures() -> None:
    facts, settings = SHEET["circuit"], MoogForwarderSettings().circuit
    assert (settings.threshold, settings.open_seconds) == (facts["failures_to_open"], facts["open_seconds"])
    assert {state.value: GAUGE[state] for state in State} == facts["states"]


@pytest.mark.parametrize("verdict", [verdict.value for verdict in Verdict])
def test_every_listed_answer_has_its_meaning(verdict: str) -> None:
    for answer in SHEET["answers"][verdict]:
        outcome = unanswered(answer, "") if isinstance(answer, str) else classify(answer, now=datetime.now(UTC))
        assert outcome.verdict.value == verdict, answer


def test_backpressure_warns_and_sheds_at_the_dynamic_keys_defaults() -> None:
    facts = SHEET["backpressure"]
    warn, shed = ALL["alerter_queue_warn_threshold"].default, ALL["alerter_queue_shed_threshold"].default
    assert (warn, shed, ALL["alerter_defer_sleep_ms"].default) == (
        facts["warn_at"], facts["shed_at"], facts["defer_ms"],
    )  # fmt: skip
    assert (NAMES.alert_queue, NAMES.alerter_dlq) == (facts["queue"], facts["shed_to"])
    assert list(ALL["alerter_shed_mode"].choices) == facts["modes"]

    def level(depth: int, mode: str) -> Level:
        return pressure(depth, int(warn), int(shed), mode=mode, dlq_depth=0, dlq_max=1).level

    assert level(facts["warn_at"] - 1, "dlq") is Level.CALM
    assert level(facts["warn_at"], "dlq") is Level.WARN
    assert level(facts["shed_at"], "dlq") is Level.SHED
    assert level(facts["shed_at"], "defer") is Level.DEFER


def test_the_limiter_and_the_heartbeats_have_their_figures() -> None:
    limit, beat = SHEET["rate_limit"], SHEET["heartbeat"]
    forwarder, alerter = MoogForwarderSettings(), AlerterSettings()
    assert (NAMES.rate_limit, forwarder.rate_limit, forwarder.rate_period) == (
        limit["key"], limit["requests"], limit["period_seconds"],
    )  # fmt: skip
    for settings in (forwarder, alerter):
        assert (settings.heartbeat_interval, settings.janitor_timeout) == (
            beat["interval_seconds"], beat["timeout_seconds"],
        )  # fmt: skip


def test_an_event_needs_the_promised_fields() -> None:
    assert list(IngestorSettings().required_message_fields) == SHEET["event"]["required"]


def rule(**changes: Any) -> dict[str, Any]:
    made = {
        "match_string": "x", "trap_oid": None, "syslog_severity": None, "match_type": "contains", "priority": 1,
        "prod_handling": "Log_only", "dev_handling": "Log_only", "team_assignment": "NETO",
    }  # fmt: skip
    return made | changes


def is_refused(field: str, **changes: Any) -> bool:
    try:
        validate_rule(rule(**changes))
    except RuleError as error:
        return field in error.details
    return False


def test_a_rule_takes_the_promised_values_and_no_other() -> None:
    facts = SHEET["rule"]
    assert [kind.value for kind in MatchType] == facts["match_types"]
    assert [handling.value for handling in PROD_HANDLINGS] == facts["prod_handlings"]
    assert [handling.value for handling in DEV_HANDLINGS] == facts["dev_handlings"]
    low, high = facts["priority"]
    for priority in (low, high):
        assert validate_rule(rule(priority=priority))["priority"] == priority
    assert is_refused("priority", priority=low - 1)
    assert is_refused("priority", priority=high + 1)
    least, most = SHEET["event"]["severity"]
    assert is_refused("syslog_severity", syslog_severity=least - 1)
    assert is_refused("syslog_severity", syslog_severity=most + 1)
    assert is_refused("prod_handling", prod_handling="Suppress")
    assert is_refused("dev_handling", dev_handling="Page_and_ticket")


@pytest.mark.parametrize("field", SHEET["rule"]["required"])
def test_a_rule_without_a_required_field_is_refused(field: str) -> None:
    body = rule()
    del body[field]
    with pytest.raises(RuleError) as refusal:
        validate_rule(body)
    assert field in refusal.value.details


def test_slo_targets_are_the_dynamic_keys_defaults() -> None:
    facts = SHEET["slo"]
    assert ALL["slo_window_hours"].default == facts["window_hours"]
    assert ALL["slo_ingest_success_target"].default == facts["targets"]["ingestor"]
    assert ALL["slo_forward_success_target"].default == facts["targets"]["forwarder"]


def sources(*folders: str, ending: str) -> str:
    """Return the text of all files below the folders, without the difference of white space."""
    files = [path for folder in folders for path in (ROOT / folder).rglob(f"*{ending}") if path.is_file()]
    return " ".join(" ".join(path.read_text(encoding="utf-8").split()) for path in files)


@params(row for row in standing() if row.id == "slo:queries")
def test_the_slo_queries_are_asked_as_written(row: Row) -> None:
    text = sources("mutt", "services", ending=".py")
    for metric in ("mutt_ingest_requests_total", "mutt_moog_requests_total"):
        assert f"sum(rate({metric}" in text, row.id


@params(row for row in standing() if row.id == "retention:archive")
def test_archives_are_kept_for_years(row: Row) -> None:
    facts = SHEET["retention"]
    found = (ACTIVE_DAYS, ARCHIVE_YEARS)
    assert found == (facts["event_audit_active_days"], facts["event_audit_archive_years"]), row.id


@params(row for row in standing() if row.id == "retention:prometheus")
def test_prometheus_keeps_its_days(row: Row) -> None:
    text = sources("monitoring", "systemd", "k8s", ending="")
    assert f"storage.tsdb.retention.time={SHEET['retention']['prometheus_days']}d" in text, row.id
