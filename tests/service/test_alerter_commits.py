"""Batches that wait for a commit share the next one, and each is settled with what came of its own rows."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.errors import CheckViolation

from mutt import keys
from mutt.events import decided_entry
from mutt.handling import Decision
from services.alerter.audit import part_of
from services.audit_logger import Refusal, RefusedError, Written
from tests.harness.entries import queue_entry
from tests.harness.processes import StartService
from tests.harness.proxy import Proxy
from tests.harness.waiting import wait_for
from tests.service.trail import ALERTS, DEAD, FAST, Trail

HELD = "mutt:processing:alerter:pair"
ALONE: dict[str, Any] = {"ALERTER_BATCH_SIZE": "2", "POD_NAME": "pair"}


@contextmanager
def no_commit(trail: Trail) -> Iterator[None]:
    """Let every writer of the audit wait."""
    with psycopg.connect(trail.database_url) as connection:
        connection.execute("LOCK TABLE event_audit_log IN SHARE MODE")
        yield


def test_batches_that_wait_for_a_commit_share_the_next(trail: Trail, start_service: StartService) -> None:
    start_service("alerter", **ALONE)
    with no_commit(trail):
        trail.send(*(queue_entry()[1] for _ in range(6)))
        # One is being audited, one waits behind it, and one waits for its place.
        trail.wait_length(HELD, 6)
    commits = Counter(row["audited_at"] for row in trail.wait_rows(6))
    assert [commits[at] for at in sorted(commits)] == [2, 4]
    wait_for(trail.nothing_is_held, "nothing is held")


def test_a_batch_is_audited_while_the_one_before_is_being_settled(
    trail: Trail, proxy: Callable[[str], Proxy], redis_url: str, start_service: StartService
) -> None:
    redis = proxy(redis_url)
    start_service("alerter", **ALONE, REDIS_PORT=str(redis.port))
    with no_commit(trail):
        trail.send(*(queue_entry()[1] for _ in range(6)))
        trail.wait_length(HELD, 6)
        redis.hang()
    trail.wait_rows(6)
    assert trail.length(HELD) == 6
    redis.mend()
    wait_for(trail.nothing_is_held, "nothing is held")
    assert len(trail.wait_rows(6)) == 6


def test_a_refused_event_costs_no_batch_beside_it_anything(trail: Trail, start_service: StartService) -> None:
    trail.rule(match_string="page")
    trail.sql("ALTER TABLE event_audit_log ADD CONSTRAINT no_bad CHECK (message <> 'bad page')")
    start_service("alerter", **ALONE, ALERTER_MAX_RETRIES="0")
    sent = [queue_entry(message) for message in ("page 1", "page 2", "page 3", "page 4", "bad page", "page 5")]
    bad = sent[4][0]
    with no_commit(trail):
        trail.send(*(entry for _, entry in sent))
        trail.wait_length(HELD, 6)
    trail.wait_length(DEAD, 1)
    assert trail.entries(DEAD)[0]["_mutt"]["event_id"] == bad
    assert {str(row["event_id"]) for row in trail.wait_rows(5)} == {event_id for event_id, _ in sent} - {bad}
    trail.wait_length(ALERTS, 5)
    assert bad not in {alert["_mutt"]["event_id"] for alert in trail.entries(ALERTS)}
    wait_for(trail.nothing_is_held, "nothing is held")


def test_batches_full_of_what_is_refused_take_no_longer_together_than_a_commit_may(
    trail: Trail, start_service: StartService
) -> None:
    trail.sql(
        "CREATE FUNCTION slowly(message text) RETURNS boolean LANGUAGE plpgsql AS"
        " $$ BEGIN IF message <> 'bad' THEN RETURN true; END IF; PERFORM pg_sleep(0.1); RETURN false; END $$"
    )
    trail.sql("ALTER TABLE event_audit_log ADD CONSTRAINT no_bad CHECK (slowly(message))")
    few = ALONE | {"ALERTER_BATCH_SIZE": "8", "ALERTER_MAX_RETRIES": "0", "ALERTER_DATABASE_GRACE": "6"}
    # Fifteen commits find the eight of a batch, thirty-one the sixteen of two.
    alerter = start_service("alerter", **few, TEST_CONSTANTS='{"services.alerter.audit.ATTEMPT_SECONDS": 3.0}')
    with no_commit(trail):
        trail.send(*(queue_entry("good" if number < 8 else "bad")[1] for number in range(24)))
        trail.wait_length(HELD, 24)
    trail.wait_length(DEAD, 16)
    assert len(trail.wait_rows(8)) == 8
    wait_for(trail.nothing_is_held, "nothing is held")
    assert "PostgreSQL is away" not in alerter.log()


def test_an_event_that_was_claimed_before_is_not_shed(trail: Trail, start_service: StartService) -> None:
    trail.rule(match_string="page")
    for key, value in (("warn_threshold", 1), ("shed_threshold", 2)):
        trail.redis.set(f"mutt:config:alerter_queue_{key}", value)
    event_id, entry = queue_entry("page before")
    # Audited by a worker that died before it settled, and the alert queue has filled since.
    trail.redis.lpush("mutt:processing:alerter:dead", entry)
    trail.redis.lpush(ALERTS, queue_entry()[1], queue_entry()[1])
    start_service("alerter", DYNAMIC_CONFIG_ENABLED="true", **FAST)
    trail.wait_length(ALERTS, 3)
    assert [str(row["event_id"]) for row in trail.wait_rows(1)] == [event_id]
    trail.send(queue_entry("page after")[1])
    trail.wait_length(DEAD, 1)
    assert trail.entries(DEAD)[0]["_mutt"]["event_id"] != event_id
    assert trail.length(ALERTS) == 3


def test_a_row_that_waits_under_a_rule_that_no_database_has_goes_to_poison(
    trail: Trail, start_service: StartService
) -> None:
    alerter = start_service("alerter")
    sent = [queue_entry() for _ in range(2)]
    for (_, entry), rule_id in zip(sent, (1 << 31, (1 << 31) - 1), strict=True):
        row = decided_entry(
            entry, handling="Log_only", team="NETO", rule_id=rule_id, rule_version=1, environment="prod"
        )
        trail.redis.lpush(keys.AUDIT_PENDING, row)
    trail.wait_length(keys.POISON, 1)
    assert trail.entries(keys.POISON)[0]["_mutt"]["event_id"] == sent[0][0]
    assert str(trail.wait_rows(1)[0]["event_id"]) == sent[1][0]
    assert alerter.running


def test_what_came_of_rows_is_told_by_their_places_in_their_batch() -> None:
    error, decision = RefusedError(CheckViolation()), Decision("Log_only", "NETO", 1, 1, "prod", None)
    written = Written([Refusal(0, error), Refusal(2, error), Refusal(4, error)], {1: decision, 3: decision})
    assert part_of(written, 0, 2) == ([Refusal(0, error)], {1: decision})
    assert part_of(written, 2, 5) == ([Refusal(0, error), Refusal(2, error)], {1: decision})
    assert part_of(written, 5, 5) == ([], {})
