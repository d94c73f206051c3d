"""Dead letters over the API: listed, grouped, replayed, edited and deleted, each move recorded with its payload."""

import hashlib
import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis

from mutt import keys
from mutt.envelope import amend
from tests.harness.credentials import WEBUI_API_KEY
from tests.harness.moogsoft import MoogStandIn
from tests.harness.processes import StartService
from tests.harness.waiting import wait_for
from tests.service.dead_letters import dead, dead_alert, event, message_of, mutt_of, shed
from tests.service.moog_stage import QUICK
from tests.service.web_api import Api, changes, error_of

INGEST, ALERTS = "mutt:ingest_queue", "mutt:alert_queue"
LISTS = {
    "alerter": "mutt:dlq:alerter",
    "moog": "mutt:dlq:moog",
    "poison": keys.POISON,
    "quarantine": keys.QUARANTINE,
}
ROLES = {
    "viewer": {"sha256": hashlib.sha256(b"viewer-key").hexdigest(), "role": "viewer"},
    "noc": {"sha256": hashlib.sha256(b"noc-key").hexdigest(), "role": "operator"},
}


@pytest.fixture
def redis(redis_url: str) -> Redis:
    """Return a client that waits for answers."""
    return Redis.from_url(redis_url)


@pytest.fixture
def api(start_service: StartService, redis: Redis) -> Api:
    """Run a web UI; an operator calls it."""
    redis.ping()
    return Api(start_service("webui", WEBUI_API_KEYS=json.dumps(ROLES)), "noc-key")


Bury = Callable[..., list[dict[str, str]]]


@pytest.fixture
def bury(redis: Redis) -> Bury:
    """Put letters into a list, and return what addresses them."""

    def put(queue: str, *letters: bytes) -> list[dict[str, str]]:
        redis.lpush(LISTS[queue], *letters)
        return [
            {"event_id": mutt_of(letter)["event_id"], "sha256": hashlib.sha256(letter).hexdigest()}
            for letter in letters
        ]

    return put


def quarantined(raw: str, **members: Any) -> bytes:
    """Return an entry of the quarantine."""
    mutt = {"v": 1, "event_id": str(uuid4()), "received_at": "2026-11-24T22:10:00.123456Z", "error": "why"}
    return json.dumps({"_mutt": {**mutt, **members}, "raw": raw}, separators=(",", ":")).encode()


def lying(redis: Redis, key: str) -> list[bytes]:
    """Return a list's entries, newest first."""
    return [bytes(entry) for entry in redis.lrange(key, 0, -1) if isinstance(entry, bytes)]


def where(queue: str, letter: dict[str, str]) -> str:
    return f"/dead-letters/{queue}/{letter['event_id']}"


def test_letters_are_listed_newest_first_with_what_addresses_them(api: Api, bury: Bury) -> None:
    letters = bury("moog", dead_alert("one", 60), dead_alert("two", 30), dead_alert("three"))
    assert api.get("/dead-letters").json() == {"alerter": 0, "moog": 3, "poison": 0, "quarantine": 0}
    first = api.get("/dead-letters/moog?limit=2").json()
    assert [letter["message"] for letter in first["letters"]] == ["three", "two"]
    assert (first["total"], first["next"]) == (3, 2)
    assert {name: first["letters"][0][name] for name in ("event_id", "sha256")} == letters[2]
    assert first["letters"][0]["team"] == "NETO"
    second = api.get("/dead-letters/moog?limit=2&start=2").json()
    assert ([letter["message"] for letter in second["letters"]], second["next"]) == (["one"], None)
    found = api.get("/dead-letters/moog?q=TWO&hostname=web1.example").json()
    assert [letter["message"] for letter in found["letters"]] == ["two"]
    assert api.get("/dead-letters/moog?hostname=other").json()["letters"] == []


def test_one_letter_shows_its_bytes_and_what_may_be_edited(api: Api, bury: Bury) -> None:
    entry = dead_alert("fan failed")
    [letter] = bury("moog", entry)
    shown = api.get(where("moog", letter)).json()
    assert shown["entry"].encode() == entry
    payload = json.loads(shown["payload"])
    assert (payload["team"], payload["event"]["message"]) == ("NETO", "fan failed")
    assert "_mutt" not in payload
    assert api.get(where("moog", letter) + "?sha256=" + letter["sha256"]).json() == shown
    error_of(api.get(where("moog", letter) + "?sha256=" + "0" * 64), 404)
    error_of(api.get(f"/dead-letters/moog/{uuid4()}"), 404)
    error_of(api.get("/dead-letters/moog/word"), 404)
    error_of(api.get("/dead-letters/nowhere"), 400)


def test_errors_are_grouped_with_numbers_and_quoted_values_folded(api: Api, bury: Bury) -> None:
    def refused(message: str, error: str, age: float) -> bytes:
        entry = dead_alert(message, age)
        return amend(entry, last_error={**mutt_of(entry)["last_error"], "message": error})

    bury(
        "moog",
        refused("a", 'HTTP 422: {"message":"unknown team CORE"}', 60),
        refused("b", 'HTTP 422: {"message":"unknown team CORE"}', 30),
        refused("c", "HTTP 422: description longer than 4096", 20),
        refused("d", "HTTP 422: description longer than 5000", 10),
        refused("e", "HTTP 400: description longer than 5000", 10),
    )
    grouped = api.get("/dead-letters/moog/groups").json()
    assert (grouped["looked_at"], grouped["total"]) == (5, 5)
    titles = {group["title"]: group for group in grouped["groups"]}
    assert {title: group["count"] for title, group in titles.items()} == {
        "422 unknown team CORE": 2,
        "422 description longer than <num>": 2,
        "400 description longer than 5000": 1,
    }
    team = titles["422 unknown team CORE"]
    assert (team["hosts"], team["rule_id"]) == ({"web1.example": 2}, 1)
    assert team["first"] < team["last"]
    listed = api.get(f"/dead-letters/moog?error={team['error']}").json()["letters"]
    assert [letter["message"] for letter in listed] == ["b", "a"]


def test_an_event_goes_behind_the_ingest_queue_with_fresh_attempts(
    api: Api, bury: Bury, redis: Redis, database_url: str
) -> None:
    redis.lpush(INGEST, event("waits already"))
    entry = dead("refused", remediation_attempts=3)
    [letter] = bury("alerter", entry)
    reply = api.call("POST", where("alerter", letter) + "/replay", {"sha256": letter["sha256"], "reason": "CHG-7"})
    assert reply.status_code == 200, reply.text
    assert reply.json()["outcome"]["status"] == "moved"
    assert redis.llen(LISTS["alerter"]) == 0
    arrived = lying(redis, INGEST)
    assert [message_of(each) for each in arrived] == ["refused", "waits already"]
    mutt = mutt_of(arrived[0])
    assert (mutt["event_id"], mutt["retry_count"]) == (letter["event_id"], 0)
    assert "remediation_attempts" not in mutt
    [row] = changes(database_url)
    assert (row["changed_by"], row["operation"], row["table_name"]) == ("noc", "REPLAY", "dead_letters")
    assert (row["record_id"], row["reason"]) == (letter["event_id"], "CHG-7")
    assert row["old_values"] == {"queue": "alerter", "sha256": letter["sha256"], "entry": entry.decode()}
    assert row["new_values"]["queue"] == "ingest"
    assert row["new_values"]["entry"].encode() == arrived[0]
    assert str(row["correlation_id"]) == reply.json()["operation"]


def test_what_was_shed_comes_back_without_its_reason(api: Api, bury: Bury, redis: Redis) -> None:
    [letter] = bury("alerter", shed("was too much"))
    api.call("POST", where("alerter", letter) + "/replay", {"sha256": letter["sha256"]})
    assert "shedding_reason" not in mutt_of(lying(redis, INGEST)[0])


@pytest.mark.parametrize(("kind", "home"), [("alerter", INGEST), ("moog", ALERTS), ("audit", keys.AUDIT_PENDING)])
def test_poison_goes_back_to_where_its_kind_says(api: Api, bury: Bury, redis: Redis, kind: str, home: str) -> None:
    make = dead if kind == "alerter" else dead_alert
    [letter] = bury("poison", amend(make("given up"), kind=kind))
    reply = api.call("POST", where("poison", letter) + "/replay", {"sha256": letter["sha256"]})
    assert reply.status_code == 200, reply.text
    [arrived] = lying(redis, home)
    assert "kind" not in mutt_of(arrived)
    assert sum(redis.llen(each) for each in (INGEST, ALERTS, keys.AUDIT_PENDING)) == 1


def test_a_letter_that_is_gone_or_changed_is_a_409_and_leaves_no_record(
    api: Api, bury: Bury, redis: Redis, database_url: str
) -> None:
    [letter] = bury("moog", dead_alert("one"))
    stale = {"sha256": "0" * 64}
    error_of(api.call("POST", where("moog", letter) + "/replay", stale), 409)
    error_of(api.call("PUT", where("moog", letter), {**stale, "payload": {}}), 409)
    error_of(api.call("DELETE", where("moog", letter) + "?sha256=" + "0" * 64), 409)
    assert redis.llen(LISTS["moog"]) == 1
    assert api.call("DELETE", where("moog", letter) + "?sha256=" + letter["sha256"]).status_code == 200
    error_of(api.call("DELETE", where("moog", letter) + "?sha256=" + letter["sha256"]), 409)
    assert [row["operation"] for row in changes(database_url)] == ["DELETE"]


def test_an_edited_alert_gets_a_new_id_names_the_old_one_and_is_audited(
    api: Api, bury: Bury, redis: Redis, database_url: str
) -> None:
    [letter] = bury("poison", amend(dead_alert("fan failed", remediation_attempts=3), kind="moog"))
    payload = json.loads(api.get(where("poison", letter)).json()["payload"]) | {"team": "EDGE"}
    reply = api.call("PUT", where("poison", letter), {"sha256": letter["sha256"], "payload": payload})
    assert reply.status_code == 200, reply.text
    new_id = reply.json()["outcome"]["new_event_id"]
    [alert] = lying(redis, ALERTS)
    assert lying(redis, keys.AUDIT_PENDING) == [alert]
    mutt = mutt_of(alert)
    assert (mutt["event_id"], mutt["replaces"]) == (new_id, letter["event_id"])
    assert set(mutt) == {"v", "event_id", "received_at", "event_timestamp", "replaces"}
    assert (json.loads(alert)["team"], message_of(alert)) == ("EDGE", "fan failed")
    [row] = changes(database_url)
    assert (row["operation"], row["record_id"]) == ("EDIT", letter["event_id"])
    assert '"team":"NETO"' in row["old_values"]["entry"]
    assert '"team":"EDGE"' in row["new_values"]["entry"]


def test_an_edit_that_no_service_could_take_names_what_is_wrong_and_moves_nothing(
    api: Api, bury: Bury, redis: Redis
) -> None:
    [letter] = bury("moog", dead_alert("fan failed"))
    payload = json.loads(api.get(where("moog", letter)).json()["payload"])

    def refused(payload: Any) -> dict[str, str]:
        reply = api.call("PUT", where("moog", letter), {"sha256": letter["sha256"], "payload": payload})
        details: dict[str, str] = error_of(reply, 400)["details"]
        return details

    assert "Page_and_ticket" in refused(payload | {"handling": "Log_only"})["handling"]
    assert set(refused(payload | {"team": "", "environment": "x", "rule_id": "1", "more": 1})) == {
        "team", "environment", "rule_id", "more",
    }  # fmt: skip
    assert "hostname is missing" in refused(payload | {"event": payload["event"] | {"hostname": ""}})["event"]
    assert "JSON" in refused("{")["payload"]
    assert "object" in refused(7)["payload"]
    assert redis.llen(LISTS["moog"]) == 1


def test_a_quarantined_record_is_checked_again(api: Api, bury: Bury, redis: Redis) -> None:
    good = json.dumps({"timestamp": "2026-11-24T22:09:59Z", "message": "now it passes", "hostname": "r1"})
    fine, bad = bury("quarantine", quarantined(good), quarantined('{"message":"no host"}'))
    reply = api.call("POST", where("quarantine", fine) + "/replay", {"sha256": fine["sha256"]})
    assert reply.status_code == 200, reply.text
    [entry] = lying(redis, INGEST)
    mutt = mutt_of(entry)
    assert mutt["event_id"] == reply.json()["outcome"]["new_event_id"]
    assert (mutt["replaces"], mutt["received_at"]) == (fine["event_id"], "2026-11-24T22:10:00.123456Z")
    assert mutt["event_timestamp"] == "2026-11-24T22:09:59.000000Z"
    body = error_of(api.call("POST", where("quarantine", bad) + "/replay", {"sha256": bad["sha256"]}), 400)
    assert "hostname is missing" in body["details"]["event"]
    mended = {"timestamp": 1, "message": "no host", "hostname": "r2"}
    reply = api.call("PUT", where("quarantine", bad), {"sha256": bad["sha256"], "payload": mended})
    assert reply.status_code == 200, reply.text
    assert mutt_of(lying(redis, INGEST)[0])["replaces"] == bad["event_id"]


def test_bytes_that_are_no_entry_are_shown_refused_and_deleted(
    api: Api, bury: Bury, redis: Redis, database_url: str
) -> None:
    junk = b"\xff\x00 not an entry"
    redis.lpush(keys.POISON, junk)
    [shown] = api.get("/dead-letters/poison").json()["letters"]
    assert (shown["kind"], shown["event_id"], shown["can_replay"]) == ("unreadable", "unreadable", False)
    error_of(api.call("POST", where("poison", shown) + "/replay", {"sha256": shown["sha256"]}), 400)
    assert api.get(where("poison", shown)).json()["entry_base64"] == "/wAgbm90IGFuIGVudHJ5"
    deleted = api.call("DELETE", where("poison", shown) + "?sha256=" + shown["sha256"])
    assert deleted.status_code == 200, deleted.text
    assert changes(database_url)[0]["old_values"]["entry_base64"] == "/wAgbm90IGFuIGVudHJ5"


def test_letters_by_name_are_moved_together_and_each_has_its_outcome(
    api: Api, bury: Bury, redis: Redis, database_url: str
) -> None:
    letters = bury("alerter", *(dead(f"m{n}") for n in range(5)))
    unreadable = amend(dead("x"), event_id="not an id")
    redis.lpush(LISTS["alerter"], unreadable)
    gone = {"event_id": str(uuid4()), "sha256": "0" * 64}
    reply = api.call("POST", "/dead-letters/alerter/replay", {"letters": [*letters, gone]})
    assert reply.status_code == 200, reply.text
    assert [outcome["status"] for outcome in reply.json()["outcomes"]] == ["gone", *["moved"] * 5]
    assert (reply.json()["more"], redis.llen(INGEST), redis.llen(LISTS["alerter"])) == (False, 5, 1)
    assert len(changes(database_url)) == 5


def test_a_filter_moves_a_hundred_a_request_until_none_is_left(
    api: Api, bury: Bury, redis: Redis, database_url: str
) -> None:
    bury("alerter", *(dead("storm" if n % 2 else "else", 5) for n in range(450)))
    body: dict[str, Any] = {"filter": {"q": "storm"}}
    rounds = 0
    while True:
        reply = api.call("POST", "/dead-letters/alerter/delete", body).json()
        assert len(reply["outcomes"]) <= 100
        rounds += 1
        if not reply["more"]:
            break
        body |= {name: reply[name] for name in ("operation", "before", "start")}
    assert rounds == 3
    assert {message_of(each) for each in lying(redis, LISTS["alerter"])} == {"else"}
    assert redis.llen(LISTS["alerter"]) == 225
    assert {row["correlation_id"] for row in changes(database_url)} == {changes(database_url)[0]["correlation_id"]}


def test_letters_that_die_while_a_filter_replays_are_not_met_again(api: Api, bury: Bury, redis: Redis) -> None:
    bury("alerter", dead("before", 30))
    bury("alerter", dead("after", -30))
    reply = api.call("POST", "/dead-letters/alerter/replay", {"filter": {}}).json()
    assert len(reply["outcomes"]) == 1
    assert message_of(lying(redis, LISTS["alerter"])[0]) == "after"


def test_the_same_members_are_replaced_in_several_letters(api: Api, bury: Bury, redis: Redis) -> None:
    letters = bury("moog", dead_alert("a", 5), dead_alert("b", 5))
    reply = api.call("POST", "/dead-letters/moog/edit", {"filter": {}, "set": {"team": "EDGE"}})
    assert [outcome["status"] for outcome in reply.json()["outcomes"]] == ["moved", "moved"]
    arrived = [json.loads(each) for each in lying(redis, ALERTS)]
    assert {each["team"] for each in arrived} == {"EDGE"}
    assert {each["_mutt"]["replaces"] for each in arrived} == {letter["event_id"] for letter in letters}
    error_of(api.call("POST", "/dead-letters/moog/edit", {"filter": {}}), 400)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"letters": []},
        {"letters": [{"event_id": "x"}]},
        {"letters": [], "filter": {}},
        {"filter": {"team": "x"}},
        {"filter": {"q": 7}},
        {"filter": {}, "before": "soon"},
        {"filter": {}, "start": -1},
        {"filter": {}, "operation": "mine"},
    ],
)
def test_a_request_that_names_no_letters_is_refused(api: Api, body: dict[str, Any]) -> None:
    assert error_of(api.call("POST", "/dead-letters/moog/replay", body), 400)["details"]


def test_nothing_is_put_behind_a_full_queue(api: Api, bury: Bury, redis: Redis, start_service: StartService) -> None:
    redis.lpush(INGEST, *(event(f"m{n}") for n in range(5)))
    [letter] = bury("alerter", dead("late"))
    full = Api(start_service("webui", MAX_INGEST_QUEUE_SIZE="5"), WEBUI_API_KEY)
    body = error_of(full.call("POST", where("alerter", letter) + "/replay", {"sha256": letter["sha256"]}), 503)
    assert "full" in body["error"]
    assert redis.llen(LISTS["alerter"]) == 1
    assert full.call("POST", "/dead-letters/alerter/replay", {"letters": [letter]}).json()["outcomes"][0]["status"] == (
        "full"
    )


def test_a_viewer_reads_and_moves_nothing(api: Api, bury: Bury) -> None:
    [letter] = bury("moog", dead_alert("one"))
    viewer = Api(api.service, "viewer-key")
    assert viewer.get("/dead-letters/moog").status_code == 200
    for method, path, body in (
        ("POST", where("moog", letter) + "/replay", {"sha256": letter["sha256"]}),
        ("PUT", where("moog", letter), {"sha256": letter["sha256"], "payload": {}}),
        ("DELETE", where("moog", letter) + "?sha256=" + letter["sha256"], None),
        ("POST", "/dead-letters/moog/replay", {"letters": [letter]}),
        ("POST", "/dead-letters/moog/edit", {"letters": [letter], "set": {"team": "X"}}),
        ("POST", "/dead-letters/moog/delete", {"letters": [letter]}),
    ):
        assert "operator" in error_of(viewer.call(method, path, body), 403)["error"]


def test_a_letter_deep_in_a_long_list_is_found_and_moved(api: Api, bury: Bury, redis: Redis) -> None:
    [letter] = bury("moog", dead_alert("the deepest", 60))
    redis.lpush(LISTS["moog"], *(dead_alert(f"m{n}") for n in range(12_000)))
    grouped = api.get("/dead-letters/moog/groups").json()
    assert (grouped["looked_at"], grouped["total"]) == (5000, 12_001)
    reply = api.call("POST", where("moog", letter) + "/replay", {"sha256": letter["sha256"]})
    assert reply.status_code == 200, reply.text
    assert [message_of(each) for each in lying(redis, ALERTS)] == ["the deepest"]


def test_where_replayed_letters_went_is_told(
    api: Api, bury: Bury, start_service: StartService, moog_stand_in: MoogStandIn
) -> None:
    letters = bury("moog", dead_alert("a", 5), dead_alert("b", 5))
    operation = api.call("POST", "/dead-letters/moog/replay", {"letters": letters}).json()["operation"]
    states = api.get(f"/dead-letters/outcomes/{operation}").json()["outcomes"]
    assert {each["state"] for each in states} == {"waiting"}
    start_service("moog-forwarder", **QUICK)

    def arrived() -> bool:
        found = api.get(f"/dead-letters/outcomes/{operation}").json()["outcomes"]
        return all(each["state"] == "arrived" and "Moogsoft took it: 200" in each["words"] for each in found)

    wait_for(arrived, "both alerts with Moogsoft")
    moog_stand_in.behave(status=422)
    [again] = bury("moog", dead_alert("c", 5))
    second = api.call("POST", where("moog", again) + "/replay", {"sha256": again["sha256"]}).json()["operation"]
    wait_for(
        lambda: api.get(f"/dead-letters/outcomes/{second}").json()["outcomes"][0]["state"] == "refused",
        "a second refusal",
    )
    error_of(api.get(f"/dead-letters/outcomes/{uuid4()}"), 404)
    error_of(api.get("/dead-letters/outcomes/word"), 404)
