import hashlib
import json
import signal
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import psycopg

from mutt import keys
from scripts.devtools.embedded import PostgresServer, RedisServer
from services.protocol.lane import RECOVERED_TOGETHER
from tests.harness.entries import queue_entry
from tests.harness.processes import ServiceProcess, StartService, fetch
from tests.harness.proxy import Proxy
from tests.harness.waiting import wait_for
from tests.service.trail import ALERTS, DEAD, FAST, QUEUE, Trail, check_exactly_once, crowd


def test_without_a_first_load_nothing_is_claimed(
    own_postgres: PostgresServer, trail: Trail, start_service: StartService
) -> None:
    trail.rule(match_string="page")
    own_postgres.stop()
    alerter = start_service("alerter", wait=False)
    alerter.wait_health(503)
    event_id, entry = queue_entry("page me")
    trail.send(entry)
    alerter.wait_log("caches were not reloaded")
    assert trail.length(QUEUE) == 1
    own_postgres.start()
    row = trail.wait_rows(1)[0]
    assert (str(row["event_id"]), row["handling"]) == (event_id, "Page_and_ticket")
    alerter.wait_healthy()


def test_alerts_do_not_wait_for_a_postgresql_that_is_away(
    own_postgres: PostgresServer, trail: Trail, start_service: StartService
) -> None:
    trail.rule(match_string="page")
    alerter = start_service("alerter", ALERTER_DATABASE_GRACE="1")
    own_postgres.kill()
    sent = [queue_entry(f"page {n}") for n in range(50)]
    trail.send(*(entry for _, entry in sent))
    trail.wait_length(ALERTS, 50)
    assert trail.length(keys.AUDIT_PENDING) == 50
    wait_for(lambda: "audit rows wait in Redis" in fetch(alerter.health_url)[1], "the reason in health")
    own_postgres.start()
    rows = trail.wait_rows(50)
    assert {str(row["event_id"]) for row in rows} == {event_id for event_id, _ in sent}
    trail.wait_length(keys.AUDIT_PENDING, 0)
    wait_for(trail.nothing_is_held, "empty processing lists")
    assert trail.length(ALERTS) == 50
    alerter.wait_healthy()


def test_a_postgresql_that_hangs_is_one_that_is_away(
    own_postgres: PostgresServer, trail: Trail, start_service: StartService
) -> None:
    trail.rule(match_string="page")
    start_service("alerter", ALERTER_DATABASE_GRACE="1")
    own_postgres.pause()
    trail.send(queue_entry("page")[1])
    trail.wait_length(ALERTS, 1)
    own_postgres.resume()
    assert len(trail.wait_rows(1)) == 1
    trail.wait_length(keys.AUDIT_PENDING, 0)


def test_a_postgresql_that_answers_but_takes_no_rows_holds_no_page_up_twice(
    trail: Trail, start_service: StartService
) -> None:
    trail.rule(match_string="page")
    grace = 8
    alerter = start_service("alerter", ALERTER_DATABASE_GRACE=str(grace))
    trail.sql("REVOKE INSERT ON event_audit_log FROM CURRENT_USER")
    trail.send(queue_entry("page 0")[1])
    trail.wait_length(ALERTS, 1)
    # It does what it can do: a query without rows.
    # It answers what it is asked for, until it is asked to take rows.
    wait_for(lambda: alerter.metric("mutt_loop_errors_total", loop="pending"), "a try of the rows that wait")
    begun = time.monotonic()
    trail.send(queue_entry("page 1")[1])
    trail.wait_length(ALERTS, 2)
    assert time.monotonic() - begun < grace
    wait_for(lambda: json.loads(alerter.wait_health(503))["failing"] == ["audit"], "the audit alone in health")
    document = json.loads(alerter.wait_health(503))
    assert "permission denied" in document["problems"]["audit"]
    trail.sql("GRANT INSERT ON event_audit_log TO CURRENT_USER")
    assert len(trail.wait_rows(2)) == 2
    alerter.wait_healthy()
    trail.wait_length(keys.AUDIT_PENDING, 0)


def test_a_short_absence_of_postgresql_costs_no_event_anything(
    own_postgres: PostgresServer, trail: Trail, start_service: StartService
) -> None:
    start_service("alerter", ALERTER_DATABASE_GRACE="60")
    own_postgres.kill()
    trail.send(*(queue_entry()[1] for _ in range(20)))
    own_postgres.start()
    assert len(trail.wait_rows(20)) == 20
    assert (trail.length(keys.AUDIT_PENDING), trail.length(DEAD)) == (0, 0)


def test_a_pending_row_that_postgresql_refuses_goes_to_poison(
    own_postgres: PostgresServer, trail: Trail, start_service: StartService
) -> None:
    trail.rule(match_string="devil")
    start_service("alerter", ALERTER_DATABASE_GRACE="0")
    trail.sql("ALTER TABLE event_audit_log ADD CONSTRAINT no_devil CHECK (message <> 'devil')")
    own_postgres.kill()
    trail.send(queue_entry("devil")[1], queue_entry("angel")[1])
    trail.wait_length(keys.AUDIT_PENDING, 2)
    own_postgres.start()
    assert trail.wait_rows(1)[0]["message"] == "angel"
    trail.wait_length(keys.POISON, 1)
    letter = trail.entries(keys.POISON)[0]
    assert (letter["_mutt"]["kind"], letter["event"]["message"]) == ("audit", "devil")
    assert trail.length(ALERTS) == 1


def test_a_killed_alerter_loses_and_doubles_nothing(trail: Trail, start_service: StartService) -> None:
    trail.rule(match_string="page")
    alerter = start_service("alerter", ALERTER_BATCH_SIZE="50", **FAST)
    ids, entries = crowd(1500)
    for start in range(0, 1500, 500):
        trail.send(*entries[start : start + 500])
        trail.wait_rows(start + 100)
        alerter.kill()
        alerter.restart(wait=False)
    check_exactly_once(trail, ids)


def test_another_alerter_recovers_what_a_dead_one_held_though_redis_is_full(
    trail: Trail, start_service: StartService
) -> None:
    trail.rule(match_string="page")
    ids, entries = crowd(40)
    trail.redis.lpush("mutt:processing:alerter:dead", *entries)
    trail.redis.config_set("maxmemory", "1")
    try:
        start_service("alerter", wait=False, **FAST)
        check_exactly_once(trail, ids)
    finally:
        trail.redis.config_set("maxmemory", "0")


def test_an_entry_that_kills_its_worker_is_a_dead_letter_in_the_end(trail: Trail, start_service: StartService) -> None:
    killer, other = queue_entry("killer"), queue_entry("innocent")
    digest = hashlib.sha1(killer[1], usedforsecurity=False).hexdigest()
    trail.redis.hset("mutt:recoveries:alerter", digest, 1)
    # An earlier run of this pod died with the entry a second time.
    trail.redis.lpush("mutt:processing:alerter:alerter-0", killer[1])
    trail.send(other[1])
    alerter = start_service("alerter", ALERTER_MAX_RETRIES="1")
    trail.wait_length(DEAD, 1)
    letter = trail.entries(DEAD)[0]
    assert (letter["_mutt"]["event_id"], letter["_mutt"]["last_error"]["type"]) == (killer[0], "recovered")
    assert [str(row["event_id"]) for row in trail.wait_rows(1)] == [other[0]]
    wait_for(lambda: alerter.metric("mutt_alerter_events_processed_total", status="poison") == 1, "1 counted")
    assert not trail.redis.exists("mutt:recoveries:alerter")


def test_of_what_dies_with_a_killer_only_the_killer_is_a_dead_letter(trail: Trail, start_service: StartService) -> None:
    trail.rule(match_string="page")
    _, entries = crowd(40)
    digest = hashlib.sha1(entries[0], usedforsecurity=False).hexdigest()
    trail.send(*entries)
    held = []

    def held_after(deaths: int) -> int:
        counted = int(trail.redis.hget("mutt:recoveries:alerter", digest) or 0)
        return trail.length("mutt:processing:alerter:alerter-0") if counted == deaths else 0

    with psycopg.connect(trail.database_url) as connection:
        # What is claimed stays until its alerter is killed.
        connection.execute("LOCK TABLE event_audit_log IN SHARE MODE")
        alerter = start_service("alerter", ALERTER_DATABASE_GRACE="600", ALERTER_MAX_RETRIES="3")
        for deaths in range(4):
            held.append(wait_for(partial(held_after, deaths), "the first entry claimed again"))
            alerter.kill()
            alerter.restart(wait=False)
        trail.wait_length(DEAD, 1)
    assert held == [40, RECOVERED_TOGETHER, 1, 1]
    assert trail.entries(DEAD)[0]["message"] == "page 0"
    assert len(trail.wait_rows(39)) == 39
    trail.wait_length(ALERTS, 39)
    wait_for(trail.nothing_is_held, "nothing is held")
    assert not trail.redis.exists("mutt:recoveries:alerter")


def test_nothing_is_held_beside_an_entry_that_may_have_killed_an_alerter(
    trail: Trail, start_service: StartService
) -> None:
    trail.rule(match_string="page")
    suspect, other = queue_entry("page suspect")[1], queue_entry("page innocent")[1]
    trail.redis.hset("mutt:recoveries:alerter", hashlib.sha1(suspect, usedforsecurity=False).hexdigest(), 1)
    trail.send(suspect, other)
    seen = set()

    def both_paged() -> bool:
        seen.add(tuple(trail.redis.lrange("mutt:processing:alerter:alerter-0", 0, -1)))
        return trail.length(ALERTS) == 2

    with psycopg.connect(trail.database_url) as connection:
        connection.execute("LOCK TABLE event_audit_log IN SHARE MODE")  # its audit takes as long as the grace period
        start_service("alerter", ALERTER_DATABASE_GRACE="2")
        wait_for(both_paged, "two alerts")
    assert (suspect,) in seen
    assert all(len(held) <= 1 for held in seen)
    assert len(trail.wait_rows(2)) == 2


def test_slow_commits_before_a_recovered_entry_do_not_let_the_heartbeat_expire(
    trail: Trail, start_service: StartService
) -> None:
    # Two commits before it and its own take longer than the heartbeat lasts, none of them does.
    slow = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1.4); RETURN NULL; END'"
    trail.sql(slow)
    trail.sql("CREATE TRIGGER slow BEFORE INSERT ON event_audit_log FOR EACH STATEMENT EXECUTE FUNCTION slow()")
    entries = [queue_entry(message)[1] for message in ("first", "second", "suspect")]
    trail.redis.hset("mutt:recoveries:alerter", hashlib.sha1(entries[2], usedforsecurity=False).hexdigest(), 1)
    trail.send(*entries)
    alerter = start_service("alerter", ALERTER_BATCH_SIZE="1", **FAST)
    trail.wait_rows(3)
    assert "no progress within the heartbeat's lifetime" not in alerter.log()


def test_a_lost_reply_of_redis_neither_loses_nor_doubles(
    trail: Trail, start_service: StartService, redis_url: str, proxy: Callable[[str], Proxy]
) -> None:
    trail.rule(match_string="page")
    between = proxy(redis_url)
    start_service("alerter", REDIS_PORT=str(between.port), **FAST)
    ids, entries = crowd(30)
    for index, marker in enumerate((b"mutt:unhandled-patterns", b"BLMOVE", b"mutt:recoveries:alerter")):
        between.lose_reply(marker)
        trail.send(*entries[index * 10 : index * 10 + 10])
        assert between.lost.wait(45)
    check_exactly_once(trail, ids)


def test_what_was_claimed_before_redis_failed_again_is_not_lost_from_sight(
    trail: Trail, start_service: StartService, redis_url: str, proxy: Callable[[str], Proxy]
) -> None:
    trail.rule(match_string="page")
    between = proxy(redis_url)
    alerter = start_service("alerter", REDIS_PORT=str(between.port), **FAST)
    trail.redis.set(DEAD, "no list")
    between.lose_reply(b"BLMOVE")
    wait_for(lambda: between._marker is None, "a blocking claim")
    ids, entries = crowd(1)
    trail.send(*entries)
    assert between.lost.wait(45)
    # What was adopted after the lost reply cannot be judged: the depths of the queues are not to be had.
    alerter.wait_log("WRONGTYPE")
    trail.redis.delete(DEAD)
    check_exactly_once(trail, ids)


def test_a_restart_of_redis_loses_and_doubles_nothing(
    own_redis: RedisServer, trail: Trail, start_service: StartService
) -> None:
    trail.rule(match_string="page")
    start_service("alerter", ALERTER_BATCH_SIZE="50", **FAST)
    ids, entries = crowd(600)
    trail.send(*entries[:300])
    trail.wait_rows(50)
    own_redis.kill()
    own_redis.start()
    trail.send(*entries[300:])
    check_exactly_once(trail, ids)


def test_two_alerters_share_the_work_and_double_nothing(trail: Trail, start_service: StartService) -> None:
    trail.rule(match_string="page")
    first = start_service("alerter", ALERTER_BATCH_SIZE="20")
    second = start_service("alerter", ALERTER_BATCH_SIZE="20")
    ids, entries = crowd(1000)
    trail.send(*entries)
    check_exactly_once(trail, ids)

    def handled(service: ServiceProcess) -> float:
        return service.metric("mutt_alerter_events_processed_total", status="handled") or 0

    wait_for(lambda: handled(first) + handled(second) == 1000, "1000 handled")
    assert min(handled(first), handled(second)) > 0


def test_two_pods_of_one_name_neither_lose_nor_double(trail: Trail, start_service: StartService) -> None:
    trail.rule(match_string="page")
    environment: dict[str, Any] = {"POD_NAME": "same", "ALERTER_BATCH_SIZE": "20", **FAST}
    first = start_service("alerter", **environment)
    ids, entries = crowd(800)
    trail.send(*entries[:400])
    start_service("alerter", **environment)
    trail.send(*entries[400:])
    check_exactly_once(trail, ids)
    first.wait_log("another worker has taken this name")


def test_a_stalled_alerter_loses_its_claims_to_another_and_doubles_nothing(
    trail: Trail, start_service: StartService
) -> None:
    trail.rule(match_string="page")
    stalled = start_service("alerter", ALERTER_BATCH_SIZE="20", **FAST)
    ids, entries = crowd(400)
    trail.send(*entries)
    trail.wait_rows(20)
    stalled.signal(signal.SIGSTOP)
    start_service("alerter", **FAST)
    trail.wait_rows(400)
    stalled.signal(signal.SIGCONT)
    check_exactly_once(trail, ids)


def test_sigterm_settles_what_is_in_flight_and_leaves_no_trace(trail: Trail, start_service: StartService) -> None:
    trail.rule(match_string="page")
    alerter = start_service("alerter", ALERTER_BATCH_SIZE="20")
    ids, entries = crowd(600)
    trail.send(*entries)
    trail.wait_rows(20)
    assert alerter.terminate() == 0
    assert trail.nothing_is_held()
    assert not list(trail.redis.scan_iter("mutt:heartbeat:*"))
    assert not list(trail.redis.scan_iter("mutt:recoveries:*"))
    alerter.start()
    check_exactly_once(trail, ids)


def test_sigterm_while_waiting_ends_at_once(trail: Trail, start_service: StartService) -> None:
    alerter = start_service(
        "alerter", BRPOPLPUSH_TIMEOUT="60", ALERTER_JANITOR_TIMEOUT="600", MUTT_SHUTDOWN_GRACE="600"
    )
    trail.send(queue_entry()[1])
    trail.wait_rows(1)
    assert alerter.terminate(timeout=40) == 0
