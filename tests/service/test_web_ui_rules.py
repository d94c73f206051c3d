"""Rules, development hosts and teams over the API, on a real database and Redis."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import redis
from redis.client import PubSub

from mutt import keys
from tests.harness.processes import StartService
from tests.harness.waiting import wait_for
from tests.service.web_api import RULE, Api, changes, error_of


@pytest.fixture
def api(start_service: StartService) -> Api:
    """Run a web UI."""
    return Api(start_service("webui"))


class Announcements:
    """What was published on the channel of changes since this was made."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url)
        self._pubsub: PubSub = self._client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
        self._pubsub.subscribe(keys.CONFIG_UPDATES)
        wait_for(lambda: self._client.pubsub_numsub(keys.CONFIG_UPDATES)[0][1], "the subscription")
        self.seen: list[str] = []

    def expect(self, topic: str) -> None:
        """Wait until `topic` was announced once more."""
        before = self.seen.count(topic)

        def look() -> bool:
            message = self._pubsub.get_message()
            if message:
                self.seen.append(message["data"].decode())
            return self.seen.count(topic) > before

        wait_for(look, f"the announcement of {topic}")

    def close(self) -> None:
        self._pubsub.close()
        self._client.close()


@pytest.fixture
def announced(redis_url: str) -> Iterator[Announcements]:
    """Listen to the channel of changes."""
    listening = Announcements(redis_url)
    yield listening
    listening.close()


def test_a_rule_is_created_read_changed_and_deleted(api: Api, database_url: str, announced: Announcements) -> None:
    created = api.call("POST", "/rules", RULE | {"name": "Links", "reason": "CHG-1"})
    assert created.status_code == 201
    rule = created.json()
    assert rule | RULE == rule
    assert (rule["name"], rule["is_active"], rule["version"], rule["trap_oid"]) == ("Links", True, 1, None)
    assert created.headers["Location"] == f"/api/v2/rules/{rule['id']}"
    assert created.headers["ETag"] == '"1"'
    assert rule["created_at"].endswith("Z")
    announced.expect("rules")

    place = f"/rules/{rule['id']}"
    assert api.get(place).json() == rule

    changed = api.call("PUT", place, {"priority": 7, "name": None}, headers={"If-Match": '"1"'})
    assert changed.status_code == 200
    assert changed.headers["ETag"] == '"2"'
    after = changed.json()
    assert after | {"updated_at": ""} == rule | {"priority": 7, "name": None, "version": 2, "updated_at": ""}
    announced.expect("rules")

    deleted = api.call("DELETE", f"{place}?reason=obsolete")
    assert deleted.status_code == 200
    assert deleted.json() == {"message": f"rule {rule['id']} is deleted"}
    announced.expect("rules")
    assert error_of(api.get(place), 404)["error"] == f"there is no rule {rule['id']}"

    rows = changes(database_url)
    assert [row["operation"] for row in rows] == ["CREATE", "UPDATE", "DELETE"]
    assert {(row["table_name"], row["record_id"], row["changed_by"]) for row in rows} == {
        ("alert_rules", str(rule["id"]), "default")
    }
    assert [row["reason"] for row in rows] == ["CHG-1", None, "obsolete"]
    assert [row["old_values"] for row in rows] == [None, rule, after]
    assert [row["new_values"] for row in rows] == [rule, after, None]
    assert str(rows[0]["correlation_id"]) == created.headers["X-Correlation-ID"]


def test_rules_are_listed_in_the_order_in_which_they_are_tried(api: Api) -> None:
    low, high, tied = (api.create_rule(priority=priority)["id"] for priority in (5, 9, 5))
    listed = api.get("/rules").json()
    assert [rule["id"] for rule in listed["rules"]] == [high, low, tied]
    assert (listed["total"], listed["limit"], listed["offset"]) == (3, 1000, 0)
    page = api.get("/rules?limit=1&offset=1").json()
    assert [rule["id"] for rule in page["rules"]] == [low]
    assert (page["total"], page["limit"], page["offset"]) == (3, 1, 1)


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "offset=-1"])
def test_an_impossible_page_is_a_400_that_names_the_parameter(api: Api, query: str) -> None:
    assert query.split("=", maxsplit=1)[0] in error_of(api.get(f"/rules?{query}"), 400)["details"]


@pytest.mark.parametrize("rule_id", ["0", "-1", "x", "1.5", "2147483648", "99999999999999999999"])
def test_an_impossible_id_is_a_400(api: Api, rule_id: str) -> None:
    assert "id" in error_of(api.get(f"/rules/{rule_id}"), 400)["details"]


def test_every_fault_of_a_rule_is_named_with_what_is_allowed(api: Api, database_url: str) -> None:
    wrong = RULE | {"priority": 0, "prod_handling": "Suppress", "match_type": "glob", "team_assignment": " ", "x": 1}
    details = error_of(api.call("POST", "/rules", wrong), 400)["details"]
    assert set(details) == {"priority", "prod_handling", "match_type", "team_assignment", "x"}
    assert details["priority"] == "0 is not allowed; a whole number from 1 to 1000"
    assert "contains, regex, oid_prefix" in details["match_type"]
    assert changes(database_url) == []


def test_a_pattern_that_re2_refuses_is_refused_in_its_words(api: Api) -> None:
    reply = api.call("POST", "/rules", RULE | {"match_type": "regex", "match_string": "a(?=b)"})
    assert "invalid perl operator: (?=" in error_of(reply, 400)["details"]["match_string"]


def test_a_body_that_is_no_json_object_is_a_400(api: Api) -> None:
    for data, said in (
        (b"", "the body is empty"),
        (b"{", "not JSON"),
        (b"[]", "has to be a JSON object"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"reason": 5}', "the reason is not valid"),
    ):
        assert said in error_of(api.call("POST", "/rules", data=data), 400)["error"]


def test_a_body_that_is_too_large_is_a_413(api: Api) -> None:
    error_of(api.call("POST", "/rules", data=b" " * 300_000), 413)


def test_a_change_is_checked_against_the_whole_rule(api: Api) -> None:
    rule = api.create_rule()
    place = f"/rules/{rule['id']}"
    assert "would match every event" in str(error_of(api.call("PUT", place, {"match_string": None}), 400)["details"])
    assert "trap_oid" in error_of(api.call("PUT", place, {"match_type": "oid_prefix"}), 400)["details"]
    assert "nothing to change" in error_of(api.call("PUT", place, {}), 400)["error"]
    assert "nothing to change" in error_of(api.call("PUT", place, {"reason": "x", "version": 1}), 400)["error"]
    assert api.get(place).json() == rule


def test_a_rule_that_was_read_can_be_sent_back_and_changes_nothing(api: Api, database_url: str) -> None:
    rule = api.create_rule()
    reply = api.call("PUT", f"/rules/{rule['id']}", rule)
    assert (reply.status_code, reply.json()) == (200, rule)
    assert len(changes(database_url)) == 1


def test_a_change_made_for_another_version_is_a_412(api: Api) -> None:
    place = f"/rules/{api.create_rule()['id']}"
    requests: tuple[tuple[dict[str, str], dict[str, Any]], ...] = (
        ({"If-Match": '"7"'}, {}),
        ({"If-Match": "7"}, {}),
        ({}, {"version": 7}),
        ({"If-Match": '"1"'}, {"version": 7}),
    )
    for headers, body in requests:
        reply = api.call("PUT", place, {"priority": 8, **body}, headers=headers)
        assert "this is version 1 by now" in error_of(reply, 412)["error"]
    error_of(api.call("DELETE", place, headers={"If-Match": '"7"'}), 412)
    assert api.call("PUT", place, {"priority": 8}, headers={"If-Match": "*"}).status_code == 200


def test_a_missing_rule_is_a_404_for_every_method(api: Api) -> None:
    for method, body in (("GET", None), ("PUT", {"priority": 1}), ("DELETE", None)):
        error_of(api.call(method, "/rules/4711", body), 404)


def test_a_rule_keeps_text_as_it_was_sent(api: Api) -> None:
    text = "  Straße 'quoted' \\d %s {x} \u202e日本 "
    assert api.create_rule(match_string=text)["match_string"] == text


def test_a_development_host_is_added_listed_and_removed(api: Api, database_url: str, announced: Announcements) -> None:
    added = api.call("POST", "/dev-hosts", {"hostname": "Lab1.Example."})
    assert added.status_code == 201
    assert added.json()["hostname"] == "lab1.example"
    announced.expect("hosts")
    assert "already" in error_of(api.call("POST", "/dev-hosts", {"hostname": "LAB1.example"}), 409)["error"]
    assert api.get("/dev-hosts").json() == {"hosts": [added.json()], "total": 1, "limit": 1000, "offset": 0}
    assert api.get("/dev-hosts/LAB1.EXAMPLE.").json() == added.json()
    removed = api.call("DELETE", "/dev-hosts/Lab1.example")
    assert removed.json() == {"message": "lab1.example is no longer a development host"}
    announced.expect("hosts")
    for method in ("GET", "DELETE"):
        error_of(api.call(method, "/dev-hosts/lab1.example"), 404)
    assert [(row["table_name"], row["operation"], row["record_id"]) for row in changes(database_url)] == [
        ("development_hosts", "CREATE", "lab1.example"),
        ("development_hosts", "DELETE", "lab1.example"),
    ]


def test_an_impossible_host_is_a_400(api: Api) -> None:
    bodies: tuple[dict[str, Any], ...] = ({}, {"hostname": ""}, {"hostname": "a b"}, {"hostname": 5}, {"host": "x"})
    for body in bodies:
        for place in ("/dev-hosts", "/teams"):
            assert "hostname" in error_of(api.call("POST", place, body), 400)["details"]


def test_a_team_is_added_changed_and_deleted(api: Api, database_url: str, announced: Announcements) -> None:
    added = api.call("POST", "/teams", {"hostname": "Core1", "team_assignment": "DC-OPS"})
    assert added.status_code == 201
    announced.expect("teams")
    assert (
        "PUT changes it"
        in error_of(api.call("POST", "/teams", {"hostname": "core1.", "team_assignment": "X"}), 409)["error"]
    )
    changed = api.call("PUT", "/teams/CORE1", {"team_assignment": "NETO"})
    assert (changed.status_code, changed.json()["team_assignment"]) == (200, "NETO")
    announced.expect("teams")
    assert api.get("/teams/core1").json() == changed.json()
    assert api.get("/teams").json()["teams"] == [changed.json()]
    assert api.call("PUT", "/teams/core1", {"team_assignment": "NETO"}).json() == changed.json()
    assert "nothing to change" in error_of(api.call("PUT", "/teams/core1", {}), 400)["error"]
    assert "team_assignment" in error_of(api.call("PUT", "/teams/core1", {"team_assignment": ""}), 400)["details"]
    renamed = api.call("PUT", "/teams/core1", {"hostname": "core2", "team_assignment": "NETO"})
    assert "hostname" in error_of(renamed, 400)["details"]
    assert api.call("DELETE", "/teams/core1").status_code == 200
    announced.expect("teams")
    for method, body in (("GET", None), ("PUT", {"team_assignment": "X"}), ("DELETE", None)):
        error_of(api.call(method, "/teams/core1", body), 404)
    assert [row["operation"] for row in changes(database_url)] == ["CREATE", "UPDATE", "DELETE"]


def test_a_change_and_its_record_are_made_together_or_not_at_all(api: Api, database_url: str) -> None:
    rule = api.create_rule()
    with psycopg.connect(database_url) as connection:
        connection.execute("ALTER TABLE config_audit_log ADD CONSTRAINT closed CHECK (operation = 'CREATE')")
    reply = api.call("PUT", f"/rules/{rule['id']}", {"priority": 9})
    assert "constraint closed" in error_of(reply, 400)["error"]
    assert api.get(f"/rules/{rule['id']}").json() == rule


def test_rules_put_in_by_hand_can_be_seen_and_mended(api: Api, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO alert_rules (match_string, match_type, priority, prod_handling, dev_handling, team_assignment)"
            " VALUES ('(', 'regex', 5, 'Log_only', 'Suppress', 'NETO')"
        )
    rule = api.get("/rules").json()["rules"][0]
    assert "match_string" in error_of(api.call("PUT", f"/rules/{rule['id']}", {"priority": 6}), 400)["details"]
    assert api.call("PUT", f"/rules/{rule['id']}", {"match_string": r"\("}).status_code == 200
