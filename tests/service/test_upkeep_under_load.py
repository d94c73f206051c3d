"""The schema is changed, and the calendar is wrong, while services work: no event is lost."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
import requests

from scripts import migrate as migrate_script
from scripts.migrate import DATABASE, migrate, steps
from services.schema import SCHEMA_VERSION
from tests.harness.credentials import INGEST_API_KEY
from tests.harness.entries import queue_entry
from tests.harness.processes import ServiceProcess, StartService
from tests.harness.servers import Databases
from tests.harness.waiting import wait_for
from tests.service.trail import DEAD, FAST, Trail

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mutt-migrate' AND wait_event_type = 'Lock'"
PARTITIONS = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'event_audit_log'::regclass ORDER BY 1"


@pytest.fixture
def before_last(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Make a database of the version before this one."""
    url = databases.create(migrated=False)
    known = steps()
    monkeypatch.setattr(migrate_script, "steps", lambda _database=DATABASE: known[: SCHEMA_VERSION - 1])
    migrate(url)
    monkeypatch.undo()
    yield url
    databases.drop(url)


@contextmanager
def sending(trail: Trail) -> Iterator[set[str]]:
    """Send events until the end of the block; yields the ids."""
    ids: set[str] = set()
    ended = threading.Event()

    def send() -> None:
        while not ended.wait(0.01):
            sent = [queue_entry(f"page {len(ids)}") for _ in range(20)]
            trail.send(*(entry for _, entry in sent))
            ids.update(event_id for event_id, _ in sent)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield ids
    finally:
        ended.set()
        thread.join()


def notes(service: ServiceProcess, words: str) -> bool:
    return words in str(json.loads(service.wait_health(200)).get("notes"))


def database_of(url: str) -> dict[str, Any]:
    return {"DB_NAME": url.rsplit("/", 1)[1]}


def test_the_schema_is_changed_while_an_alerter_writes(
    start_service: StartService, database_url: str, redis_url: str, before_last: str
) -> None:
    trail = Trail(before_last, redis_url)
    trail.rule(match_string="page", prod_handling="Log_only")  # a queue of alerts would be shed before long
    alerter = start_service("alerter", **FAST, **database_of(before_last))
    with sending(trail) as ids, psycopg.connect(before_last) as editor:
        trail.wait_rows(50)
        # Somebody's change is open for longer than a step waits for a lock: it lets others pass and comes again.
        editor.execute(
            "INSERT INTO config_audit_log (changed_by, operation, table_name) VALUES ('a', 'UPDATE', 'alert_rules')"
        )
        applied: list[str] = []
        migration = threading.Thread(target=lambda: applied.extend(migrate(before_last)))
        migration.start()
        wait_for(lambda: trail.sql(WAITING) == [(1,)], "the step waits for a lock")
        wait_for(lambda: trail.sql(WAITING) == [(0,)], "it stops waiting")
        trail.wait_rows(len(trail.rows()) + 200)
        assert migration.is_alive()
        editor.commit()
        migration.join(60)
        assert applied == [str(steps()[-1])]
        assert migrate(before_last) == []
        trail.wait_rows(len(trail.rows()) + 100)
    rows = trail.wait_rows(len(ids))
    assert len(rows) == len(ids)
    assert {str(row["event_id"]) for row in rows} == ids
    assert trail.length(DEAD) == 0
    assert "ERROR" not in alerter.log()


def test_an_older_service_says_that_the_schema_is_newer(
    start_service: StartService, database_url: str, redis_url: str
) -> None:
    trail = Trail(database_url, redis_url)
    trail.sql(f"INSERT INTO schema_version (version, name) VALUES ({SCHEMA_VERSION + 1}, 'next')")
    services = [start_service("alerter", **FAST, CACHE_RELOAD_INTERVAL="1"), start_service("webui")]
    words = f"the schema is version {SCHEMA_VERSION + 1}, this release was made for {SCHEMA_VERSION}"
    for service in services:
        wait_for(partial(notes, service, words), f"{service.url} says so")
        assert service.log().count(words) == 1
    trail.sql(f"INSERT INTO schema_version (version, name) VALUES ({SCHEMA_VERSION + 2}, 'after next')")
    for service in services:
        said = service.wait_health(503)
        assert f"is version {SCHEMA_VERSION + 2}, this release works up to {SCHEMA_VERSION + 1}" in said
        assert "install the release that the schema belongs to" in said


def at(entry: bytes, moment: str) -> bytes:
    """Return an entry with another time."""
    event = msgspec.json.decode(entry)
    event["_mutt"]["event_timestamp"] = moment
    return msgspec.json.encode(event)


def test_a_senders_clock_in_1970_or_2099_breaks_nothing(
    start_service: StartService, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    trail = Trail(database_url, redis_url)
    before = trail.sql(PARTITIONS)
    clocks = ["1970-01-01T00:00:00Z", 1, "2099-12-31T23:59:59Z", "0001-01-01", "9999-12-31T23:59:59Z", "now"]
    now = datetime.now(UTC).isoformat()
    events = [{"timestamp": now if at == "now" else at, "message": f"{at}", "hostname": "h"} for at in clocks]
    ingestor = start_service("ingestor")
    start_service("alerter", **FAST)
    reply = requests.post(
        f"{ingestor.url}/api/v2/ingest", json=events, headers={"X-API-KEY": INGEST_API_KEY}, timeout=60
    )
    assert reply.status_code == 200, reply.text
    rows = trail.wait_rows(len(events))
    assert {row["message"] for row in rows} == {event["message"] for event in events}
    assert all(row["event_timestamp"] <= row["received_at"] for row in rows)
    assert trail.sql(PARTITIONS) == before

    # What an older ingestor may have queued with such a time: its month is made, or it is a dead letter that says why.
    _, entry = queue_entry("of 2099")
    _, older = queue_entry("of 1970")
    trail.send(at(entry, "2099-12-31T23:59:59.000000Z"), at(older, "1970-01-01T00:00:00.000000Z"))
    trail.wait_rows(len(events) + 1)
    assert [row for row in trail.sql(PARTITIONS) if row not in before] == [("event_audit_log_2099_12",)]
    assert trail.sql("SELECT message FROM event_audit_log_2099_12") == [("of 2099",)]
    trail.wait_length(DEAD, 1)
    assert "2000 to 9999" in str(trail.entries(DEAD))
