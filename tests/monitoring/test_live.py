"""A real Prometheus scrapes the five services under load: each panel shows something, each runbook can be followed."""

from collections.abc import Iterator
from typing import Any

import pytest

from services.runtime.instruments import SERVICES
from tests.contract.stack import SHORT, Stack, running
from tests.harness.servers import Databases
from tests.harness.waiting import wait_for
from tests.monitoring.files import ALERTS, RECORDED, dashboard, queries
from tests.monitoring.stage import Prometheus, watched
from tests.service.moog_stage import TLS_FOLDER, Moogsoft

VARIABLES = {"$instance": ".*", "$__rate_interval": "20s"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, databases: Databases) -> Iterator[Stack]:
    moogsoft = Moogsoft(tls=True)
    changes = {"MOOG_WEBHOOK_URL": moogsoft.url, "MOOG_CA_CERT_PATH": str(TLS_FOLDER / "certificate.pem")}
    with running(tmp_path_factory.mktemp("watched"), databases, **SHORT, **changes) as started:
        yield started
    moogsoft.close()


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory, stack: Stack) -> Iterator[Prometheus]:
    with watched(tmp_path_factory.mktemp("prometheus"), stack) as started:
        yield started


def has_numbers(series: list[dict[str, Any]]) -> bool:
    return any(one["value"][1] != "NaN" for one in series)


def test_every_panel_of_the_dashboard_shows_data(prometheus: Prometheus) -> None:
    for title, query in queries():
        expression = query
        for variable, value in VARIABLES.items():
            expression = expression.replace(variable, value)
        assert "$" not in expression, title
        wait_for(lambda asked=expression: has_numbers(prometheus.query(asked)), f"data of {title}: {expression}")


def test_the_dashboards_variable_and_its_annotations_find_something(prometheus: Prometheus) -> None:
    made = dashboard()
    (variable,) = [each for each in made["templating"]["list"] if each["name"] == "instance"]
    assert variable["query"]["query"] == 'label_values(up{job=~"mutt-.+"}, instance)'
    found = {one["metric"]["job"] for one in prometheus.query('up{job=~"mutt-.+"} == 1')}
    assert found == {f"mutt-{name}" for name in SERVICES}
    (annotation,) = made["annotations"]["list"]
    prometheus.query(annotation["expr"])


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
