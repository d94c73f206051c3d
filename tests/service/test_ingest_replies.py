"""Every row of the ingest route's table of replies, on a real ingestor and a real Redis."""

import gzip
import json
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import redis
import requests

from mutt import keys
from scripts.devtools.embedded import RedisServer
from tests.harness.processes import StartService
from tests.harness.proxy import Proxy
from tests.harness.waiting import wait_for
from tests.service.ingest_api import QUARANTINE, QUEUE, TRACE, counted, event, post, queued, refused, slo_count


def test_a_single_event_is_queued_counted_and_named_in_the_reply(start_service: StartService, redis_url: str) -> None:
    ingestor = start_service("ingestor")
    begun = datetime.now(UTC)

    reply = post(ingestor, event(extra={"n": 1.5}))

    body = reply.json()
    assert reply.status_code == 200
    assert body == {
        "status": "queued",
        "event_id": body["event_id"],
        "correlation_id": body["event_id"],
        "queue_depth": 1,
    }
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.headers["X-API-Version"] == "v2.5"
    assert "X-API-Deprecated" not in reply.headers
    [stored] = queued(redis_url)
    assert stored.envelope.event_id == body["event_id"]
    assert stored.fields["extra"] == {"n": 1.5}
    assert counted(ingestor, "") == 1
    assert ingestor.metric("mutt_ingest_latency_seconds_count") == 1
    wait_for(lambda: ingestor.metric("mutt_ingest_queue_depth") == 1, "the depth of the queue")
    with redis.Redis.from_url(redis_url) as client:
        names = {name.decode(): int(client.get(name)) for name in client.scan_iter("mutt:metrics:*")}
        assert set(names.values()) == {1}
        # The hour or the day may have turned since.
        assert {keys.metrics_hour(begun), keys.metrics_hour(datetime.now(UTC))} & set(names)
        assert {keys.metrics_day(begun), keys.metrics_day(datetime.now(UTC))} & set(names)
        assert slo_count(client, "ok", begun) == 1
        lives = {name: client.ttl(name) for name in names}
    assert [round(lives[name] / 60) for name in sorted(lives)] == [48 * 60, 120, 30 * 24 * 60]


def test_a_batch_is_taken_without_its_bad_records_which_are_kept_aside(
    start_service: StartService, redis_url: str
) -> None:
    ingestor = start_service("ingestor")
    batch = [event(n=number) for number in range(30)]
    bad: list[Any] = [event(hostname=""), "text", event(message="x" * 70_000), event(syslog_severity=9)]

    body = post(ingestor, [*batch[:10], *bad, *batch[10:]]).json()

    assert {name: body[name] for name in ("status", "accepted", "rejected", "queue_depth")} == {
        "status": "queued",
        "accepted": 30,
        "rejected": 4,
        "queue_depth": 30,
    }
    assert [item["index"] for item in body["errors"]] == [10, 11, 12, 13]
    assert [stored.fields["n"] for stored in queued(redis_url)] == list(range(30))
    with redis.Redis.from_url(redis_url) as client:
        kept = [json.loads(entry) for entry in client.lrange(QUARANTINE, 0, -1)]
    assert [entry["_mutt"]["error"] for entry in reversed(kept)] == [item["error"] for item in body["errors"]]
    assert set(kept[0]) == {"_mutt", "raw"}
    assert set(kept[0]["_mutt"]) == {"v", "event_id", "received_at", "error"}
    assert (counted(ingestor, ""), counted(ingestor, "validation")) == (30, 4)
    assert ingestor.metric("mutt_ingest_quarantined_total") == 4


def test_a_batch_names_twenty_errors_at_most_and_an_empty_one_is_a_success(start_service: StartService) -> None:
    ingestor = start_service("ingestor")

    many = post(ingestor, [event(), *[{"message": "m"}] * 40]).json()
    empty = post(ingestor, b"[]")
    one = post(ingestor, [event()]).json()

    assert (many["accepted"], many["rejected"], len(many["errors"])) == (1, 40, 20)
    assert empty.status_code == 200
    assert empty.json() == {"status": "queued", "accepted": 0, "rejected": 0, "queue_depth": 1, "errors": []}
    assert (one["accepted"], one["queue_depth"]) == (1, 2)


def test_a_batch_of_which_nothing_is_valid_is_still_answered_with_200(start_service: StartService) -> None:
    ingestor = start_service("ingestor")

    for batch in ([event(hostname="")] * 3, [event(message="x" * 70_000), event(hostname=None)]):
        body = post(ingestor, batch).json()
        assert (body["status"], body["accepted"], body["rejected"]) == ("queued", 0, len(batch))


def test_a_full_quarantine_drops_the_oldest_and_counts_them(start_service: StartService, redis_url: str) -> None:
    ingestor = start_service("ingestor")
    with redis.Redis.from_url(redis_url) as client:
        client.eval(
            "for part = 1, 100 do local full = {} for at = 1, 1000 do full[at] = 'old' end "
            "redis.call('LPUSH', KEYS[1], unpack(full)) end",
            1,
            QUARANTINE,
        )
        post(ingestor, [event(), "bad", "worse"])

        assert client.llen(QUARANTINE) == keys.QUARANTINE_MAX
        newest = client.lindex(QUARANTINE, 0)
    assert newest is not None
    assert json.loads(newest)["raw"] == '"worse"'
    assert ingestor.metric("mutt_ingest_quarantine_dropped_total") == 2


def test_a_wrong_or_missing_key_is_401(start_service: StartService, redis_url: str) -> None:
    ingestor = start_service("ingestor")

    for key in (None, "", "wrong", "test-ingest-ke", "test-ingest-keyy"):
        refused(post(ingestor, event(), key=key), 401)
    for authorization in ("Basic !!!", "Basic", "Bearer", "Bearer wrong", "Digest x", "Basic a", "Bearer \xe9"):
        refused(post(ingestor, event(), key=None, headers={"Authorization": authorization}), 401)
    refused(post(ingestor, event(), key="caf\xe9"), 401)

    assert counted(ingestor, "auth") == 13
    assert queued(redis_url) == []


UNREADABLE = [
    (b"", "empty"),
    (b" \n", "empty"),
    (b'{"message":', "not valid JSON"),
    (b"hello", "not valid JSON"),
    (b"12", "not a number"),
    (b'{"message":"x"', "not valid JSON"),
    (b'[{"message":"x"}', "cut off"),
    (b"[1,2]", "none of 2 records"),
    (b'{"a"}\n{"b"}', "none of 2 records"),
    (b'{"a":' * 5000 + b"1" + b"}" * 5000, "32 levels"),
    (b"[" * 200_000, "array"),
    (b'{"a":NaN}', "NaN"),
    (gzip.compress(b"{}")[:-3], "cut off"),
    (b"\xff\xfe", "not valid JSON"),
]


def test_a_body_that_cannot_be_read_is_400(start_service: StartService) -> None:
    ingestor = start_service("ingestor")

    for body, said in UNREADABLE:
        assert said in refused(post(ingestor, body), 400)["message"]

    assert counted(ingestor, "json") == len(UNREADABLE) + 2
    assert counted(ingestor, "") == counted(ingestor, "internal") == 0


def test_an_event_with_missing_or_invalid_fields_is_400_and_names_each(start_service: StartService) -> None:
    ingestor = start_service("ingestor")

    body = refused(post(ingestor, event(hostname=None, syslog_severity="high", trap_oid="x")), 400)

    for name in ("hostname", "syslog_severity", "trap_oid"):
        assert name in body["message"]
    assert counted(ingestor, "validation") == 1


def test_what_is_too_large_is_413(start_service: StartService, redis_url: str) -> None:
    ingestor = start_service("ingestor", INGEST_MAX_BODY_BYTES="300000", INGEST_MAX_RECORDS="20")
    large = json.dumps([event(message="x" * 40_000)] * 10).encode()

    for body in (event(message="x" * 65_536), [event()] * 21, large, gzip.compress(large)):
        refused(post(ingestor, body), 413)
    assert counted(ingestor, "too_large") == 1 + 21 + 1 + 1
    assert queued(redis_url) == []
    assert post(ingestor, event(message="x" * 60_000)).status_code == 200


def test_at_its_cap_the_queue_takes_no_more_and_says_when_to_come_back(
    start_service: StartService, redis_url: str
) -> None:
    ingestor = start_service("ingestor", MAX_INGEST_QUEUE_SIZE="25")

    with ThreadPoolExecutor(16) as threads:
        replies = list(threads.map(lambda _: post(ingestor, event()), range(60)))

    assert [reply.status_code for reply in replies].count(200) == 25
    full = [reply for reply in replies if reply.status_code != 200]
    for reply in full:
        body = refused(reply, 503)
        assert (body["queue_depth"], body["queue_limit"]) == (25, 25)
    waits = {int(reply.headers["Retry-After"]) for reply in full}
    assert len(waits) > 1, "all senders would come back at once"
    assert min(waits) >= 1
    assert refused(post(ingestor, [event()] * 3), 503)["queue_depth"] == 25
    assert counted(ingestor, "queue_full") == 35 + 3
    with redis.Redis.from_url(redis_url) as client:
        client.ltrim(QUEUE, 0, 23)
        # A batch is taken whole as long as there is any room: the overshoot is one batch.
        assert post(ingestor, [event()] * 9000).json()["queue_depth"] == 9024
        assert client.llen(QUEUE) == 9024


def test_the_dynamic_cap_holds_as_soon_as_it_is_set(start_service: StartService, redis_url: str) -> None:
    ingestor = start_service("ingestor", DYNAMIC_CONFIG_ENABLED="true", MAX_INGEST_QUEUE_SIZE="1000")
    with redis.Redis.from_url(redis_url) as client:
        assert post(ingestor, event()).status_code == 200
        client.set(keys.config("max_ingest_queue_size"), "1")
        client.publish(keys.CONFIG_UPDATES, "max_ingest_queue_size")

        wait_for(lambda: post(ingestor, event()).status_code == 503, "the new cap")

        client.delete(keys.config("max_ingest_queue_size"))
        client.publish(keys.CONFIG_UPDATES, "max_ingest_queue_size")
        wait_for(lambda: post(ingestor, event()).status_code == 200, "the environment's cap again")


def test_over_three_quarters_of_redis_memory_nothing_is_taken(start_service: StartService, redis_url: str) -> None:
    ingestor = start_service("ingestor")
    with redis.Redis.from_url(redis_url) as client:
        used = client.info("memory")["used_memory"]
        client.config_set("maxmemory", int(used * 1.25))

        body = refused(post(ingestor, event()), 503)

        assert "maxmemory" in body["message"]
        assert (body["queue_depth"], "queue_limit" in body) == (0, True)
        client.config_set("maxmemory", used * 3)
        statuses: list[int] = []

        def taken() -> bool:
            statuses.append(post(ingestor, event()).status_code)
            return statuses[-1] == 200

        wait_for(taken, "a look at Redis's memory: what it said is believed for a moment")
        client.config_set("maxmemory", 1_000_000)
        depths: list[int | None] = []

        def told() -> bool:
            reply = post(ingestor, [event()] * 10)
            depths.append(refused(reply, 503).get("queue_depth"))
            assert "Retry-After" in reply.headers
            return depths[-1] is not None

        wait_for(told, "a look: until then Redis itself refuses, and says nothing of its depth")
        assert depths[-1] == 1
    assert counted(ingestor, "queue_full") == 1 + statuses.count(503) + 10 * len(depths)


def test_redis_that_refuses_writes_for_memory_is_a_full_queue(start_service: StartService, redis_url: str) -> None:
    ingestor = start_service("ingestor", INGEST_MAX_MEMORY_PERCENT="0")
    with redis.Redis.from_url(redis_url) as client:
        client.config_set("maxmemory", 1_000_000)

        body = refused(post(ingestor, event()), 503)

    assert "maxmemory" in body["message"]
    assert counted(ingestor, "queue_full") == 1


def test_while_redis_is_away_senders_are_told_to_come_back_and_nothing_is_lost(
    start_service: StartService, own_redis: RedisServer
) -> None:
    ingestor = start_service("ingestor")
    begun = datetime.now(UTC)
    assert post(ingestor, event(n=0)).status_code == 200
    own_redis.kill()

    reply = post(ingestor, event(n=1))

    refused(reply, 503)
    assert 1 <= int(reply.headers["Retry-After"]) <= 5
    refused(post(ingestor, [event()] * 4), 503)
    assert counted(ingestor, "redis") == 5
    ingestor.wait_health(503)
    wait_for(lambda: ingestor.metric("mutt_ingest_queue_depth") is None, "a depth that is not known not to be shown")

    own_redis.start()
    wait_for(lambda: post(ingestor, event(n=2)).status_code == 200, "recovery without a restart")
    ingestor.wait_healthy()
    assert [stored.fields["n"] for stored in queued(own_redis.url)] == [0, 2]
    with redis.Redis.from_url(own_redis.url) as client:
        failed = counted(ingestor, "redis")
        wait_for(lambda: slo_count(client, "fail", begun) == failed, "the failures that were counted in memory")
        lives = [client.ttl(key) for key in client.scan_iter("mutt:slo:ingestor:fail:*")]
        assert min(lives) > 30 * 86_400


def test_a_redis_that_hangs_costs_its_timeout_once_for_all_who_wait(
    start_service: StartService, own_redis: RedisServer
) -> None:
    ingestor = start_service("ingestor", REDIS_TIMEOUT="1")
    own_redis.pause()

    with ThreadPoolExecutor(20) as threads:
        replies = list(threads.map(lambda _: post(ingestor, event()), range(20)))

    for reply in replies:
        refused(reply, 503)
    # One after another they would have waited for twenty seconds.
    assert max(reply.elapsed.total_seconds() for reply in replies) < 10
    own_redis.resume()
    wait_for(lambda: post(ingestor, event()).status_code == 200, "recovery")


def test_a_push_whose_reply_is_lost_is_a_503_and_an_identical_resend_folds(
    start_service: StartService, redis_url: str, proxy: Callable[[str], Proxy]
) -> None:
    between = proxy(redis_url)
    ingestor = start_service("ingestor", REDIS_PORT=str(between.port))
    sent = event(correlation_id=TRACE)
    assert post(ingestor, event()).status_code == 200
    between.lose_reply(TRACE.encode())

    refused(post(ingestor, sent), 503)

    assert between.lost.wait(45)
    again = post(ingestor, sent)
    assert again.status_code == 200
    twice = [stored for stored in queued(redis_url) if stored.correlation_id == TRACE]
    assert [stored.envelope.event_id for stored in twice] == [again.json()["event_id"]] * 2
    assert ingestor.running


def test_a_queue_key_of_another_type_is_a_503_that_changes_nothing(start_service: StartService, redis_url: str) -> None:
    ingestor = start_service("ingestor")
    with redis.Redis.from_url(redis_url) as client:
        client.set(QUARANTINE, "not a list")

        refused(post(ingestor, [event(), "bad"]), 503)

        assert client.llen(QUEUE) == 0
    ingestor.wait_log("has to be a list")


def test_old_paths_work_and_say_that_they_are_deprecated(start_service: StartService) -> None:
    ingestor = start_service("ingestor")

    for path in ("/api/v1/ingest", "/ingest"):
        reply = post(ingestor, event(), path=path)
        assert reply.status_code == 200
        assert reply.headers["X-API-Deprecated"] == "true"
        assert reply.headers["Deprecation"].startswith("@")
        assert "/api/v2/ingest" in reply.headers["Link"]
        assert post(ingestor, event(), path=path, key="wrong").headers["X-API-Deprecated"] == "true"
    for path in ("/api/v2/ingest?source=rsyslog", "/"):
        reply = post(ingestor, event(), path=path)
        assert reply.status_code == 200
        assert "X-API-Deprecated" not in reply.headers


def test_other_paths_and_methods_are_refused_in_the_same_shape(start_service: StartService) -> None:
    ingestor = start_service("ingestor")

    for path in ("/api/v3/ingest", "/api/v2/ingest/"):
        assert "POST /api/v2/ingest" in refused(post(ingestor, event(), path=path), 404)["message"]
    for path in ("/api/v2/ingest", "/ingest"):
        reply = requests.get(ingestor.url + path, timeout=60)
        refused(reply, 405)
        assert "POST" in reply.headers["Allow"]


def test_an_error_carries_the_senders_correlation_id(start_service: StartService) -> None:
    ingestor = start_service("ingestor")
    headers = {"X-Correlation-ID": TRACE.upper()}

    assert refused(post(ingestor, b"{", headers=headers), 400)["correlation_id"] == TRACE
    assert refused(post(ingestor, event(), key="x", headers=headers), 401)["correlation_id"] == TRACE
    assert post(ingestor, event(), headers=headers).json()["correlation_id"] == TRACE
    other = refused(post(ingestor, b"{", headers={"X-Correlation-ID": "x"}), 400)["correlation_id"]
    assert uuid.UUID(other).version == 7
