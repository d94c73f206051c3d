"""tuning.md names settings and metrics that exist, and sizing.md computes with the figures that it shows."""

import json
import re
from pathlib import Path

import psycopg
import pytest
import redis

from benchmarks.table_text import PAGES, data
from mutt.dynamic_keys import ALL
from mutt.settings import SERVICES
from mutt.variables import variables
from tests.deployment.manifests import ROOT

TUNING = (ROOT / "docs" / "operations" / "tuning.md").read_text(encoding="utf-8")
SIZING = (ROOT / "docs" / "operations" / "sizing.md").read_text(encoding="utf-8")
VARIABLES = {variable.name for service in SERVICES.values() for variable, _ in variables(service)}


def settings(section: str) -> list[str]:
    """Return the names in the first column of a section's tables."""
    (text,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", TUNING, re.MULTILINE | re.DOTALL)
    found = [name for row in re.findall(r"^\| (`[^|]+) \|", text, re.MULTILINE) for name in re.findall(r"`(.+?)`", row)]
    assert found
    return found


def test_every_variable_and_dynamic_key_exists() -> None:
    assert not [name for name in settings("MUTT") if name not in VARIABLES | set(ALL)]
    elsewhere = set(re.findall(r"`([A-Z][A-Z0-9_]{5,})`", TUNING + SIZING))
    assert elsewhere <= VARIABLES


def test_every_metric_exists() -> None:
    known = set(re.findall(r"`(mutt_\w+)`", (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")))
    named = set(re.findall(r"`(mutt_\w+)`", TUNING))
    assert named
    assert named <= known


def test_every_setting_of_redis_exists(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        assert not [name for name in settings("Redis") if not client.config_get(name)]
        assert {"aof_rewrites"} <= set(client.info("persistence"))


def test_every_setting_of_postgresql_exists(empty_database_url: str) -> None:
    with psycopg.connect(empty_database_url) as connection:
        known = {name for (name,) in connection.execute("SELECT name FROM pg_settings")}
    assert not set(settings("PostgreSQL")) - known


@pytest.mark.skipif(not Path("/proc/sys").is_dir(), reason="the section is about Linux")
def test_every_setting_of_linux_exists() -> None:
    assert not [name for name in settings("Linux") if not Path("/proc/sys", *name.split(".")).exists()]


def figure(label: str) -> float:
    """Return the first figure of that name in what the benchmark printed."""
    found = re.search(rf"^  {label} +([\d,.]+)$", SIZING, re.MULTILINE)
    assert found, label
    return float(found[1].replace(",", ""))


def example(label: str) -> str:
    """Return a row of the example."""
    (found,) = re.findall(rf"^\| {label} \| (.+) \|$", SIZING[SIZING.index("## An example") :], re.MULTILINE)
    return str(found)


def test_the_example_follows_from_the_figures_and_the_formulas() -> None:
    rate, day, kept = 2_000, 86_400, 121
    alerts = rate * 0.05
    (cpu,) = re.findall(r"^\| the audit row, batches of 100 \| [\d,]+ \| ([\d.]+) \|$", SIZING, re.MULTILINE)
    assert example("cores").startswith(f"{rate * float(cpu) / 1e6:.2f} ")
    queues = rate * 3600 * figure("ingest queue")
    assert example("memory of queues") == f"{queues / 1e9:.1f} GB"
    assert example("`maxmemory`") == f"{(queues + 500_000 * figure('alert queue')) / 0.75 / 1e9:.1f} GB"
    audit = rate * day * figure("on disk")
    assert example("disk of the audit") == f"{audit / 1e9:.0f} GB a day, {audit * kept / 1e12:.1f} TB for {kept} days"
    (delivered,) = re.findall(r"bytes a row of delivery_log .*\n  on disk +(\d+)", SIZING)
    log = alerts * day * float(delivered)
    assert example("disk of the delivery log") == f"{log / 1e9:.1f} GB a day, {log * kept / 1e9:.0f} GB for {kept} days"
    assert example("write-ahead log") == f"{rate * day * figure('write-ahead log') / 1e9:.0f} GB a day"
    assert example("alerts/s").startswith(f"{alerts:.0f}: more than {ALL['moog_rate_limit'].default} requests/s")


def test_the_formulas_use_the_figures_that_are_shown() -> None:
    formulas = SIZING[SIZING.index("## The formulas") : SIZING.index("## An example")]
    (delivered,) = re.findall(r"bytes a row of delivery_log .*\n  on disk +(\d+)", SIZING)
    shown = {f"{figure(label):,.0f}" for label in ("ingest queue", "alert queue", "on disk", "write-ahead log")} | {
        delivered
    }
    assert set(re.findall(r"([\d,]+) bytes", formulas)) == shown


@pytest.mark.parametrize(("mode", "page"), [(mode, page) for mode, pages in PAGES.items() for page in pages])
def test_a_table_of_benchmarks_shows_the_figures_that_are_kept_beside_it(mode: str, page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    kept = data(mode)
    if kept.exists():
        assert text == PAGES[mode][page](text, json.loads(kept.read_text(encoding="utf-8")))
    else:
        assert text.count("<!-- bench -->") == 1  # where they will be


def test_each_command_of_sizing_is_a_benchmark_that_is_there() -> None:
    scripts = re.findall(r"`\.venv/bin/python (benchmarks/\w+\.py)`", SIZING)
    assert len(scripts) >= 3
    assert all((ROOT / script).is_file() for script in scripts)
