"""Dead letters while Redis or PostgreSQL fails in between: nothing is deleted unrecorded, the reply is honest."""

import hashlib
from collections.abc import Callable

import psycopg
import pytest
import requests
from redis import Redis

from services.protocol.script import beside
from services.web_ui import dead_moves
from tests.harness.credentials import WEBUI_API_KEY
from tests.harness.processes import StartService
from tests.harness.proxy import Proxy
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


def test_a_deleted_letter_whose_record_is_not_kept_comes_back(
    start_service: StartService, redis: Redis, database_url: str
) -> None:
    entry = dead("not lost")
    redis.lpush(DEAD, entry)
    api = Api(start_service("webui"))
    refuse_commits(database_url)
    path, digest = path_of(entry)
    error_of(api.call("DELETE", f"{path}?sha256={digest}"), 503)
    assert redis.lrange(DEAD, 0, -1) == [entry]
    assert changes(database_url) == []


def test_a_replayed_letter_whose_record_is_not_kept_is_in_the_log(
    start_service: StartService, redis: Redis, database_url: str
) -> None:
    entry = dead("moved")
    redis.lpush(DEAD, entry)
    service = start_service("webui")
    refuse_commits(database_url)
    path, digest = path_of(entry)
    body = error_of(Api(service).call("POST", f"{path}/replay", {"sha256": digest}), 503)
    assert "not known" in body["error"]
    assert (redis.llen(DEAD), redis.llen(INGEST)) == (0, 1)
    service.wait_log("PostgreSQL did not keep the record")
    assert mutt_of(entry)["event_id"] in service.log()


def test_a_lost_reply_of_redis_leaves_the_record_and_moves_the_letter_once(
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
    assert [row["operation"] for row in changes(database_url)] == ["REPLAY"]


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
