"""Service levels over the API and as a page: from Prometheus, from counters, and from nobody."""

from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from json import dumps
from threading import Thread
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
import redis

from mutt import keys
from mutt.slo import INGESTOR, Hour, availability, judge
from services.web_ui.service_levels import Level
from tests.harness.processes import StartService
from tests.service.browser import Browser
from tests.service.web_api import Api, error_of


class Prometheus(BaseHTTPRequestHandler):
    """Answers queries with the value set for the metric in them."""

    values: ClassVar[dict[str, str]] = {}
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)["query"][0]
        self.asked.append(query)
        found = [value for metric, value in self.values.items() if metric in query]
        result = [{"metric": {}, "value": [0, found[0]]}] if found else []
        body = dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture
def prometheus() -> Iterator[str]:
    """Run a stand-in for Prometheus's query API."""
    Prometheus.values, Prometheus.asked = {}, []
    with ThreadingHTTPServer(("127.0.0.1", 0), Prometheus) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def count(url: str, component: str, **outcomes: int) -> None:
    with redis.Redis.from_url(url) as client:
        for outcome, number in outcomes.items():
            client.incrby(keys.slo(component, outcome, datetime.now(UTC)), number)


def test_without_anything_counted_there_is_no_data(start_service: StartService) -> None:
    api = Api(start_service("webui", PROMETHEUS_URL="http://127.0.0.1:9"))
    reply = api.get("/api/v1/slo")
    assert "X-API-Deprecated" not in reply.headers
    assert reply.json() == api.get("/slo").json()
    document = reply.json()
    assert document["window_hours"] == 24
    assert document["components"]["forwarder"] == {
        "target": 0.99,
        "availability": None,
        "error_budget_remaining": None,
        "burn_rate": None,
        "state": "no_data",
        "window_hours": 24,
        "source": "counters",
        "availability_without_sender_errors": None,
    }
    assert "no data" in Browser(api.service).sign_in().open("/slo")


def test_counters_answer_where_prometheus_does_not(start_service: StartService, redis_url: str) -> None:
    api = Api(start_service("webui", PROMETHEUS_URL="http://127.0.0.1:9"))
    count(redis_url, "ingestor", ok=980, fail=20, sender=18)
    count(redis_url, "forwarder", ok=985, fail=15)
    found = api.get("/slo").json()["components"]
    ingestor, forwarder = found["ingestor"], found["forwarder"]
    assert (ingestor["availability"], ingestor["burn_rate"], ingestor["state"]) == (0.98, 4.0, "critical")
    assert ingestor["availability_without_sender_errors"] == 980 / 982
    assert (forwarder["burn_rate"], forwarder["state"], forwarder["source"]) == (1.5, "warn", "counters")
    assert forwarder["error_budget_remaining"] == -0.5
    page = Browser(api.service).sign_in().open("/slo")
    assert "98.5 %" in page
    assert "counters" in page


@pytest.mark.parametrize(
    ("hour", "blamed"), [(Hour(980, 20, 18), True), (Hour(980, 20, 10), False), (Hour(0, 3, 3), True)]
)
def test_a_level_tells_when_senders_alone_spent_its_budget(hour: Hour, *, blamed: bool) -> None:
    level = Level(INGESTOR, 0.99, judge(availability([hour]), 0.99), "counters", [hour])
    assert level.is_spent_by_senders is blamed


def test_prometheus_answers_first_and_is_named(start_service: StartService, prometheus: str, redis_url: str) -> None:
    Prometheus.values = {"mutt_ingest_requests_total": "0.9997", "mutt_moog_requests_total": "NaN"}
    api = Api(start_service("webui", PROMETHEUS_URL=prometheus, DYNAMIC_CONFIG_ENABLED="true"))
    count(redis_url, "ingestor", ok=1, fail=1)
    api.call("PUT", "/config/slo_window_hours", {"value": 6})
    found = api.get("/slo").json()
    assert found["window_hours"] == 6
    assert (found["components"]["ingestor"]["availability"], found["components"]["ingestor"]["source"]) == (
        0.9997,
        "prometheus",
    )
    assert (found["components"]["forwarder"]["state"], found["components"]["forwarder"]["source"]) == (
        "no_data",
        "prometheus",
    )
    assert 'sum(rate(mutt_moog_requests_total{status="success"}[6h]))' in " ".join(Prometheus.asked)


def test_a_prometheus_that_does_not_know_mutt_is_not_believed(
    start_service: StartService, prometheus: str, redis_url: str
) -> None:
    api = Api(start_service("webui", PROMETHEUS_URL=prometheus))
    count(redis_url, "ingestor", ok=1, fail=1)
    found = api.get("/slo").json()["components"]["ingestor"]
    assert (found["availability"], found["source"]) == (0.5, "counters")


@pytest.mark.parametrize("value", ["+Inf", "2", "-1"])
def test_what_is_no_share_does_not_pass_for_one(
    start_service: StartService, prometheus: str, redis_url: str, value: str
) -> None:
    Prometheus.values = {"mutt_ingest_requests_total": value}
    api = Api(start_service("webui", PROMETHEUS_URL=prometheus))
    count(redis_url, "ingestor", ok=1, fail=1)
    found = api.get("/slo").json()["components"]["ingestor"]
    assert (found["availability"], found["source"]) == (0.5, "counters")


def test_it_needs_a_key(start_service: StartService) -> None:
    error_of(Api(start_service("webui"), None).get("/api/v1/slo"), 401)
