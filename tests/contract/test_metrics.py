"""Every metric is shown where it is promised, with its type, its labels and their values."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.contract.sheet import SHEET, Row, params
from tests.contract.sheet import metrics as metric_rows
from tests.contract.stack import KEYS, LOG, PAGE, UNMATCHED, Stack
from tests.harness.waiting import wait_for


@dataclass
class Shown:
    """A metric as a scrape shows it; `total` is the sum of its counts or values."""

    kind: str
    labels: set[str] = field(default_factory=set)
    values: dict[str, set[str]] = field(default_factory=dict)
    total: float = 0.0


def scrape(stack: Stack, service: str) -> dict[str, Shown]:
    """Return what a service's /metrics shows, by the full name of each metric."""
    port = "http" if "http" in SHEET["services"][service]["ports"] else "metrics"
    found: dict[str, Shown] = {}
    for family in text_string_to_metric_families(stack.request(service, port, "GET", "/metrics").body):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        shown = found.setdefault(name, Shown(family.type))
        for sample in family.samples:
            labels = {label: value for label, value in sample.labels.items() if label != "le"}
            shown.labels |= set(labels)
            for label, value in labels.items():
                shown.values.setdefault(label, set()).add(value)
            if sample.name in (name, f"{name}_count"):
                shown.total += sample.value
    return found


@pytest.fixture(scope="module")
def used(stack: Stack) -> Stack:
    """Give every service something ordinary to do."""
    assert stack.post(PAGE).status == 200
    assert stack.post(LOG, UNMATCHED).status == 200
    stack.redis.rpush("mutt:dlq:alerter", b"not an entry")
    for path in ("/api/v2/rules", "/api/v2/unhandled"):
        stack.request("webui", "http", "GET", path, key=KEYS["webui"])
    wait_for(lambda: stack.moogsoft.stats()["count"] >= 1, "the alert at the stand-in")
    return stack


@params(metric_rows())
def test_a_metric_is_shown_with_its_type_labels_and_values(row: Row, used: Stack) -> None:
    facts: dict[str, Any] = row.facts

    def shows() -> bool:
        shown = scrape(used, row.service).get(facts["name"])
        return shown is not None and (shown.total > 0 or not facts.get("moves", False))

    wait_for(shows, f"{facts['name']} of {row.service}" + (", moved" if facts.get("moves") else ""))
    shown = scrape(used, row.service)[facts["name"]]
    assert shown.kind == facts["type"]
    assert shown.labels == set(facts["labels"])
    for label, values in facts.get("values", {}).items():
        assert shown.values[label] == set(values)
