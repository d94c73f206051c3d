"""Every dynamic key takes effect in services that run."""

from pathlib import Path
from typing import Any

import redis

from mutt import keys
from mutt.dynamic_keys import ALL
from tests.harness.entries import queue_entry
from tests.harness.processes import ServiceProcess, StartService
from tests.harness.waiting import wait_for
from tests.service.moog_stage import Moogsoft, Stage, to
from tests.service.trail import ALERTS, DEAD, Trail
from tests.service.web_api import Api

HERE = Path(__file__).parent
PROOFS = {
    "cache_reload_interval": "test_hot_changes.py::test_the_alerter_follows_its_keys",
    "max_ingest_queue_size": "test_ingest_replies.py::test_the_dynamic_cap_holds_as_soon_as_it_is_set",
    "alerter_queue_warn_threshold": "test_hot_changes.py::test_the_alerter_follows_its_keys",
    "alerter_queue_shed_threshold": "test_hot_changes.py::test_the_alerter_follows_its_keys",
    "alerter_shed_mode": "test_hot_changes.py::test_the_alerter_follows_its_keys",
    "alerter_defer_sleep_ms": "test_hot_changes.py::test_the_alerter_follows_its_keys",
    "moog_rate_limit": "test_moog_forwarder_requests.py::test_the_rate_limit_can_be_changed_while_it_runs",
    "moog_batch_size": "test_hot_changes.py::test_the_forwarder_follows_the_size_of_a_batch",
    "slo_window_hours": "test_hot_changes.py::test_the_console_follows_the_service_levels",
    "slo_ingest_success_target": "test_hot_changes.py::test_the_console_follows_the_service_levels",
    "slo_forward_success_target": "test_hot_changes.py::test_the_console_follows_the_service_levels",
}


def test_every_key_has_a_test_that_changes_it_while_services_run() -> None:
    assert set(PROOFS) == set(ALL)
    for proof in PROOFS.values():
        file, name = proof.split("::")
        assert f"def {name}(" in (HERE / file).read_text(encoding="utf-8"), proof


def change(client: Any, service: ServiceProcess, **values: object) -> None:
    """Set keys as an operator does with redis-cli, and wait until the service has them."""
    for name, value in values.items():
        client.set(keys.config(name), str(value))
        assert client.publish(keys.CONFIG_UPDATES, name) >= 1
        service.wait_log(f"key={name}")


def wait_listening(client: Any, listeners: int = 1) -> None:
    wait_for(lambda: client.pubsub_numsub(keys.CONFIG_UPDATES)[0][1] >= listeners, "listeners")


def deferred(alerter: ServiceProcess) -> float:
    return alerter.metric("mutt_alerter_shed_events_total", mode="defer") or 0


def test_the_alerter_follows_its_keys(trail: Trail, start_service: StartService) -> None:
    trail.rule(match_string="page")
    alerter = start_service("alerter", DYNAMIC_CONFIG_ENABLED="true")
    wait_listening(trail.redis)
    trail.redis.lpush(ALERTS, "a", "b", "c")

    change(trail.redis, alerter, alerter_queue_warn_threshold=3)
    trail.send(queue_entry("quiet")[1])
    alerter.wait_log("warn_at=3")
    trail.wait_rows(1)

    change(trail.redis, alerter, alerter_queue_shed_threshold=3)
    trail.send(queue_entry("page shed")[1])
    trail.wait_length(DEAD, 1)

    change(trail.redis, alerter, alerter_shed_mode="defer")
    trail.send(queue_entry("page deferred")[1])
    wait_for(lambda: deferred(alerter) >= 2, "deferrals")

    # At the default of 250 ms so many deferrals take longer than any wait of a test.
    change(trail.redis, alerter, alerter_defer_sleep_ms=1)
    wanted = deferred(alerter) + 300
    wait_for(lambda: deferred(alerter) >= wanted, "quick deferrals")

    change(trail.redis, alerter, cache_reload_interval=1)  # 300 before
    for rules in (2, 3):
        trail.rule(match_string=f"another {rules}")  # that nobody announces
        wait_for(lambda: alerter.metric("mutt_alerter_cache_rules_count") == rules, "a reload")  # noqa: B023


def test_the_forwarder_follows_the_size_of_a_batch(
    redis_url: str, moogsoft: Moogsoft, start_service: StartService
) -> None:
    stage = Stage(redis_url)
    forwarder = start_service("moog-forwarder", **to(moogsoft, MOOG_BATCH_MODE="events", DYNAMIC_CONFIG_ENABLED="true"))
    wait_listening(stage.redis)
    stage.send(*(f"first {number}" for number in range(8)))
    moogsoft.wait_delivered(8)
    assert max(len(request.alerts) for request in moogsoft.requests) > 2
    before = len(moogsoft.requests)
    change(stage.redis, forwarder, moog_batch_size=2)
    stage.send(*(f"more {number}" for number in range(8)))
    moogsoft.wait_delivered(16)
    assert max(len(request.alerts) for request in moogsoft.requests[before:]) == 2


def test_the_console_follows_the_service_levels(redis_url: str, start_service: StartService) -> None:
    api = Api(start_service("webui", DYNAMIC_CONFIG_ENABLED="true", PROMETHEUS_URL="http://127.0.0.1:9"))
    with redis.Redis.from_url(redis_url) as client:
        client.set(keys.config("slo_window_hours"), "48")
        client.set(keys.config("slo_ingest_success_target"), "0.9")
        client.set(keys.config("slo_forward_success_target"), "0.8")

    def shown() -> tuple[Any, ...]:
        document = api.get("/slo").json()
        components = document["components"]
        return document["window_hours"], components["ingestor"]["target"], components["forwarder"]["target"]

    wait_for(lambda: shown() == (48, 0.9, 0.8), "the new window and targets")
