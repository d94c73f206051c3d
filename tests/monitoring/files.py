"""The files of monitoring/ as data."""

import json
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from services.runtime import instruments
from tests.harness.programs import program

ROOT = Path(__file__).resolve().parent.parent.parent
MONITORING = ROOT / "monitoring"
RUNBOOKS = ROOT / "docs" / "operations" / "runbooks"
SUFFIXES = {"histogram": ("_bucket", "_count", "_sum"), "counter": ("_total",), "gauge": ("",)}


def load(path: str) -> Any:
    """Return a YAML file of monitoring/."""
    return yaml.load((MONITORING / path).read_text(encoding="utf-8"), yaml.CSafeLoader)


def rules(path: str) -> list[dict[str, Any]]:
    """Return all rules of a rule file."""
    return [rule for group in load(path)["groups"] for rule in group["rules"]]


ALERTS = rules("rules/alerts.yml")
RECORDED = [*rules("rules/recording.yml"), *rules("rules/slo.yml")]


def dashboard() -> dict[str, Any]:
    """Return the dashboard."""
    made: dict[str, Any] = json.loads((MONITORING / "grafana" / "mutt.json").read_text(encoding="utf-8"))
    return made


def queries() -> Iterator[tuple[str, str]]:
    """Yield (title of the panel, query) of the dashboard."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


@cache
def series() -> frozenset[str]:
    """Return the name of every series that the services show."""
    found = set()
    for cls in instruments.SERVICES.values():
        for metric in vars(cls(CollectorRegistry())).values():
            if isinstance(metric, MetricWrapperBase):
                family = next(iter(metric.collect()))
                found |= {family.name + suffix for suffix in SUFFIXES[family.type]}
    return frozenset(found)


def names(expression: str) -> set[str]:
    """Return the names of metrics in a PromQL expression, MUTT's and those that rules record."""
    return set(re.findall(r"\bmutt[_:][a-z0-9_:]+", expression))


def run(name: str, *arguments: str) -> str:
    """Run promtool or another program in monitoring/ and return what it says; what it says is the failure, too."""
    found = program(name)
    command = [str(found.path), *arguments]
    done = subprocess.run(
        command, cwd=MONITORING, env=found.environment, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, f"{name} {' '.join(arguments)}:\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr
