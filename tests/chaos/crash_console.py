"""The console's paths: changes of rules, hosts and teams, of the configuration, and dead letters moved by hand."""

import hashlib
import json
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any
from uuid import uuid4

import msgspec
import requests

from mutt import keys
from mutt.dynamic_keys import ALL
from services.web_ui.unrecorded import Record
from tests.chaos.crash_path import NAMES, Path, compare, entries
from tests.chaos.crash_stage import Victim
from tests.harness.waiting import wait_for
from tests.service.browser import Browser
from tests.service.dead_letters import dead, dead_alert, mutt_of
from tests.service.web_api import RULE, Api

DONE_BEFORE = (404, 409, 412)  # what a repetition may be told of what the killed one had done already
PURPOSE_TABLES = {"alert_rules": "id", "development_hosts": "hostname", "device_teams": "hostname"}
Request = Callable[[Victim], requests.Response]


def call(method: str, path: str, body: Any = None, data: bytes | None = None) -> Request:
    """Return a request to the API."""
    return lambda victim: Api(victim).call(method, path, body, data=data)


class Console(Path):
    """Requests one after another; what was under way when the console died is sent again."""

    victim = "webui"

    def prepare(self) -> None:
        """Make the requests."""
        self.waiting = list(self.asked())
        self.is_again = False

    @abstractmethod
    def asked(self) -> Iterable[Request]:
        """Return what is asked for, in this order."""

    def live(self, victim: Victim) -> bool:
        """Send what is not answered yet."""
        if not self.stage.wait_healthy(victim):
            return False
        while self.waiting:
            try:
                reply = self.waiting[0](victim)
            except requests.RequestException:
                wait_for(lambda: not victim.running, "the end of a console that does not answer")
                self.stage.wait(lambda: False, victim)
                self.is_again = True
                return False
            if not reply.ok and not (self.is_again and reply.status_code in DONE_BEFORE):
                raise AssertionError(f"{reply.status_code} of {reply.request.method} {reply.url}: {reply.text}")
            self.is_again = False
            self.waiting.pop(0)
        return self.is_over(victim)

    def is_over(self, victim: Victim) -> bool:
        """Tell that all is done."""
        return victim.running

    def records(self) -> list[dict[str, Any]]:
        """Return config_audit_log, oldest first."""
        rows = self.stage.sql("SELECT to_jsonb(each) FROM config_audit_log AS each ORDER BY id")
        return [row for (row,) in rows]


class Rules(Console):
    """Every way to change rules, hosts and teams."""

    name = "rules"

    def asked(self) -> Iterable[Request]:
        """Create, change, import, revert, delete."""
        yield call("POST", "/rules", RULE)
        yield self.of_the_rule("PUT", "", {"priority": 400})
        yield call("POST", "/dev-hosts", {"hostname": "h1.example"})
        yield call("POST", "/teams", {"hostname": "h1.example", "team_assignment": "ONE"})
        yield call("PUT", "/teams/h1.example", {"team_assignment": "TWO"})
        yield call("DELETE", "/teams/h1.example")
        yield call("DELETE", "/dev-hosts/h1.example")
        yield call("POST", "/dev-hosts/import", data=b"hostname\nh2.example\nh3.example\n")
        yield self.of_the_rule("POST", "/revert", {"version": 1})
        yield self.of_the_rule("DELETE", "")
        yield self.of_the_rule("POST", "/revert", {"version": 1})

    def of_the_rule(self, method: str, path: str, body: Any = None) -> Request:
        """Return a request about the newest rule: an id whose commit never came is not given again."""

        def send(victim: Victim) -> requests.Response:
            newest = max(int(row["record_id"]) for row in self.records() if row["table_name"] == "alert_rules")
            return call(method, f"/rules/{newest}{path}", body)(victim)

        return send

    def faults(self) -> Iterable[str]:
        """Read the record from its beginning, and compare its end with the tables."""
        recorded: dict[tuple[str, str], Any] = {}
        for row in self.records():
            place = row["table_name"], row["record_id"]
            if recorded.get(place) != row["old_values"]:
                yield f"record {row['id']} begins with {row['old_values']}, the one before ended otherwise"
            recorded[place] = row["new_values"]
        for table, key in PURPOSE_TABLES.items():
            found = {str(row[key]): row for (row,) in self.stage.sql(f"SELECT to_jsonb(each) FROM {table} AS each")}
            told = {name: row for (of, name), row in recorded.items() if of == table and row is not None}
            if found.keys() != told.keys():
                yield f"{table} holds {sorted(found)}, the record says {sorted(told)}"
            for name in found.keys() & told.keys():
                differing = [
                    each for each in told[name] if not each.endswith("_at") and told[name][each] != found[name][each]
                ]
                if differing:
                    yield f"{table} {name} differs from its record in {differing}"
        if {name for (name,) in self.stage.sql("SELECT hostname FROM development_hosts")} != {
            "h2.example",
            "h3.example",
        }:
            yield "an import was taken in part"


class Config(Console):
    """Dynamic keys."""

    name = "config"

    def asked(self) -> Iterable[Request]:
        """Set, change, delete, set again."""
        for value in (60, 70):
            yield call("PUT", "/config/moog_rate_limit", {"value": value})
        yield call("DELETE", "/config/moog_rate_limit")
        yield call("PUT", "/config/cache_reload_interval", {"value": 60})
        yield call("GET", "/config")  # whose reading records what nothing tells of

    def faults(self) -> Iterable[str]:
        """Compare the last record of each key with what Redis holds."""
        recorded = {row["record_id"]: (row["new_values"] or {}).get("value") for row in self.records()}
        for name in ALL:
            stored: Any = self.stage.redis.get(keys.config(name))
            value = stored.decode() if stored is not None else None
            if recorded.get(name) != value:
                yield f"{name} is {value}, its record says {recorded.get(name)}"
        if self.stage.redis.get(keys.config("moog_rate_limit")) or not self.stage.redis.get(
            keys.config("cache_reload_interval")
        ):
            yield "what was asked for is not so"


class DeadLetters(Console):
    """Dead letters replayed, edited and deleted by hand: what moved is on record, and what is on record moved."""

    name = "console"

    def asked(self) -> Iterable[Request]:
        """Move each letter."""
        self.letters = {name: dead(name) for name in ("replayed", "edited", "deleted", "stays")}
        self.letters["alert"] = dead_alert("alert")
        for name, letter in self.letters.items():
            self.stage.redis.lpush(NAMES.moog_dlq if name == "alert" else NAMES.alerter_dlq, letter)
        yield call("POST", f"/dead-letters/alerter/{self._id('replayed')}/replay", {"sha256": self._digest("replayed")})
        yield self._edit("alerter", "edited")
        yield self._edit("moog", "alert")
        yield call("DELETE", f"/dead-letters/alerter/{self._id('deleted')}?sha256={self._digest('deleted')}")
        yield call("GET", "/metrics")
        yield self._sign_out

    def is_over(self, victim: Victim) -> bool:
        """Wait until no record is left in Redis."""
        return self.stage.wait(lambda: not self.stage.redis.exists(keys.UNRECORDED), victim)

    def _id(self, name: str) -> str:
        return str(mutt_of(self.letters[name])["event_id"])

    def _digest(self, name: str) -> str:
        return hashlib.sha256(self.letters[name]).hexdigest()

    def _edit(self, queue: str, name: str) -> Request:
        document = json.loads(self.letters[name])
        payload = {key: value for key, value in document.items() if key != "_mutt"}
        body = {"sha256": self._digest(name), "payload": payload}
        return call("PUT", f"/dead-letters/{queue}/{self._id(name)}", body)

    def _sign_out(self, victim: Victim) -> requests.Response:
        return Browser(victim).sign_in().submit("/sign-out", {})

    def faults(self) -> Iterable[str]:
        """Look where each letter is, and what the record says."""
        yield from compare("alerter's dead letters", _ids(self, NAMES.alerter_dlq), [self._id("stays")])
        yield from compare("forwarder's dead letters", _ids(self, NAMES.moog_dlq), [])
        queued, alerts = entries(self.stage, NAMES.ingest_queue), entries(self.stage, NAMES.alert_queue)
        waiting = entries(self.stage, keys.AUDIT_PENDING)
        came = Counter(each["_mutt"].get("replaces", each["_mutt"]["event_id"]) for each in queued)
        yield from compare("events that came back", came, [self._id("replayed"), self._id("edited")])
        for what, found in (("alerts", alerts), ("rows", waiting)):
            yield from compare(
                f"edited {what}", Counter(each["_mutt"]["replaces"] for each in found), [self._id("alert")]
            )
        told = Counter((row["operation"], row["record_id"]) for row in self.records())
        wanted = {
            ("REPLAY", self._id("replayed")),
            ("EDIT", self._id("edited")),
            ("EDIT", self._id("alert")),
            ("DELETE", self._id("deleted")),
        }
        yield from compare("records", Counter(map(str, told.elements())), map(str, wanted))
        if self.stage.redis.exists(keys.UNRECORDED):
            yield "records are left in Redis"


class LateRecord(Console):
    """A record that a console left behind which died between the move of a letter and its commit."""

    name = "late-record"

    def asked(self) -> Iterable[Request]:
        """Ask for nothing: what is left is looked for by itself."""
        self.letter = dead("deleted")
        record = Record("DELETE", mutt_of(self.letter)["event_id"], "default", None, str(uuid4()), {}, None)
        self.stage.redis.lpush(keys.UNRECORDED, msgspec.json.encode(record))
        return ()

    def is_over(self, victim: Victim) -> bool:
        """Wait until nothing is left."""
        return self.stage.wait(lambda: not self.stage.redis.exists(keys.UNRECORDED), victim)

    def faults(self) -> Iterable[str]:
        """Look for the record."""
        told = Counter((row["operation"], row["record_id"]) for row in self.records())
        if told != {("DELETE", mutt_of(self.letter)["event_id"]): 1}:
            yield f"the records are {dict(told)}"


def _ids(path: Path, key: str) -> Counter[str]:
    return Counter(each["_mutt"]["event_id"] for each in entries(path.stage, key))


PATHS = (Rules, Config, DeadLetters, LateRecord)
