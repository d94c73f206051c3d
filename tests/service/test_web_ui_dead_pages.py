"""The pages of the dead letters without JavaScript: read, select, confirm, edit, and see what came of each."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from html import unescape
from typing import Any

import psycopg
import pytest
import requests
from redis import Redis

from mutt import keys
from mutt.envelope import amend
from tests.harness.processes import ServiceProcess, StartService
from tests.harness.waiting import wait_for
from tests.service.dead_letters import dead, dead_alert, mutt_of, shed

ALERTS, DEAD = "mutt:alert_queue", "mutt:dlq:moog"
KEYS = {
    name: {"sha256": hashlib.sha256(f"{name}-key".encode()).hexdigest(), "role": name}
    for name in ("viewer", "operator")
}


class Reader:
    """A browser without JavaScript, signed in."""

    def __init__(self, service: ServiceProcess, key: str) -> None:
        self.base = service.url
        self.session = requests.Session()
        page = self.session.get(f"{self.base}/sign-in", timeout=60)
        reply = self.session.post(
            f"{self.base}/sign-in", {"csrf": self.field(page.text, "csrf"), "next": "/help", "key": key}, timeout=60,
            allow_redirects=False,
        )  # fmt: skip
        assert reply.status_code == 303, reply.text
        self.csrf = self.field(self.get("/dead-letters").text, "csrf")

    @staticmethod
    def field(html: str, name: str) -> str:
        found = re.search(rf'name="{name}"\s+(?:value|content)="([^"]*)"', html)
        assert found, html
        return unescape(found[1])

    def get(self, path: str, status: int = 200) -> requests.Response:
        reply = self.session.get(self.base + path, timeout=60)
        assert reply.status_code == status, reply.text
        return reply

    def post(self, path: str, fields: list[tuple[str, str]], status: int = 200) -> requests.Response:
        reply = self.session.post(self.base + path, [("csrf", self.csrf), *fields], timeout=60)
        assert reply.status_code == status, reply.text
        return reply


@pytest.fixture
def redis(redis_url: str) -> Redis:
    return Redis.from_url(redis_url)


@pytest.fixture
def service(start_service: StartService) -> ServiceProcess:
    return start_service("webui", WEBUI_API_KEYS=json.dumps(KEYS))


@pytest.fixture
def reader(service: ServiceProcess) -> Iterator[Reader]:
    operator = Reader(service, "operator-key")
    yield operator
    operator.session.close()


def refused(message: str, error: str, age: float = 30, **members: Any) -> bytes:
    entry = dead_alert(message, age, **members)
    return amend(entry, last_error={**mutt_of(entry)["last_error"], "type": "4xx", "message": error}, kind="moog")


def name_of(entry: bytes) -> str:
    return f"{mutt_of(entry)['event_id']} {hashlib.sha256(entry).hexdigest()}"


def test_without_a_session_every_page_leads_to_the_sign_in(service: ServiceProcess) -> None:
    for path in ("/dead-letters", "/dead-letters?queue=moog", f"/dead-letters/outcomes/{'0' * 8}"):
        reply = requests.get(service.url + path, timeout=60, allow_redirects=False)
        assert reply.status_code == 303
        assert reply.headers["Location"].startswith("/sign-in?next=")


def test_an_empty_list_says_what_would_be_there(reader: Reader) -> None:
    assert "No dead letters." in reader.get("/dead-letters").text
    assert "with its answer" in reader.get("/dead-letters?queue=moog").text


def test_the_page_shows_groups_the_letters_and_the_list_that_holds_something(reader: Reader, redis: Redis) -> None:
    redis.lpush(DEAD, refused("fan failed", "HTTP 422: unknown team"), refused("psu failed", "HTTP 422: unknown team"))
    text = reader.get("/dead-letters").text
    assert "Forwarder 2" in text
    assert "422 unknown team" in text
    assert "fan failed" in text
    filtered = reader.get("/dead-letters?queue=moog&q=psu").text
    assert "psu failed" in filtered
    assert "fan failed" not in filtered
    assert "No letter of this filter" in reader.get("/dead-letters?queue=moog&q=nothing").text


def test_hostile_text_is_text(reader: Reader, redis: Redis) -> None:
    entry = refused('<script>alert(1)</script>\x1b[31m \u202e "x" ' + "y" * 60_000, "HTTP 422: <img src=x onerror=1>")
    entry = entry.replace(b"web1.example", b"<b>host</b>")
    redis.lpush(DEAD, entry)
    letter, digest = name_of(entry).split()
    for path in ("/dead-letters", f"/dead-letters?queue=moog&letter={letter}&sha256={digest}"):
        text = reader.get(path).text
        assert "<script>alert" not in text
        assert "<img" not in text
        assert "<b>host" not in text
        assert "\x1b" not in text
        assert "\u202e" not in re.sub(r"<textarea.*?</textarea>", "", text, flags=re.DOTALL)


def test_a_viewer_sees_no_button_and_may_press_none(service: ServiceProcess, redis: Redis) -> None:
    entry = refused("fan failed", "HTTP 422: x")
    redis.lpush(DEAD, entry)
    letter, digest = name_of(entry).split()
    viewer = Reader(service, "viewer-key")
    text = viewer.get(f"/dead-letters?queue=moog&letter={letter}&sha256={digest}").text
    assert "fan failed" in text
    assert 'name="do"' not in text
    viewer.post("/dead-letters/act", [("queue", "moog"), ("letter", name_of(entry)), ("do", "replay")], 403)
    assert redis.llen(DEAD) == 1


def test_selected_letters_are_replayed_and_their_outcomes_shown(reader: Reader, redis: Redis) -> None:
    entries = [refused(f"m{n}", "HTTP 422: x") for n in range(3)]
    redis.lpush(DEAD, *entries)
    fields = [("queue", "moog"), ("do", "replay"), *(("letter", name_of(entry)) for entry in entries[:2])]
    page = reader.post("/dead-letters/act", fields)
    assert "/dead-letters/outcomes/" in page.url
    assert "Replayed 2." in page.text
    assert "Replayed 2: 0 arrived, 0 refused again, 2 on their way" in page.text
    assert (redis.llen(DEAD), redis.llen(ALERTS)) == (1, 2)
    again = reader.post("/dead-letters/act", fields)
    assert "None of these letters lies here any more" in again.text


def test_a_deletion_is_confirmed_first_and_says_what_it_costs(reader: Reader, redis: Redis) -> None:
    entries = [refused(f"m{n}", "HTTP 422: x") for n in range(2)]
    redis.lpush(DEAD, *entries)
    fields = [("queue", "moog"), *(("letter", name_of(entry)) for entry in entries)]
    asked = reader.post("/dead-letters/act", [*fields, ("do", "delete")])
    assert "2 alerts will never reach Moogsoft, 2 of them pages" in asked.text
    assert "Keep them" in asked.text
    assert redis.llen(DEAD) == 2
    page = reader.post("/dead-letters/go", [*fields, ("do", "delete")])
    assert "Deleted 2" in page.text
    assert redis.llen(DEAD) == 0


@pytest.fixture
def change(database_url: str) -> Callable[[str, str], None]:
    """Record a change that was made a minute ago."""

    def record(table: str, name: str) -> None:
        with psycopg.connect(database_url) as connection:
            connection.execute(
                "INSERT INTO config_audit_log (changed_at, changed_by, operation, table_name, record_id, old_values,"
                " new_values) VALUES (now() - interval '60 s', 'ada', 'UPDATE', %s, %s, '{\"a\": 1}', '{\"a\": 2}')",
                (table, name),
            )

    return record


def test_a_refusal_may_come_from_its_rule_or_its_host_alone(
    reader: Reader, redis: Redis, change: Callable[[str, str], None]
) -> None:
    redis.lpush(DEAD, refused("fan failed", "HTTP 422: unknown team"))
    page = "/dead-letters?queue=moog"
    for table, name in (("alert_rules", "2"), ("device_teams", "web2.example"), ("dynamic_config", "moog_rate_limit")):
        change(table, name)
    assert "Began" not in reader.get(page).text
    change("device_teams", "web1.example")
    assert "after the team of web1.example was changed" in reader.get(page).text
    change("alert_rules", "1")
    assert "after rule 1 was changed" in reader.get(page).text


def test_what_was_shed_may_come_from_the_queue_s_limits_alone(
    reader: Reader, redis: Redis, change: Callable[[str, str], None]
) -> None:
    redis.lpush("mutt:dlq:alerter", shed("fan failed"))
    change("development_hosts", "web1.example")
    assert "Began" not in reader.get("/dead-letters?queue=alerter").text
    change("dynamic_config", "alerter_shed_mode")
    assert "after alerter_shed_mode was changed" in reader.get("/dead-letters?queue=alerter").text


def test_no_change_is_named_as_the_cause_of_what_no_change_can_cause(
    reader: Reader, redis: Redis, change: Callable[[str, str], None]
) -> None:
    record = {"_mutt": {**mutt_of(dead("m")), "error": "no message"}, "raw": '{"hostname":"web1.example"}'}
    redis.lpush(keys.QUARANTINE, json.dumps(record, separators=(",", ":")))
    redis.lpush("mutt:dlq:alerter", dead("fan failed", 30))
    redis.lpush(DEAD, dead_alert("its forwarder died", 30))
    for table, name in (
        ("alert_rules", "1"),
        ("device_teams", "web1.example"),
        ("development_hosts", "web1.example"),
        ("dynamic_config", "moog_rate_limit"),
    ):
        change(table, name)
    for queue in ("quarantine", "alerter", "moog"):
        text = reader.get(f"/dead-letters?queue={queue}").text
        assert "By error" in text
        assert "Began" not in text


def test_nothing_selected_says_so(reader: Reader, redis: Redis) -> None:
    redis.lpush(DEAD, refused("m", "HTTP 422: x"))
    assert "Select at least one letter." in reader.post("/dead-letters/act", [("queue", "moog"), ("do", "replay")]).text


def test_all_of_a_filter_go_in_batches_of_a_hundred(reader: Reader, redis: Redis) -> None:
    redis.lpush(DEAD, *(refused(f"m{n}", "HTTP 422: x") for n in range(150)))
    asked = reader.post("/dead-letters/act", [("queue", "moog"), ("do", "replay"), ("all", "1")])
    assert "Replay 150 dead letters?" in asked.text
    fields = [("queue", "moog"), ("do", "replay"), ("all", "1"), ("total", "150")]
    page = reader.post("/dead-letters/go", fields)
    assert "50 to go" in page.text
    assert redis.llen(ALERTS) == 100
    form = re.search(r"<form[^>]*data-following>(.*?)</form>", page.text, re.DOTALL)
    assert form
    hidden = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', form[1])
    last = reader.post("/dead-letters/go", [(name, unescape(value)) for name, value in hidden if name != "csrf"])
    assert redis.llen(ALERTS) == 150
    assert "data-following" not in last.text
    assert "Replayed 150" in last.text


def test_several_are_edited_and_replayed_with_another_team(reader: Reader, redis: Redis) -> None:
    entries = [refused(f"m{n}", "HTTP 422: x") for n in range(2)]
    redis.lpush(keys.POISON, *entries)
    fields = [("queue", "poison"), *(("letter", name_of(entry)) for entry in entries), ("do", "edit")]
    assert "now NETO" in reader.post("/dead-letters/act", fields).text
    assert "Nothing was typed" in reader.post("/dead-letters/go", fields).text
    assert "Edited and replayed 2" in reader.post("/dead-letters/go", [*fields, ("team", "EDGE")]).text
    assert {json.loads(entry)["team"] for entry in redis.lrange(ALERTS, 0, -1)} == {"EDGE"}


def test_one_letter_is_checked_edited_and_replayed(reader: Reader, redis: Redis) -> None:
    entry = refused("fan failed", "HTTP 422: unknown team NETO")
    redis.lpush(DEAD, entry)
    letter, digest = name_of(entry).split()
    page = reader.get(f"/dead-letters?queue=moog&letter={letter}&sha256={digest}").text
    assert "Moogsoft did not take it" in page
    assert "As Moogsoft gets it" in page
    typed = re.search(r"<textarea[^>]*>\n(.*?)</textarea>", page, re.DOTALL)
    assert typed
    payload = unescape(typed[1])
    fields = [("queue", "moog"), ("letter", letter), ("sha256", digest)]
    changed = payload.replace('"NETO"', '"EDGE"')
    checked = reader.post("/dead-letters/letter", [*fields, ("payload", changed), ("do", "check")]).text
    assert "1 line differs" in checked
    assert "Valid." in checked
    bad = payload.replace("Page_and_ticket", "Log_only")
    refusal = reader.post("/dead-letters/letter", [*fields, ("payload", bad), ("do", "replay")], 400).text
    assert "It would not be taken as it stands" in refusal
    assert "Log_only" in refusal
    done = reader.post("/dead-letters/letter", [*fields, ("payload", changed), ("do", "replay")])
    assert "/dead-letters/outcomes/" in done.url
    [alert] = redis.lrange(ALERTS, 0, -1)
    assert json.loads(alert)["team"] == "EDGE"
    gone = reader.post("/dead-letters/letter", [*fields, ("payload", changed), ("do", "replay")], 409)
    assert "does not lie here any more" in gone.text


def test_an_unchanged_payload_is_a_plain_replay_and_a_deletion_is_confirmed(reader: Reader, redis: Redis) -> None:
    entries = [refused("one", "HTTP 422: x"), refused("two", "HTTP 422: x")]
    redis.lpush(DEAD, *entries)
    letter, digest = name_of(entries[0]).split()
    page = reader.get(f"/dead-letters?queue=moog&letter={letter}&sha256={digest}").text
    typed = re.search(r"<textarea[^>]*>\n(.*?)</textarea>", page, re.DOTALL)
    assert typed
    fields = [("queue", "moog"), ("letter", letter), ("sha256", digest), ("payload", unescape(typed[1]))]
    reader.post("/dead-letters/letter", [*fields, ("do", "replay")])
    [alert] = redis.lrange(ALERTS, 0, -1)
    assert isinstance(alert, bytes)
    assert mutt_of(alert)["event_id"] == letter
    letter, digest = name_of(entries[1]).split()
    fields = [("queue", "moog"), ("letter", letter), ("sha256", digest), ("payload", ""), ("do", "delete")]
    assert "Delete 1 dead letter?" in reader.post("/dead-letters/letter", fields).text


def test_a_rules_change_shortly_before_the_first_death_is_named(
    reader: Reader, redis: Redis, database_url: str
) -> None:
    redis.lpush(DEAD, *(refused(f"m{n}", "HTTP 422: unknown team", 10) for n in range(3)))
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO config_audit_log (changed_at, changed_by, operation, table_name, record_id, old_values,"
            " new_values) VALUES (now() - interval '4 minutes', 'core-editor', 'UPDATE', 'alert_rules', '1',"
            """ '{"team_assignment": "CORE", "version": 1}', '{"team_assignment": "CORE-DC3", "version": 2}')"""
        )
    text = reader.get("/dead-letters?queue=moog").text
    assert "after rule 1 was changed" in text
    assert "All of these come from that rule." in text
    assert "CORE-DC3" in text


def test_an_unknown_operation_is_not_found(reader: Reader) -> None:
    reader.get("/dead-letters/outcomes/00000000-0000-4000-8000-000000000000", 404)
    reader.get("/dead-letters/outcomes/word", 404)
    reader.get("/dead-letters/outcomes/00000000-0000-4000-8000-000000000000?do=replay&more=0", 404)
    reader.get("/dead-letters/outcomes/00000000-0000-4000-8000-000000000000?do=nonsense", 400)


def test_all_of_a_long_list_are_counted_beyond_what_is_looked_at(reader: Reader, redis: Redis) -> None:
    redis.lpush(DEAD, *(refused(f"m{n}", "HTTP 422: x") for n in range(5100)))
    fields = [("queue", "moog"), ("all", "1")]
    assert "Replay 5,100 dead letters?" in reader.post("/dead-letters/act", [*fields, ("do", "replay")]).text
    asked = reader.post("/dead-letters/act", [*fields, ("q", "m"), ("do", "delete")]).text
    assert "Delete 5,000+ dead letters?" in asked
    assert "of the newest 5,000 pages" in asked
    go = [*fields, ("q", "m"), ("do", "delete"), ("total", "5000"), ("least", "1")]
    assert "At least 4,900 to go" in reader.post("/dead-letters/go", go).text


def test_letters_stay_in_front_of_a_full_queue_and_can_go_on(start_service: StartService, redis: Redis) -> None:
    redis.lpush("mutt:dlq:alerter", *(dead(f"m{n}") for n in range(101)))
    redis.lpush("mutt:ingest_queue", *["x"] * 2)
    full = Reader(start_service("webui", WEBUI_API_KEYS=json.dumps(KEYS), MAX_INGEST_QUEUE_SIZE="2"), "operator-key")
    go = [("queue", "alerter"), ("all", "1"), ("do", "replay"), ("total", "101")]
    page = full.post("/dead-letters/go", go).text
    assert "The queue behind them is full" in page
    assert "101 to go" in page
    assert "data-full" in page
    assert redis.llen("mutt:dlq:alerter") == 101


def test_the_check_while_typing_returns_its_part_alone(reader: Reader, redis: Redis) -> None:
    entry = dead("cannot", 5)
    redis.lpush("mutt:dlq:alerter", entry)
    letter, digest = name_of(entry).split()
    fields = [("queue", "alerter"), ("letter", letter), ("sha256", digest), ("payload", '{"message":"x"}')]
    part = reader.post("/dead-letters/check", fields).text
    assert "hostname is missing" in part
    assert "<nav" not in part
    wait_for(lambda: redis.llen("mutt:dlq:alerter") == 1, "the letter where it was")
