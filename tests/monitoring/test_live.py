"""A real Prometheus scrapes the five services under load: each panel shows something, each runbook can be followed."""

from functools import partial
from typing import Any

import pytest

from services.runtime.instruments import QUEUES, SERVICES
from tests.harness.waiting import wait_for
from tests.monitoring.files import ALERTS, RECORDED, RUNBOOKS, dashboard, queries
from tests.monitoring.stage import Prometheus, Stage, blocks, follow

VARIABLES = {"$instance": ".*", "$__rate_interval": "20s"}


@pytest.fixture
def prometheus(stage: Stage) -> Prometheus:
    return stage.prometheus


def shows_numbers(prometheus: Prometheus, expression: str) -> bool:
    return any(one["value"][1] != "NaN" for one in prometheus.query(expression))


def test_every_panel_of_the_dashboard_shows_data(prometheus: Prometheus) -> None:
    for title, query in queries():
        expression = query
        for variable, value in VARIABLES.items():
            expression = expression.replace(variable, value)
        assert "$" not in expression, title
        shows = partial(shows_numbers, prometheus, expression)
        wait_for(shows, f"data of {title}: {expression}")


def test_the_dashboards_variable_and_its_annotations_find_something(prometheus: Prometheus) -> None:
    made = dashboard()
    (variable,) = [each for each in made["templating"]["list"] if each["name"] == "instance"]
    assert variable["query"]["query"] == 'label_values(up{job=~"mutt-.+"}, instance)'
    found = {one["metric"]["job"] for one in prometheus.query('up{job=~"mutt-.+"} == 1')}
    assert found == {f"mutt-{name}" for name in SERVICES}
    (annotation,) = made["annotations"]["list"]
    prometheus.query(annotation["expr"])


def test_each_queue_has_an_age_and_each_worker_a_heartbeat(prometheus: Prometheus) -> None:
    def shown(metric: str, label: str) -> set[str]:
        return {one["metric"][label] for one in prometheus.query(metric)}

    wait_for(lambda: shown("mutt_queue_oldest_age_seconds", "queue") == set(QUEUES), "the age of each queue")
    beating = {"mutt-ingestor", "mutt-alerter", "mutt-moog-forwarder"}
    wait_for(lambda: shown("mutt_heartbeat_timestamp_seconds > 0", "job") == beating, "the workers' heartbeats")


def test_all_rules_are_loaded_and_evaluated_without_an_error(prometheus: Prometheus) -> None:
    def rules() -> list[dict[str, Any]]:
        return [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]

    wait_for(lambda: all(rule["health"] == "ok" for rule in rules()), "every rule evaluated")
    assert {rule["name"] for rule in rules() if rule["type"] == "alerting"} == {alert["alert"] for alert in ALERTS}
    assert len(rules()) == len(ALERTS) + len(RECORDED)
    assert not [rule["lastError"] for rule in rules() if rule.get("lastError")]
    firing = {alert["labels"]["alertname"]: alert for alert in prometheus.ask("alerts")["alerts"]}
    assert firing["MuttWatchdog"]["state"] == "firing"
    assert firing["MuttWatchdog"]["annotations"]["runbook"].endswith("MuttWatchdog.md")


@pytest.mark.parametrize("alert", [alert["alert"] for alert in ALERTS])
def test_a_runbook_can_be_followed_as_it_stands(alert: str, stage: Stage) -> None:
    page = RUNBOOKS / f"{alert}.md"
    assert blocks(page)
    follow(stage, page)
