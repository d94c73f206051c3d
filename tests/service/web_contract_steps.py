"""What is asked of each endpoint so that it gives each of its replies."""

import hashlib
import json
import threading
import time
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import psycopg
import yaml
from redis import Redis

from mutt import keys
from tests.harness.waiting import wait_for
from tests.service.dead_letters import dead, dead_alert, mutt_of
from tests.service.web_api import RULE
from tests.service.web_contract import Contract

NOBODY = str(uuid4())
LONG = "x" * 501
STALE = '"0"'
LISTS = {"alerter": "mutt:dlq:alerter", "moog": "mutt:dlq:moog"}


def rules(contract: Contract, _database_url: str, _redis: Redis) -> None:
    """Rules, one by one."""
    ask = contract.ask
    rule = ask("POST /rules", 201, RULE | {"name": "Links that fail", "reason": "CHG-1402"})
    ask("POST /rules", 400, RULE | {"priority": 0, "team": "NETO"})
    ask("GET /rules", 200, limit=10, offset=0)
    ask("GET /rules", 400, limit=0)
    ask("GET /rules/{id}", 200, id=rule["id"])
    ask("GET /rules/{id}", 400, id="first")
    ask("GET /rules/{id}", 404, id=4711)
    ask("PUT /rules/{id}", 200, {"priority": 700, "reason": "it lost to rule 3"}, id=rule["id"], if_match='"1"')
    ask("PUT /rules/{id}", 412, {"priority": 600, "version": 1}, id=rule["id"])
    ask("PUT /rules/{id}", 400, {"priority": 0}, id=rule["id"])
    ask("PUT /rules/{id}", 404, {"priority": 1}, id=4711)
    ask("GET /rules/{id}/history", 200, id=rule["id"])
    ask("GET /rules/{id}/history", 400, id=0)
    ask("GET /rules/{id}/history", 404, id=4711)
    ask("POST /rules/{id}/revert", 200, {"version": 1, "reason": "too loud"}, id=rule["id"])
    ask("POST /rules/{id}/revert", 400, {"version": "first"}, id=rule["id"])
    ask("POST /rules/{id}/revert", 404, {"version": 99}, id=rule["id"])
    ask("DELETE /rules/{id}", 412, id=rule["id"], if_match=STALE)
    ask("DELETE /rules/{id}", 400, id=rule["id"], reason=LONG)
    ask("DELETE /rules/{id}", 200, id=rule["id"], reason="replaced by rule 3")
    ask("DELETE /rules/{id}", 404, id=rule["id"])


def trials(contract: Contract, database_url: str, _redis: Redis) -> None:
    """Ask what a rule would do."""
    ask = contract.ask
    event_id = audited(database_url)
    ask("POST /rules/validate", 200, RULE | {"match_type": "regex", "match_string": "(?<=a)b"})
    ask("POST /rules/validate", 400, RULE | {"id": -1})
    run = ask("POST /rules/dry-run", 202, {"rule": RULE, "hours": 24})["id"]
    ask("POST /rules/dry-run", 400, {"rule": RULE | {"priority": 0}, "hours": 24})
    ask("POST /rules/dry-run", 404, {"rule": {"priority": 1}, "id": 4711})
    report = wait_for(lambda: finished(contract, run), "the dry run")
    assert report is not None
    assert report["caught"] == 1
    ask("GET /rules/dry-run/{run}", 404, run="none")
    ask("DELETE /rules/dry-run/{run}", 200, run=run)
    ask("DELETE /rules/dry-run/{run}", 404, run="none")
    ask("POST /rules/explain", 200, {"event_id": event_id})
    ask("POST /rules/explain", 200, {"event": {"hostname": "core1", "message": "link down", "syslog_severity": 3}})
    ask("POST /rules/explain", 400, {"event": {"hostname": "core1"}})
    ask("POST /rules/explain", 404, {"event_id": NOBODY})


def hosts(contract: Contract, _database_url: str, _redis: Redis) -> None:
    """Development hosts."""
    ask = contract.ask
    ask("POST /dev-hosts", 201, {"hostname": "Lab1.example.net", "reason": "rebuilt as a lab"})
    ask("POST /dev-hosts", 400, {"hostname": "lab 1"})
    ask("POST /dev-hosts", 409, {"hostname": "lab1.example.net"})
    ask("GET /dev-hosts", 200, limit=10)
    ask("GET /dev-hosts", 400, offset=-1)
    ask("GET /dev-hosts/{hostname}", 200, hostname="lab1.example.net")
    ask("GET /dev-hosts/{hostname}", 404, hostname="lab2")
    ask("GET /dev-hosts/export", 200, format="csv")
    ask("GET /dev-hosts/export", 200, format="json")
    ask("GET /dev-hosts/export", 400, format="xml")
    ask("DELETE /dev-hosts/{hostname}", 412, hostname="lab1.example.net", if_match=STALE)
    ask("DELETE /dev-hosts/{hostname}", 400, hostname="lab1.example.net", reason=LONG)
    ask("DELETE /dev-hosts/{hostname}", 200, hostname="lab1.example.net")
    ask("DELETE /dev-hosts/{hostname}", 404, hostname="lab1.example.net")
    ask("GET /dev-hosts/{hostname}/history", 200, hostname="lab1.example.net")
    ask("GET /dev-hosts/{hostname}/history", 404, hostname="lab2")
    ask("POST /dev-hosts/import", 200, data="hostname\nlab3\nlab4\n", kind="text/csv", preview="true")
    ask("POST /dev-hosts/import", 400, data="hostname\nlab 3\n", kind="text/csv")
    ask("POST /dev-hosts/import", 409, data="hostname\nlab3\n", kind="text/csv", seal="old")


def teams(contract: Contract, _database_url: str, _redis: Redis) -> None:
    """Hosts with teams of their own."""
    ask = contract.ask
    team = ask("POST /teams", 201, {"hostname": "core1.example.net", "team_assignment": "CORE"})
    place: dict[str, Any] = {"hostname": team["hostname"]}
    ask("POST /teams", 400, {"hostname": "core2"})
    ask("POST /teams", 409, {"hostname": "core1.example.net", "team_assignment": "CORE"})
    ask("GET /teams", 200, limit=10)
    ask("GET /teams", 400, limit="all")
    ask("GET /teams/{hostname}", 200, **place)
    ask("GET /teams/{hostname}", 404, hostname="core2")
    ask("GET /teams/export", 200)
    ask("GET /teams/export", 400, format="xml")
    ask("PUT /teams/{hostname}", 200, {"team_assignment": "NETO"}, **place, if_match=f'"{team["version"]}"')
    lost = ask("PUT /teams/{hostname}", 412, {"team_assignment": "DC", "version": team["version"]}, **place)
    assert lost["yours"] == {"version": team["version"], "team_assignment": "DC"}
    assert lost["stored"]["team_assignment"] == "NETO"
    ask("PUT /teams/{hostname}", 400, {"team_assignment": 5}, **place)
    ask("PUT /teams/{hostname}", 404, {"team_assignment": "DC"}, hostname="core2")
    ask("DELETE /teams/{hostname}", 412, **place, if_match=f'"{team["version"]}"')
    ask("DELETE /teams/{hostname}", 400, **place, reason=LONG)
    ask("DELETE /teams/{hostname}", 200, **place, if_match=f'"{lost["stored"]["version"]}"')
    ask("DELETE /teams/{hostname}", 404, **place)
    ask("GET /teams/{hostname}/history", 200, **place)
    ask("GET /teams/{hostname}/history", 404, hostname="core2")
    entries = {"teams": [{"hostname": "core3", "team_assignment": "CORE"}]}
    ask("POST /teams/import", 200, data=json.dumps(entries), mode="merge")
    ask("POST /teams/import", 400, data=json.dumps({"teams": [{"hostname": "core3"}]}))
    ask("POST /teams/import", 409, data=json.dumps(entries), seal="old")


def files(contract: Contract, _database_url: str, _redis: Redis) -> None:
    """All rules at once."""
    ask, kind = contract.ask, "application/yaml"
    document = yaml.safe_dump({"rules": [RULE | {"name": "Links"}]}, sort_keys=False)
    ask("POST /rules/import", 200, data=document, kind=kind, reason="the rules of site 2")
    ask("POST /rules/import", 400, data=yaml.safe_dump({"rules": [RULE | {"priority": 0}]}), kind=kind)
    ask("POST /rules/import", 409, data=document, kind=kind, seal="old")
    ask("GET /rules/export", 200)


def config(contract: Contract, _database_url: str, _redis: Redis) -> None:
    """Dynamic keys, and changes of any kind taken back."""
    ask = contract.ask
    place: dict[str, Any] = {"key": "moog_rate_limit"}
    ask("GET /config", 200)
    before = ask("GET /config/{key}", 200, **place)
    ask("GET /config/{key}", 404, key="moog_rate")
    ask("PUT /config/{key}", 200, {"value": 70, "reason": "Moogsoft asked for less"}, **place)
    ask("PUT /config/{key}", 412, {"value": 80, "version": before["version"]}, **place)
    ask("PUT /config/{key}", 400, {"value": "many"}, **place)
    ask("PUT /config/{key}", 404, {"value": 1}, key="moog_rate")
    ask("GET /config/{key}/history", 200, **place)
    ask("GET /config/{key}/history", 404, key="moog_rate")
    ask("DELETE /config/{key}", 412, **place, if_match=f'"{before["version"]}"')
    ask("DELETE /config/{key}", 400, **place, reason=LONG)
    ask("DELETE /config/{key}", 200, **place)
    ask("DELETE /config/{key}", 404, **place)
    newest = ask("GET /config-audit", 200, table_name="dynamic_config", limit=5)["changes"][0]
    ask("GET /config-audit", 400, start_date="yesterday")
    ask("POST /config-audit/{id}/revert", 200, {"to": "before"}, id=newest["id"])
    ask("POST /config-audit/{id}/revert", 400, {"to": "the day before"}, id=newest["id"])
    ask("POST /config-audit/{id}/revert", 404, id=987654)


def events(contract: Contract, database_url: str, _redis: Redis) -> None:
    """Ask what became of events, and for the figures."""
    ask, event_id = contract.ask, audited(database_url)
    ask("GET /audit-logs", 200, hostname="core1.example.net", q="link", limit=5)
    ask("GET /audit-logs", 400, limit=201)
    ask("GET /events/{id}", 200, id=event_id)
    ask("GET /events/{id}", 400, id="4711")
    ask("GET /events/{id}", 404, id=NOBODY)
    ask("GET /unhandled", 200)
    ask("GET /unhandled", 400, limit=0)
    ask("GET /metrics", 200)
    ask("GET /slo", 200)


def dead_letters(contract: Contract, _database_url: str, redis: Redis) -> None:
    """Dead letters, one by one and many at once."""
    ask = contract.ask
    one, two, three = (buried(redis, "alerter", dead(f"link {number} down")) for number in range(3))
    ask("GET /dead-letters", 200)
    ask("GET /dead-letters/{queue}", 200, queue="alerter", q="down", limit=2)
    ask("GET /dead-letters/{queue}", 400, queue="ingest")
    ask("GET /dead-letters/{queue}/groups", 200, queue="alerter")
    ask("GET /dead-letters/{queue}/groups", 400, queue="ingest")
    letter = "GET /dead-letters/{queue}/{event_id}"
    whole = ask(letter, 200, queue="alerter", event_id=one["event_id"])
    ask(letter, 400, queue="ingest", event_id=one["event_id"])
    ask(letter, 404, queue="alerter", event_id=NOBODY)
    place: dict[str, Any] = {"queue": "alerter", "event_id": one["event_id"]}
    payload = json.loads(whole["payload"]) | {"hostname": "web2.example"}
    edit = {"sha256": one["sha256"], "payload": payload, "reason": "the host was wrong"}
    ask("PUT /dead-letters/{queue}/{event_id}", 400, {"sha256": one["sha256"], "payload": "{"}, **place)
    done = ask("PUT /dead-letters/{queue}/{event_id}", 200, edit, **place)
    ask("PUT /dead-letters/{queue}/{event_id}", 409, edit, **place)
    ask("GET /dead-letters/outcomes/{operation}", 200, operation=done["operation"])
    ask("GET /dead-letters/outcomes/{operation}", 404, operation=NOBODY)
    ask("GET /dead-letters/outcomes/{operation}", 400, operation=NOBODY, start=-1)
    place = {"queue": "alerter", "event_id": two["event_id"]}
    replay = "POST /dead-letters/{queue}/{event_id}/replay"
    ask(replay, 400, {}, **place)
    ask(replay, 200, {"sha256": two["sha256"]}, **place)
    ask(replay, 409, {"sha256": two["sha256"]}, **place)
    place = {"queue": "alerter", "event_id": three["event_id"], "sha256": three["sha256"]}
    ask("DELETE /dead-letters/{queue}/{event_id}", 400, queue="alerter", event_id=three["event_id"])
    ask("DELETE /dead-letters/{queue}/{event_id}", 200, **place)
    ask("DELETE /dead-letters/{queue}/{event_id}", 409, **place)
    for number, act in enumerate(("replay", "edit", "delete")):
        named = buried(redis, "moog", dead_alert(f"fan {number} failed"))
        more = {"set": {"team": "CORE"}} if act == "edit" else {}
        ask(f"POST /dead-letters/{{queue}}/{act}", 400, {"letters": [], **more}, queue="moog")
        ask(f"POST /dead-letters/{{queue}}/{act}", 200, {"letters": [named], **more}, queue="moog")


def races(contract: Contract, database_url: str, _redis: Redis) -> None:
    """Things that are made anew by somebody else while they are brought back."""
    rule = contract.ask("POST /rules", 201, RULE)
    contract.ask("DELETE /rules/{id}", 200, id=rule["id"])
    columns = ("match_string", "match_type", "priority", "prod_handling", "dev_handling", "team_assignment")
    names, marks = ", ".join(("id", *columns)), ", ".join(["%s"] * (len(columns) + 1))
    again = f"INSERT INTO alert_rules ({names}) OVERRIDING SYSTEM VALUE VALUES ({marks})"
    values = [rule["id"], *(rule[name] for name in columns)]
    while_made(database_url, again, values, contract, "POST /rules/{id}/revert", {"version": 1}, rule["id"])

    contract.ask("POST /dev-hosts", 201, {"hostname": "lab9"})
    contract.ask("DELETE /dev-hosts/{hostname}", 200, hostname="lab9")
    change = contract.ask("GET /config-audit", 200, record_id="lab9")["changes"][0]["id"]
    again = "INSERT INTO development_hosts (hostname) VALUES (%s)"
    while_made(database_url, again, ["lab9"], contract, "POST /config-audit/{id}/revert", {}, change)


def while_made(  # noqa: PLR0917
    database_url: str, statement: str, values: list[Any], contract: Contract, operation: str, body: Any, record: int
) -> None:
    """Ask while another transaction has made the row, and commit that once the service waits for it."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'INSERT%%'"
    failures: list[BaseException] = []

    def ask() -> None:
        try:
            contract.ask(operation, 409, body, id=record)
        except BaseException as error:  # noqa: BLE001  (raised below, in the test's thread)
            failures.append(error)

    asking = threading.Thread(target=ask)
    with psycopg.connect(database_url) as connection:
        connection.execute(statement.encode(), values)
        asking.start()
        with psycopg.connect(database_url, autocommit=True) as other:
            wait_for(lambda: (other.execute(waiting).fetchone() or (0,))[0] == 1, "the service to wait")
    asking.join()
    if failures:
        raise failures[0]


def audited(database_url: str) -> str:
    """Put an event into the audit and return its id."""
    event_id, now = str(uuid4()), datetime.now(UTC)
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO event_audit_log (event_id, correlation_id, event_timestamp, received_at, hostname, message,"
            " syslog_severity, team, handling, environment, forwarded) VALUES"
            " (%s, %s, %s, %s, 'core1.example.net', 'link down on ge-0/0/1', 3, 'NETO', 'Unhandled', 'prod', false)",
            (event_id, event_id, now, now),
        )
    return event_id


def buried(redis: Redis, queue: str, letter: bytes) -> dict[str, str]:
    """Put a dead letter into its list, and return what addresses it."""
    redis.lpush(LISTS[queue], letter)
    return {"event_id": mutt_of(letter)["event_id"], "sha256": hashlib.sha256(letter).hexdigest()}


def finished(contract: Contract, run: str) -> dict[str, Any] | None:
    """Return the report of a dry run that has ended, None before."""
    report: dict[str, Any] = contract.ask("GET /rules/dry-run/{run}", 200, run=run)
    return report if report["state"] == "done" else None


def counted(redis: Redis) -> None:
    """Count a pattern that no rule matched."""
    name = "0123456789abcdef"
    redis.zadd(keys.UNHANDLED_PATTERNS, {f"mutt:unhandled:{name}": (time.time() + 3000) * 1000})
    redis.hset(f"{keys.UNHANDLED_INFO_PREFIX}:{name}", mapping={"template": "fan <n> failed", "sample": "fan 3 failed"})
    redis.set(f"mutt:unhandled:{name}", 40)


STEPS = (rules, trials, hosts, teams, files, config, events, dead_letters, races)
