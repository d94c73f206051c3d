"""The audit of events and of changes, and the rates, over the API."""

import uuid
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import redis.asyncio

from mutt import keys
from tests.harness.processes import StartService
from tests.service.web_api import Api, error_of

NOW = datetime.now(UTC).replace(microsecond=123456)


@pytest.fixture
def api(start_service: StartService) -> Api:
    """Run a web UI."""
    return Api(start_service("webui"))


class Audit:
    """Puts events into the audit."""

    def __init__(self, url: str) -> None:
        self._url = url

    def add(self, *events: dict[str, Any]) -> list[str]:
        """Add events, the later the newer, and return their ids."""
        ids = []
        with psycopg.connect(self._url) as connection:
            for number, changes in enumerate(events):
                event_id = str(uuid.uuid4())
                row: dict[str, Any] = {
                    "event_id": event_id,
                    "correlation_id": event_id,
                    "event_timestamp": NOW - timedelta(hours=1) + timedelta(seconds=number),
                    "received_at": NOW,
                    "hostname": "core1",
                    "message": "link down",
                    "team": "NETO",
                    "handling": "Log_only",
                    "environment": "prod",
                    "forwarded": False,
                } | changes
                connection.execute(
                    f"INSERT INTO event_audit_log ({', '.join(row)}) VALUES ({', '.join(['%s'] * len(row))})",
                    tuple(row.values()),
                )
                ids.append(row["event_id"])
        return ids


@pytest.fixture
def audit(database_url: str) -> Audit:
    """Write to the test's own audit."""
    return Audit(database_url)


def found(api: Api, query: str) -> list[str]:
    reply = api.get(f"/audit-logs?{query}")
    assert reply.status_code == 200, reply.text
    return [event["event_id"] for event in reply.json()["logs"]]


def test_events_are_listed_newest_first_by_page_and_by_cursor(api: Api, audit: Audit) -> None:
    ids = audit.add(*[{}] * 7)[::-1]
    first = api.get("/audit-logs?limit=3").json()
    assert [event["event_id"] for event in first["logs"]] == ids[:3]
    pagination = first["pagination"]
    assert {**pagination, "next_cursor": ""} == {
        "page": 1,
        "limit": 3,
        "total": 7,
        "pages": 3,
        "exact": True,
        "next_cursor": "",
    }
    assert found(api, "limit=3&page=3") == ids[6:]
    second = api.get(f"/audit-logs?limit=3&cursor={pagination['next_cursor']}").json()
    assert [event["event_id"] for event in second["logs"]] == ids[3:6]
    last = api.get(f"/audit-logs?limit=3&cursor={second['pagination']['next_cursor']}").json()
    assert [event["event_id"] for event in last["logs"]] == ids[6:]
    assert last["pagination"]["next_cursor"] is None
    assert api.get("/audit-logs").json()["pagination"]["limit"] == 50


def test_events_of_one_instant_are_paged_without_loss(api: Api, audit: Audit) -> None:
    ids = set(audit.add(*[{"event_timestamp": NOW}] * 5))
    seen: list[str] = []
    query = "limit=2"
    while True:
        page = api.get(f"/audit-logs?{query}").json()
        seen += [event["event_id"] for event in page["logs"]]
        if page["pagination"]["next_cursor"] is None:
            break
        query = f"limit=2&cursor={page['pagination']['next_cursor']}"
    assert (len(seen), set(seen)) == (5, ids)


def test_events_are_found_by_each_filter_and_by_all_together(api: Api, audit: Audit) -> None:
    trace = str(uuid.uuid4())
    wanted, other, old = audit.add(
        {
            "hostname": "lab1",
            "rule_id": 7,
            "handling": "Ticket_only",
            "message": "100% of CPU_1",
            "correlation_id": trace,
        },
        {},
        {"event_timestamp": NOW - timedelta(days=2), "rule_id": 7, "message": "100% of CPU_1"},
    )
    for query in (
        "hostname=LAB1.",
        "rule_id=7",
        f"correlation_id={trace}",
        f"event_id={wanted}",
        "handling=Ticket_only",
    ):
        assert found(api, query) == [wanted], query
    assert found(api, f"hostname=lab1&rule_id=7&correlation_id={trace}&event_id={wanted}&q=cpu_") == [wanted]
    assert found(api, "q=100%25") == [wanted]
    assert found(api, "q=100_") == []
    assert set(found(api, f"q=cpu&start_date={(NOW - timedelta(days=3)).date()}")) == {wanted, old}
    assert found(api, f"end_date={(NOW - timedelta(days=1)).strftime('%Y-%m-%dT%H:%M:%SZ')}") == [old]
    assert set(found(api, "hostname=core1")) == {other, old}


def test_an_event_is_shown_with_all_that_was_audited(api: Api, audit: Audit) -> None:
    audit.add({"raw": '{"facility": 23}', "rule_id": 3, "rule_version": 2, "syslog_severity": 4})
    event = api.get("/audit-logs").json()["logs"][0]
    assert event["raw"] == {"facility": 23}
    assert (event["rule_id"], event["rule_version"], event["syslog_severity"], event["forwarded"]) == (3, 2, 4, False)
    assert event["event_timestamp"].endswith("Z")


def test_impossible_filters_are_a_400_that_names_them(api: Api) -> None:
    for query in (
        "page=0", "limit=201", "rule_id=x", "correlation_id=x", "event_id=1", "handling=Nap", "start_date=soon",
        "end_date=x", "cursor=x", "q=",
    ):  # fmt: skip
        assert query.split("=")[0] in error_of(api.get(f"/audit-logs?{query}"), 400)["details"], query
    assert "next_cursor" in error_of(api.get("/audit-logs?page=1000"), 400)["error"]
    assert "q" in error_of(api.get("/audit-logs?q=%00"), 400)["details"]


def test_an_event_is_found_by_its_id_and_all_of_a_trace_by_theirs(api: Api, audit: Audit, database_url: str) -> None:
    trace = str(uuid.uuid4())
    first, second = audit.add({"correlation_id": trace}, {"correlation_id": trace})
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO delivery_log (event_id, at, attempt, status, outcome)"
            " VALUES (%s, now(), 2, 200, 'success'), (%s, now() - interval '1 s', 1, 503, 'retry')",
            (first, first),
        )
    one = api.get(f"/events/{first.upper()}").json()["events"]
    assert [event["event_id"] for event in one] == [first]
    assert [(each["attempt"], each["status"], each["outcome"]) for each in one[0]["deliveries"]] == [
        (1, 503, "retry"),
        (2, 200, "success"),
    ]
    both = api.get(f"/events/{trace}").json()["events"]
    assert [event["event_id"] for event in both] == [second, first]
    assert both[0]["deliveries"] == []
    assert "neither in the audit nor in a queue" in error_of(api.get(f"/events/{uuid.uuid4()}"), 404)["error"]
    error_of(api.get("/events/4711"), 400)


def test_changes_are_listed_newest_first_and_filtered(api: Api) -> None:
    rule = api.create_rule()
    api.call("PUT", f"/rules/{rule['id']}", {"priority": 3, "reason": "CHG-2"})
    api.call("POST", "/dev-hosts", {"hostname": "lab1"})
    listed = api.get("/config-audit").json()
    assert [change["table_name"] for change in listed["changes"]] == ["development_hosts", "alert_rules", "alert_rules"]
    assert listed["pagination"] == {"page": 1, "limit": 50, "total": 3, "pages": 1}
    update = api.get("/config-audit?operation=UPDATE&changed_by=default&table_name=alert_rules").json()["changes"]
    assert [(change["old_values"]["priority"], change["new_values"]["priority"]) for change in update] == [(500, 3)]
    assert update[0]["reason"] == "CHG-2"
    assert len(api.get(f"/config-audit?record_id={rule['id']}&limit=1").json()["changes"]) == 1
    assert api.get("/config-audit?end_date=2020-01-01").json()["changes"] == []
    assert "start_date" in error_of(api.get("/config-audit?start_date=x"), 400)["details"]


async def test_rates_and_depths_come_from_redis_and_are_cached(api: Api, redis_client: redis.asyncio.Redis) -> None:
    now = datetime.now(UTC)
    for minutes in range(3):
        await redis_client.set(keys.metrics_minute(now - timedelta(minutes=minutes)), 60)
    await redis_client.set(keys.metrics_hour(now - timedelta(hours=2)), 1200)
    await redis_client.lpush("mutt:dlq:moog", "entry")
    document = api.get("/metrics").json()
    assert 0.9 < document["summary"]["current_rate_1m"] <= 2
    assert len(document["chart_24h"]["labels"]) == len(document["chart_24h"]["data"]) == 24
    # The hour may have turned since.
    assert 20.0 in document["chart_24h"]["data"][-4:-2]
    assert document["queues"]["dlq_moog"] == 1
    assert 0 < await redis_client.ttl("mutt:metrics:cache:metrics") <= 5
    await redis_client.persist("mutt:metrics:cache:metrics")  # however long the next steps take
    await redis_client.lpush("mutt:dlq:moog", "another")
    assert api.get("/metrics").json() == document


def test_searches_that_take_long_leave_connections_to_the_rest(api: Api, database_url: str) -> None:
    with psycopg.connect(database_url) as held, ThreadPoolExecutor(24) as together:
        held.execute("LOCK TABLE event_audit_log IN ACCESS EXCLUSIVE MODE")
        searches = [together.submit(api.get, "/audit-logs?q=abc") for _ in range(24)]
        done, _ = wait(searches, return_when=FIRST_COMPLETED)
        assert {each.result().status_code for each in done} == {503}
        rules = api.get("/rules")
        assert rules.status_code == 200, rules.text
        said = [error_of(each.result(), 503)["error"] for each in searches]
    assert any("as many searches are under way" in text for text in said), said
    assert any("took longer than 5 s" in text for text in said), said
