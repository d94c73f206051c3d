"""Scrape configuration, rules and alerts as promtool reads them; the files around them fit together."""

import configparser
import json
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from mutt.dynamic_keys import ALL
from scripts.devtools.services import SERVICES
from services.ingestor.outcomes import SENDER_REASONS
from tests.harness.programs import program
from tests.harness.waiting import wait_for
from tests.monitoring.files import ALERTS, MONITORING, RECORDED, RUNBOOKS, load, names, queries, rules, run, series

TRIED = [test for name in ("alerts", "slo") for test in load(f"rules/tests/{name}.yml")["tests"]]
RETENTION = "--storage.tsdb.retention.time=15d"


def test_promtool_accepts_the_configuration() -> None:
    run("promtool", "check", "config", "prometheus.yml")


def test_in_kubernetes_each_pod_is_scraped_at_its_port_under_the_same_job(tmp_path: Path) -> None:
    """Debian's promtool knows no Kubernetes: the pods come from a file, with the labels that Kubernetes gives them."""
    config = load("k8s/prometheus.yml")
    (job,) = config["scrape_configs"]
    assert job.pop("kubernetes_sd_configs") == [{"role": "pod", "namespaces": {"names": ["mutt"]}}]
    job["file_sd_configs"] = [{"files": [str(tmp_path / "pods.yml")]}]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    wanted = {}
    pods: list[dict[str, Any]] = []
    for number, (name, service) in enumerate(SERVICES.items()):
        manifest = (MONITORING.parent / "k8s" / f"{name}-deployment.yaml").read_text(encoding="utf-8")
        deployment = next(each for each in yaml.safe_load_all(manifest) if each["kind"] == "Deployment")
        metadata, address = deployment["spec"]["template"]["metadata"], f"10.0.0.{number}"
        pods.append({"targets": [f"{address}:1"], "labels": pod_labels(metadata, f"{name}-0", address)})
        port = (service.ports.get("metrics") or service.ports["http"])[1]
        wanted[f"{name}-0"] = (f"mutt-{name}", f"{address}:{port}", "/metrics")
    evicted = pods[0]["labels"] | {"__meta_kubernetes_pod_name": "evicted", "__meta_kubernetes_pod_phase": "Failed"}
    pods.append({"targets": ["10.0.0.8:1"], "labels": evicted})
    pods.append({"targets": ["10.0.0.9:1"], "labels": pod_labels({"labels": {}}, "stranger", "10.0.0.9")})
    (tmp_path / "pods.yml").write_text(yaml.safe_dump(pods), encoding="utf-8")
    run("promtool", "check", "config", str(tmp_path / "prometheus.yml"))

    def found() -> dict[str, tuple[str, str, str]]:
        said = run("promtool", "check", "service-discovery", "--timeout=1s", str(tmp_path / "prometheus.yml"), "mutt")
        targets, _end = json.JSONDecoder().raw_decode(said, said.index("[\n"))  # (what it logs stands around it)
        kept = [each["labels"] for each in targets if each.get("labels")]
        return {each["instance"]: (each["job"], each["__address__"], each["__metrics_path__"]) for each in kept}

    wait_for(
        lambda: found() == wanted, f"the pods {wanted}"
    )  # (it looks for a second, whether or not it has found any)


def pod_labels(metadata: dict[str, Any], name: str, address: str) -> dict[str, str]:
    """Return what Prometheus's discovery says of a pod."""
    made = {
        "__meta_kubernetes_pod_name": name,
        "__meta_kubernetes_pod_ip": address,
        "__meta_kubernetes_pod_phase": "Running",
    }
    for kind in ("label", "annotation"):
        for key, value in metadata.get(f"{kind}s", {}).items():
            made[f"__meta_kubernetes_pod_{kind}_{re.sub('[^a-zA-Z0-9_]', '_', key)}"] = value
    return made


@pytest.mark.parametrize("path", ["rules/recording.yml", "rules/slo.yml", "rules/alerts.yml"])
def test_promtool_accepts_the_rules_and_has_nothing_to_warn_of(path: str) -> None:
    said = run("promtool", "check", "rules", "--lint=all", "--lint-fatal", path)
    assert "SUCCESS" in said


def test_each_alert_fires_when_it_has_to_and_is_quiet_when_it_has_to() -> None:
    assert "SUCCESS" in run("promtool", "test", "rules", "rules/tests/alerts.yml", "rules/tests/slo.yml")


def test_each_alert_is_tried_firing_and_quiet() -> None:
    tried = {test["name"] for test in TRIED}
    wanted = {f"{alert['alert']} {how}" for alert in ALERTS for how in ("fires", "stays quiet")}
    assert tried == wanted - {"MuttWatchdog stays quiet"}
    for test in TRIED:
        (check,) = test["promql_expr_test"]
        assert test["name"].split()[0] in check["expr"]
        assert bool(check["exp_samples"]) == test["name"].endswith("fires")


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_says_what_is_wrong_how_bad_it_is_and_where_to_read_on(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in {"page", "ticket", "none"}
    notes = alert["annotations"]
    assert set(notes) == {"summary", "description", "runbook"}
    assert len(notes["summary"]) < 90
    assert notes["runbook"] == f"docs/operations/runbooks/{alert['alert']}.md"
    assert (MONITORING.parent / notes["runbook"]).is_file()


def test_every_runbook_belongs_to_an_alert() -> None:
    pages = {path.stem for path in RUNBOOKS.glob("*.md")} - {"README"}
    assert pages == {alert["alert"] for alert in ALERTS}
    index = (RUNBOOKS / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \[(\w+)\]\(\1\.md\) \| (\w+) \|", index, re.MULTILINE)
    assert listed == [(alert["alert"], alert["labels"]["severity"]) for alert in ALERTS]


def test_rules_panels_and_runbooks_ask_for_what_the_services_show_or_a_rule_records() -> None:
    known = series() | {rule["record"] for rule in RECORDED}
    asked = [(rule.get("alert") or rule["record"], rule["expr"]) for rule in (*ALERTS, *RECORDED)]
    for page in RUNBOOKS.glob("Mutt*.md"):
        questions = re.findall(r"^promtool query instant \$PROMETHEUS '(.*)'$", page.read_text("utf-8"), re.MULTILINE)
        asked += [(page.stem, question) for question in questions]
    for who, expression in (*asked, *queries()):
        assert names(expression) <= known, who
    assert {rule["record"] for rule in RECORDED} <= set().union(*(names(text) for _, text in (*asked, *queries())))


def test_the_targets_of_the_service_levels_are_the_built_in_ones_and_senders_mistakes_are_left_out() -> None:
    targets = {rule["labels"]["slo"]: rule["expr"] for rule in RECORDED if rule["record"] == "mutt:slo_target"}
    wanted = {"ingest": "slo_ingest_success_target", "forward": "slo_forward_success_target"}
    assert targets == {slo: f"vector({ALL[key].default})" for slo, key in wanted.items()}
    left_out = {
        tuple(sorted(match.split("|"))) for rule in RECORDED for match in re.findall(r'reason!~"([^"]+)"', rule["expr"])
    }
    # (What is too large may be somebody's wish to take more, and no reason to wake him.)
    assert left_out == {tuple(sorted(SENDER_REASONS | {"too_large"}))}


def test_every_service_is_scraped_at_its_port_of_metrics() -> None:
    jobs = {job["job_name"]: job["file_sd_configs"][0]["files"] for job in load("prometheus.yml")["scrape_configs"]}
    assert jobs == {f"mutt-{name}": [f"targets/{name}.yml"] for name in SERVICES}
    for name, service in SERVICES.items():
        port = (service.ports.get("metrics") or service.ports["http"])[1]
        assert load(f"targets/{name}.yml") == [{"targets": [f"localhost:{port}"]}]
    counted = {rule["labels"]["job"] for rule in RECORDED if rule["record"] == "mutt:instances_up:count"}
    assert counted == set(jobs)


def test_metrics_are_kept_for_15_days_wherever_prometheus_is_shipped() -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string((MONITORING / "prometheus.service").read_text(encoding="utf-8"))
    assert RETENTION in unit["Service"]["ExecStart"]
    assert unit["Service"]["ExecStart"].split("--config.file=")[1].startswith("/opt/mutt/monitoring/prometheus.yml")
    (stateful,) = [each for each in manifests() if each["kind"] == "StatefulSet"]
    assert RETENTION in stateful["spec"]["template"]["spec"]["containers"][0]["args"]


def manifests() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((MONITORING / "k8s" / "prometheus.yaml").read_text(encoding="utf-8")))


def test_the_manifests_are_in_kubernetes_own_schemas_and_what_they_mount_is_there() -> None:
    for manifest in manifests():
        kubernetes_validate.validate(manifest, "1.37", strict=True)
    said = load("kustomization.yaml")
    made = {each["name"]: {Path(path).name for path in each["files"]} for each in said["configMapGenerator"]}
    assert made == {
        "prometheus-config": {"prometheus.yml"},
        "prometheus-rules": {"recording.yml", "slo.yml", "alerts.yml"},
    }
    for path in (*said["resources"], *(path for each in said["configMapGenerator"] for path in each["files"])):
        assert (MONITORING / path).is_file()


def test_the_unit_of_prometheus_is_sound_and_confined(tmp_path: Path) -> None:
    text = (MONITORING / "prometheus.service").read_text(encoding="utf-8")
    here = tmp_path / "prometheus.service"  # verify wants to see the program
    here.write_text(text.replace("/usr/bin/prometheus", str(program("prometheus").path)), encoding="utf-8")
    assert "prometheus.service" not in run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(here))
    run("systemd-analyze", "security", "--offline=true", "--threshold=25", "--no-pager", "prometheus.service")


def test_alertmanagers_example_routes_by_severity() -> None:
    run("amtool", "check-config", "alertmanager.yml")
    for labels, receiver in (
        (("alertname=MuttCircuitOpen", "severity=page"), "on-call"),
        (("alertname=MuttPoison", "severity=ticket"), "tickets"),
        (("alertname=MuttWatchdog", "severity=none"), "watchdog"),
    ):
        said = run("amtool", "config", "routes", "test", "--config.file=alertmanager.yml", *labels)
        assert said.split()[0] == receiver
    named = {alert["alert"] for alert in rules("rules/alerts.yml")}
    text = (MONITORING / "alertmanager.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"Mutt\w+", text)) <= named
