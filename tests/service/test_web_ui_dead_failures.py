"""Dead letters while Redis or PostgreSQL fails in between: nothing is deleted unrecorded, the reply is honest."""

import hashlib
import json
from collections.abc import Callable

import psycopg
import pytest
import requests
from redis import Redis

from mutt import keys
from services.protocol.script import beside
from services.web_ui import dead_moves
from tests.harness.credentials import WEBUI_API_KEY
from tests.harness.processes import StartService
from tests.harness.proxy import Proxy
from tests.harness.waiting import wait_for
from tests.service.dead_letters import dead, mutt_of
from tests.service.web_api import Api, changes, error_of

DEAD, INGEST = "mutt:dlq:alerter", "mutt:ingest_queue"
REFUSE_COMMIT = """
CREATE FUNCTION refuse_commit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'terminating connection' USING ERRCODE = '57P01'; END $$;
CREATE CONSTRAINT TRIGGER refuse_commit AFTER INSERT ON config_audit_log
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_commit();
"""


@pytest.fixture
def redis(redis_url: str) -> Redis:
    return Redis.from_url(redis_url)


def path_of(entry: bytes) -> tuple[str, str]:
    digest = hashlib.sha256(entry).hexdigest()
    return f"/dead-letters/alerter/{mutt_of(entry)['event_id']}", digest


def refuse_commits(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(REFUSE_COMMIT.encode())


def let_commits(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("DROP FUNCTION refuse_commit CASCADE")


@pytest.mark.parametrize("how", ["DELETE", "REPLAY"])
def test_a_moved_letter_whose_record_is_not_kept_is_recorded_later(
    start_service: StartService, redis: Redis, database_url: str, how: str
) -> None:
    entry = dead("not lost")
    redis.lpush(DEAD, entry)
    api = Api(start_service("webui"))
    refuse_commits(database_url)
    path, digest = path_of(entry)
    if how == "DELETE":
        reply = api.call("DELETE", f"{path}?sha256={digest}")
    else:
        reply = api.call("POST", f"{path}/replay", {"sha256": digest})
    assert reply.status_code == 200, reply.text
    assert redis.llen(DEAD) == 0
    assert changes(database_url) == []
    assert redis.llen(keys.UNRECORDED) == 1
    let_commits(database_url)
    wait_for(lambda: redis.llen(keys.UNRECORDED) == 0, "the late record")
    (record,) = changes(database_url)
    assert (record["operation"], record["changed_by"]) == (how, "default")
    assert record["old_values"]["entry"] == entry.decode()


def test_a_record_that_was_written_and_not_taken_away_is_not_written_twice(
    start_service: StartService, redis: Redis, database_url: str
) -> None:
    entry = dead("once")
    redis.lpush(DEAD, entry)
    service = start_service("webui")
    path, digest = path_of(entry)
    with redis.monitor() as monitor:  # type: ignore[no-untyped-call]
        assert Api(service).call("DELETE", f"{path}?sha256={digest}").status_code == 200
        taken_away = next(each for each in monitor.listen() if each["command"].startswith(f"LREM {keys.UNRECORDED}"))
    assert taken_away
    record = changes(database_url)[0]
    left = {name: record[name] for name in ("operation", "record_id", "changed_by", "reason")}
    left |= {"correlation_id": str(record["correlation_id"]), "old": record["old_values"], "new": None}
    another = left | {"old": record["old_values"] | {"sha256": "of another letter of this event"}}
    undigested = left | {"old": {"queue": "alerter"}}
    for _ in range(2):
        redis.lpush(keys.UNRECORDED, "no record", *map(json.dumps, (left, another, undigested)))
        wait_for(lambda: redis.llen(keys.UNRECORDED) == 0, "the look at what is left")
    assert [each["old_values"] for each in changes(database_url)] == [
        record["old_values"],
        another["old"],
        undigested["old"],
    ]
    assert service.running


def test_a_lost_reply_of_redis_moves_the_letter_once_and_its_record_follows(
    start_service: StartService, redis: Redis, redis_url: str, database_url: str, proxy: Callable[[str], Proxy]
) -> None:
    entry = dead("moved once")
    redis.lpush(DEAD, entry)
    line = proxy(redis_url)
    api = Api(start_service("webui", REDIS_PORT=str(line.port)))
    path, digest = path_of(entry)
    script = beside(dead_moves.__file__, "take")
    redis.script_load(script.source.decode())
    line.lose_reply(script.digest.encode())
    body = error_of(api.call("POST", f"{path}/replay", {"sha256": digest}), 503)
    assert "whether the letters moved is not known" in body["error"]
    assert (redis.llen(DEAD), redis.llen(INGEST)) == (0, 1)
    wait_for(lambda: [row["operation"] for row in changes(database_url)] == ["REPLAY"], "the record")
    assert redis.llen(keys.UNRECORDED) == 0 or wait_for(lambda: not redis.llen(keys.UNRECORDED), "an empty list")


def test_without_postgresql_nothing_moves(
    start_service: StartService, redis: Redis, database_url: str, proxy: Callable[[str], Proxy]
) -> None:
    entry = dead("stays")
    redis.lpush(DEAD, entry)
    line = proxy(database_url)
    api = Api(start_service("webui", DB_PORT=str(line.port)))
    line.hang()
    path, digest = path_of(entry)
    error_of(api.call("POST", f"{path}/replay", {"sha256": digest}), 503)
    assert redis.lrange(DEAD, 0, -1) == [entry]
    line.mend()


@pytest.mark.parametrize("fail", [Proxy.cut, Proxy.hang], ids=["cut", "hang"])
def test_letters_are_shown_while_postgresql_is_away(
    start_service: StartService,
    redis: Redis,
    proxy: Callable[[str], Proxy],
    database_url: str,
    fail: Callable[[Proxy], None],
) -> None:
    redis.lpush(DEAD, dead("still to be read"))
    line = proxy(database_url)
    service = start_service("webui", DB_PORT=str(line.port))
    fail(line)
    page = requests.get(f"{service.url}/dead-letters", headers={"X-API-KEY": WEBUI_API_KEY}, timeout=60)
    assert page.status_code == 200, page.text
    assert "still to be read" in page.text
    assert "whether a change is the cause is not known" in page.text
