"""An event's journey over the API: audited or not, delivered, dead, explained by the rules of its time."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import psycopg
import pytest
from redis import Redis

from mutt import keys
from mutt.events import amend, decided_entry, decode_decided, failed, iso
from mutt.moogsoft import body_of
from tests.harness.credentials import WEBUI_API_KEY
from tests.harness.entries import queue_entry
from tests.harness.moogsoft import MoogStandIn
from tests.harness.processes import StartService
from tests.harness.waiting import wait_for
from tests.service.browser import Browser
from tests.service.trail import Trail
from tests.service.web_api import Api, error_of

DECISION: dict[str, Any] = {
    "handling": "Page_and_ticket",
    "team": "CORE",
    "rule_id": 5,
    "rule_version": 1,
    "environment": "prod",
}


@pytest.fixture
def api(start_service: StartService) -> Api:
    """Run a web UI."""
    return Api(start_service("webui"))


@pytest.fixture
def cache(redis_url: str) -> Redis:
    """Speak to the test's Redis."""
    return Redis.from_url(redis_url)


def event_of(api: Api, event_id: str) -> dict[str, Any]:
    reply = api.get(f"/events/{event_id}")
    assert reply.status_code == 200, reply.text
    found: list[dict[str, Any]] = reply.json()["events"]
    assert [each["event_id"] for each in found] == [event_id]
    return found[0]


def titles(event: dict[str, Any]) -> list[str]:
    return [step["title"] for step in event["journey"]["steps"]]


def test_a_page_is_followed_from_the_queue_to_moogsoft_s_answer(
    api: Api, trail: Trail, start_service: StartService, moog_stand_in: MoogStandIn
) -> None:
    rule = api.create_rule(match_string="BGP", name="BGP down", priority=600)
    other = api.create_rule(match_string="fan", priority=900)
    event_id, entry = queue_entry("neighbour lost: BGP down", "core1", vendor_code=1.50)
    trail.send(entry)
    assert event_of(api, event_id)["journey"]["title"] == "Waits to be matched, 0 in front of it"
    start_service("alerter")
    start_service("moog-forwarder")
    wait_for(lambda: len(moog_stand_in.alerts()) == 1, "the alert")
    wait_for(lambda: _took(api, event_id), "the delivery log")
    event = event_of(api, event_id)
    assert event["journey"]["title"].startswith("Paged NETO: Moogsoft took it after ")
    assert titles(event) == ["Received", f"Matched by rule {rule['id']}", "Audited", "Attempt 1: Moogsoft answered 200"]
    assert event["journey"]["under_way"] is False
    assert event["places"] == []
    assert event["sent"]["exact"] is False
    why = event["explanation"]
    assert (why["rule"]["id"], why["place"], why["rules"], why["version_known"], why["agrees"]) == (
        rule["id"],
        2,
        2,
        True,
        True,
    )
    assert [each["id"] for each in why["above"]] == [other["id"]]
    assert why["above"][0]["reason"] == "the message does not contain fan"
    start, end = why["matched_text"]
    assert event["message"][start:end] == "BGP"


def _took(api: Api, event_id: str) -> bool:
    event = event_of(api, event_id)
    return bool(event["journey"]["state"] == "ok" and not event["places"])


def test_a_rule_that_has_changed_is_shown_as_it_was(api: Api, trail: Trail, start_service: StartService) -> None:
    rule = api.create_rule(match_string="BGP", team_assignment="CORE", prod_handling="Log_only")
    start_service("alerter")
    event_id, entry = queue_entry("BGP down", "core1")
    trail.send(entry)
    trail.wait_rows(1)
    api.call("PUT", f"/rules/{rule['id']}", {"match_string": "OSPF", "team_assignment": "EDGE"})
    api.call("POST", "/dev-hosts", {"hostname": "core1"})
    api.call("POST", "/teams", {"hostname": "core1", "team_assignment": "ODD"})
    why = event_of(api, event_id)["explanation"]
    assert (why["version"], why["version_known"], why["agrees"], why["changes_since"]) == (1, True, True, 3)
    assert why["condition"] == {"match_type": "contains", "match_string": "BGP"}
    assert why["team_from"] == f"rule {rule['id']}"
    api.call("DELETE", f"/rules/{rule['id']}")
    assert event_of(api, event_id)["explanation"]["condition"]["match_string"] == "BGP"


def test_a_version_that_no_record_has_is_said_to_be_gone(api: Api, trail: Trail) -> None:
    event_id = str(uuid.uuid4())
    trail.sql(
        "INSERT INTO event_audit_log (event_id, correlation_id, event_timestamp, received_at, rule_id, rule_version,"
        " forwarded, hostname, message, team, handling, environment)"
        " VALUES (%s, %s, now(), now(), 4711, 9, false, 'core1', 'x', 'T', 'Log_only', 'prod')",
        (event_id, event_id),
    )
    why = event_of(api, event_id)["explanation"]
    assert (why["rule"], why["version"], why["version_known"], why["agrees"]) == (None, 9, False, False)


def test_an_event_is_found_wherever_it_lies(api: Api, cache: Redis) -> None:
    names: list[tuple[str, str, str]] = [
        ("mutt:ingest_queue", "waiting", "Waits to be matched"),
        ("mutt:processing:alerter:a-1", "running", "An alerter has it in hand"),
        ("mutt:dlq:alerter", "critical", "Dead before it was matched: text that is not text"),
    ]
    for key, state, title in names:
        event_id, entry = queue_entry()
        if "dlq" in key:
            entry = failed(entry, error_type="22021", message="text that is not text", at=iso(_now()), retry_count=4)
        cache.lpush(key, queue_entry()[1], entry, queue_entry()[1])
        event = event_of(api, event_id)
        assert (event["journey"]["state"], event["journey"]["title"].startswith(title)) == (state, True), event[
            "journey"
        ]
        assert [place["key"] for place in event["places"]] == [key]
        assert (event["audited_at"], event["handling"], event["explanation"]) == (None, None, None)


def test_an_alert_in_a_queue_shows_what_moogsoft_will_get_byte_for_byte(api: Api, cache: Redis) -> None:
    places: list[tuple[str, str, str]] = [
        ("mutt:alert_queue", "waiting", "On its way to Moogsoft: waits in the alert queue, 0 in front"),
        ("mutt:processing:moog:m-1", "running", "On its way to Moogsoft: a forwarder has it in hand"),
        ("mutt:dlq:moog", "critical", "Dead: Moogsoft refused it, HTTP 422"),
        ("mutt:poison:permanent", "critical", "Dead: Moogsoft refused it, HTTP 422"),
    ]
    for key, state, title in places:
        event_id, entry = queue_entry("BGP down", "core1", number=1.50, big=12345678901234567890)
        entry = decided_entry(entry.replace(b"1.5", b"1.50"), **DECISION)
        if state == "critical":
            entry = failed(entry, error_type="4xx", message="HTTP 422", at=iso(_now()), retry_count=1)
        cache.lpush(key, entry)
        event = event_of(api, event_id)
        assert event["journey"]["state"] == state
        assert event["journey"]["title"].startswith(title)
        assert event["sent"]["exact"] is True
        assert event["sent"]["body"].encode() == body_of([decode_decided(entry)], "onprem", batch=False)
        assert '"number":1.50' in event["as_received"]["body"]
        assert "12345678901234567890" in event["as_received"]["body"]


def test_a_retry_says_when_it_is_due(api: Api, cache: Redis) -> None:
    event_id, entry = queue_entry()
    entry = amend(decided_entry(entry, **DECISION), retry_count=2)
    due = _now() + timedelta(minutes=5)
    cache.zadd(keys.RETRY_MOOG, {event_id.encode() + entry: due.timestamp() * 1000})
    event = event_of(api, event_id)
    assert event["journey"]["title"] == "Not at Moogsoft yet after 2 attempts: waits for its next try"
    assert (event["places"][0]["retry_count"], event["places"][0]["due"][:19]) == (2, iso(due)[:19])


def test_a_quarantined_record_is_found_by_its_id(api: Api, cache: Redis) -> None:
    event_id = str(uuid.uuid4())
    head = f'{{"_mutt":{{"v":1,"event_id":"{event_id}","received_at":"{iso(_now())}","error":"hostname is empty"}}'
    cache.lpush(keys.QUARANTINE, head + ',"raw":"{}"}')
    event = event_of(api, event_id)
    assert event["journey"]["title"] == "Refused at the door: hostname is empty"
    assert event["hostname"] is None


def test_events_of_one_trace_are_found_in_the_audit_and_in_the_queues(api: Api, cache: Redis, trail: Trail) -> None:
    trace = str(uuid.uuid4())
    audited = str(uuid.uuid4())
    trail.sql(
        "INSERT INTO event_audit_log (event_id, correlation_id, event_timestamp, received_at, forwarded, hostname,"
        " message, team, handling, environment)"
        " VALUES (%s, %s, now(), now(), true, 'h', 'x', 'T', 'Ticket_only', 'prod')",
        (audited, trace),
    )
    waiting, entry = queue_entry(correlation_id=trace)
    cache.lpush("mutt:ingest_queue", entry)
    document = api.get(f"/events/{trace}").json()
    assert {event["event_id"] for event in document["events"]} == {audited, waiting}
    assert document["searched"] == {"looked_at": 1, "of": 1, "cut_off": [], "problem": None}


def test_a_look_that_was_cut_off_says_so(api: Api, cache: Redis) -> None:
    _, entry = queue_entry()
    with cache.pipeline(transaction=False) as pipeline:
        for _ in range(21):
            pipeline.lpush("mutt:ingest_queue", *[entry] * 1000)
        pipeline.execute()
    error = error_of(api.get(f"/events/{uuid.uuid4()}"), 404)["error"]
    assert "20,000 of 21,000 entries; it may still be in mutt:ingest_queue" in error
    first, oldest = queue_entry()
    cache.rpush("mutt:ingest_queue", oldest)
    assert event_of(api, first)["journey"]["title"] == "Waits to be matched, 0 in front of it"


def record(database_url: str, operation: str, event_id: str, entry: bytes, becomes: str | None = None) -> None:
    new = None if becomes is None else msgspec.json.encode({"event_id": becomes}).decode()
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO config_audit_log"
            " (changed_by, operation, table_name, record_id, reason, old_values, new_values)"
            " VALUES ('ann', %s, 'dead_letters', %s, 'team fixed', %s, %s)",
            (operation, event_id, msgspec.json.encode({"entry": entry.decode()}).decode(), new),
        )


def test_what_a_person_did_to_the_event_is_told(api: Api, cache: Redis, database_url: str) -> None:
    event_id, entry = queue_entry()
    entry = decided_entry(entry, **DECISION)
    cache.lpush("mutt:alert_queue", entry)
    record(database_url, "REPLAY", event_id, entry, event_id)
    event = event_of(api, event_id)
    assert "Replayed by ann" in titles(event)
    assert event["journey"]["state"] == "waiting"


def test_a_deleted_or_edited_letter_is_still_told_of(api: Api, database_url: str) -> None:
    successor = str(uuid.uuid4())
    for operation, becomes, title in (
        ("DELETE", None, "Deleted by ann: it goes no further"),
        ("EDIT", successor, "Edited by ann: it goes on under another id"),
    ):
        event_id, entry = queue_entry("BGP down")
        record(database_url, operation, event_id, decided_entry(entry, **DECISION), becomes)
        event = event_of(api, event_id)
        assert event["journey"]["title"] == title
        assert event["message"] == "BGP down"
        assert event["journey"]["steps"][-1]["event_id"] == becomes
        assert event["places"] == []


def test_without_redis_the_audit_still_answers(start_service: StartService, own_redis: Any, trail: Trail) -> None:
    api = Api(start_service("webui"))
    event_id = str(uuid.uuid4())
    trail.sql(
        "INSERT INTO event_audit_log (event_id, correlation_id, event_timestamp, received_at, audited_at, forwarded,"
        " hostname, message, team, handling, environment) VALUES (%s, %s, now(), now(), now() - interval '1 h', true,"
        " 'h', 'x', 'T', 'Ticket_only', 'prod')",
        (event_id, event_id),
    )
    own_redis.kill()
    document = api.get(f"/events/{event_id}").json()
    assert "Redis does not answer" in document["searched"]["problem"]
    assert document["events"][0]["journey"]["steps"][-1]["title"] == "Where it is now is not known"
    assert "Redis does not answer" in error_of(api.get(f"/events/{uuid.uuid4()}"), 404)["error"]


def test_without_postgresql_the_queues_still_answer(
    start_service: StartService, own_postgres: Any, own_database_url: str, cache: Redis
) -> None:
    service = start_service("webui")
    api = Api(service)
    browser = Browser(service)
    browser.open("/sign-in")
    browser.submit("/sign-in", {"key": WEBUI_API_KEY})
    event_id, entry = queue_entry("BGP down")
    cache.lpush("mutt:alert_queue", decided_entry(entry, **DECISION))
    own_postgres.kill()
    document = api.get(f"/events/{event_id}").json()
    assert "PostgreSQL does not answer" in document["searched"]["problem"]
    assert document["events"][0]["journey"]["title"].startswith("On its way to Moogsoft")
    page = browser.open(f"/events/{event_id}")
    assert "PostgreSQL does not answer: only the queues were looked through." in page
    error_of(api.get(f"/events/{uuid.uuid4()}"), 503)
    own_postgres.start()


def _now() -> datetime:
    return datetime.now(UTC)
