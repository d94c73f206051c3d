"""What befalls MUTT in the run at random besides kill -9: faults of its parts, and everything that operators do."""

import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import psycopg
from psycopg import sql

from tests.chaos import blows
from tests.chaos.arena import Arena, Slot, next_of, wait_read
from tests.chaos.blows import Blow, pass_time
from tests.chaos.load import TIMEOUT
from tests.harness.processes import STOP_TIMEOUT
from tests.harness.proxy import Proxy
from tests.harness.servers import USER

WEIGHTS = {"kill": 4.0, "stall": 2.0, "calm": 3.0, "upgrade": 3.0, "migrate": 0.5}
# The rule whose handling the API changes; the load's messages begin with its words.
FLIP = "FLIP"
HANDLINGS = ("Page_and_ticket", "Ticket_only", "Email_only", "Log_only", "Suppress")
CONFIGS: Mapping[str, tuple[Any, ...]] = {
    "alerter_queue_shed_threshold": (5, 20, 100),
    "alerter_queue_warn_threshold": (2, 10, 50),
    "alerter_shed_mode": ("dlq", "defer"),
    "moog_rate_limit": (20, 100, 1000),
    "moog_batch_size": (1, 10, 100),
    "max_ingest_queue_size": (50, 500, 5000),
    "cache_reload_interval": (1, 5, 60),
}
LETTERS = ("alerter", "moog", "poison")
BEHAVIOURS: tuple[dict[str, Any], ...] = (
    {"slow": 1.5, "times": 5},
    {"hang": True, "times": 1},
    {"refuse": True, "times": 5},
    {"status": 500, "times": 30},
)


class Acts:
    """Blows upon an arena, and what they found that nobody may find."""

    def __init__(self, arena: Arena) -> None:
        self.arena = arena
        self.complaints: list[str] = []
        self.is_migrated = arena.older is None
        self._flip: int | None = None
        self._serial = 0
        self._has_flipped = False
        self.forward = False  # from then on, upgrades alone: what the older release does not know comes last

    def all(self) -> dict[str, Blow]:
        """Return every blow by its name."""
        workers = [slot for slot in self.arena.slots if not slot.name.startswith("webui")]
        found: dict[str, Blow] = {
            "crash Redis": blows.crash(self.arena.redis),
            "crash PostgreSQL": blows.crash(self.arena.postgres),
            "kill": self._one(self.arena.slots, blows.kill),
            "stall": self._one(workers, blows.stall),
            "restart": self._one(self.arena.slots, self.restart),
            "hang up": self.hang_up,
            "Moogsoft answers badly": blows.stumble(self.arena.moogsoft),
            "Moogsoft misbehaves": lambda chance: self.arena.moogsoft.behave(**chance.choice(BEHAVIOURS)),
            "crash Moogsoft": self.crash_moogsoft,
            "change a rule": self.change_rule,
            "make a rule and delete it": self.churn,
            "change the configuration": self.configure,
            "replay dead letters": self.replay,
            "rotate a secret": self.rotate,
            "make partitions": self.make_partitions,
            "archive": self.archive,
            "calm": lambda chance: pass_time(chance.uniform(3, 8)),
        }
        for name, proxy in self.arena.proxies.items():
            found[f"disturb {name}"] = self._disturb(proxy)
        if self.arena.older is not None:
            found |= {"upgrade": self.upgrade, "migrate": self.migrate}
        return found

    def mend(self) -> None:
        """Undo every fault that lasts, and every setting that slows the end."""
        for proxy in self.arena.proxies.values():
            proxy.mend()
        self.arena.moogsoft.behave()
        for key in CONFIGS:
            if (reply := self.arena.console("DELETE", f"/config/{key}")) is None or reply.status_code >= 500:
                self.arena.console("DELETE", f"/config/{key}")

    # ---------------------------------------------------------------- services

    def restart(self, slot: Slot) -> Blow:
        """Restart in order."""

        def blow(_: random.Random) -> None:
            self._end(slot)
            slot.start(wait=False)

        return blow

    def upgrade(self, chance: random.Random) -> None:
        """Go on with the other release in one slot, after an orderly end or a crash; none goes back once `forward`."""
        slots = [slot for slot in self.arena.slots if _is_older(slot) or not self.forward]
        if self._has_flipped:
            slots = [slot for slot in slots if not slot.name.startswith("alerter")]
        if not slots:
            return
        slot = chance.choice(slots)
        with slot.lock:
            if chance.random() < 0.3:
                slot.kill()
            else:
                self._end(slot)
            slot.change()
            slot.start(wait=False)

    def _end(self, slot: Slot) -> None:
        was_up = slot.is_up
        if not slot.now.running:
            return
        try:
            code = slot.now.terminate()
        except AssertionError:
            self.complaints.append(f"{slot.name} did not end within {STOP_TIMEOUT:g} s of SIGTERM")
            return
        # A SIGTERM that comes before the interpreter has read the service's code ends it as it ends any process.
        if code != 0 and (was_up or code != -signal.SIGTERM):
            self.complaints.append(f"{slot.name} ended with {code} at SIGTERM")

    def _one(self, slots: list[Slot], make: Callable[[Slot], Blow]) -> Blow:
        def blow(chance: random.Random) -> None:
            slot = chance.choice(slots)
            with slot.lock:
                make(slot)(chance)

        return blow

    def hang_up(self, _: random.Random | None = None) -> None:
        """Have everything read rules and secrets again."""
        for slot in self.arena.slots:
            if slot.is_up:  # one that has not begun would die of it
                slot.now.signal(signal.SIGHUP)

    # ---------------------------------------------------------------- parts

    def crash_moogsoft(self, chance: random.Random) -> None:
        """Let Moogsoft refuse connections."""
        self.arena.moogsoft.kill()
        pass_time(chance.uniform(0, 2))
        self.arena.moogsoft.start()

    def _disturb(self, proxy: Proxy) -> Blow:
        def blow(chance: random.Random) -> None:
            kind = chance.choice(("cut", "hang", "slow", "halve", "halve", "lose", "lose", "reset"))
            match kind:
                case "cut":
                    proxy.cut()
                case "hang":
                    proxy.hang()
                case "slow":
                    proxy.slow(chance.uniform(0.02, 0.3))
                case "halve":
                    proxy.halve(chance.randint(3, 30), end=chance.random() < 0.5)
                case "lose":
                    proxy.lose_reply(chance.choice((b"EVALSHA", b"COMMIT", b"COPY", b"POST ")))
                case _:
                    proxy.reset()
            threading.Timer(chance.uniform(0.5, 6), proxy.mend).start()

        return blow

    # ---------------------------------------------------------------- operators

    def change_rule(self, chance: random.Random) -> None:
        """Give the rule another handling.

        An older release judges anew what a dead alerter had audited, and does not follow its row: from the first change
        on, all alerters are of this release.
        """
        if not self._has_flipped and any(map(_is_older, self.arena.of("alerter"))):
            return
        self._has_flipped = True
        self.arena.console("PUT", f"/rules/{self._flip}", {"prod_handling": chance.choice(HANDLINGS)})

    def make_flip(self) -> None:
        """Make the rule whose handling changes."""
        body = {"match_string": FLIP, "match_type": "contains", "priority": 900, "prod_handling": "Log_only"}
        reply = self.arena.console("POST", "/rules", body | {"dev_handling": "Log_only", "team_assignment": "NETO"})
        if reply is None or not reply.ok:
            raise AssertionError(f"the rule could not be made: {reply and reply.text}")
        self._flip = reply.json()["id"]

    def churn(self, chance: random.Random) -> None:
        """Make a rule that nothing matches, and delete it after a while."""
        self._serial += 1
        body = {"match_string": f"never {self._serial}", "match_type": "contains", "priority": chance.randint(1, 1000)}
        more = {"prod_handling": "Log_only", "dev_handling": "Log_only", "team_assignment": "NETO"}
        reply = self.arena.console("POST", "/rules", body | more)
        if reply is not None and reply.ok:
            pass_time(chance.uniform(0, 1))
            self.arena.console("DELETE", f"/rules/{reply.json()['id']}")

    def configure(self, chance: random.Random) -> None:
        """Set a dynamic key, or let its default hold again."""
        key = chance.choice(list(CONFIGS))
        if chance.random() < 0.3:
            self.arena.console("DELETE", f"/config/{key}")
        else:
            self.arena.console("PUT", f"/config/{key}", {"value": chance.choice(CONFIGS[key])})

    def replay(self, chance: random.Random) -> None:
        """Replay what lies in one of the lists, as a person does."""
        self.arena.console("POST", f"/dead-letters/{chance.choice(LETTERS)}/replay", {"filter": {}})

    def rotate(self, chance: random.Random) -> None:
        """Change one secret by the steps of docs/operations/rotation.md; an older release does not know how."""
        if any(map(_is_older, self.arena.slots)):
            return
        name = chance.choice(("INGEST_API_KEY", "REDIS_PASS_CURRENT", "DB_PASS_CURRENT"))
        fresh = f"secret-{chance.getrandbits(64):x}"
        self.arena.keep_secret(next_of(name), fresh)
        if not self._have_read(name):
            return
        if name == "INGEST_API_KEY":
            self.arena.ingest_key = fresh
            self.arena.order()
            pass_time(TIMEOUT + 1)  # what senders have under way still has the former one
        elif name == "REDIS_PASS_CURRENT":
            with self.arena.client() as client:
                client.config_set("requirepass", fresh)
            self.arena.redis.password = fresh
        else:
            with psycopg.connect(self.arena.postgres.url(), autocommit=True) as connection:
                words = sql.SQL("ALTER ROLE {} PASSWORD {}")
                connection.execute(words.format(sql.Identifier(USER), sql.Literal(fresh)))
            database = self.arena.database_url.rsplit("/", 1)[1]
            self.arena.database_url = self.arena.postgres.url(database, USER, fresh)
        self.arena.keep_secret(name, fresh)
        self.arena.keep_secret(next_of(name), "")
        self._have_read(name)

    def _have_read(self, name: str) -> bool:
        since = time.time()
        self.hang_up()
        if wait_read(self.arena.slots, since):
            return True
        self.complaints.append(f"not every instance has read {name} within a minute of SIGHUP")
        return False

    def make_partitions(self, _: random.Random) -> None:
        """Keep the partitions up."""
        self._run("create_monthly_partitions.py")

    def archive(self, chance: random.Random) -> None:
        """Archive old months; half of the runs are killed in the middle."""
        if self.is_migrated:
            kill_after = chance.uniform(0.5, 2.5) if chance.random() < 0.5 else None
            self._run("archive_old_events.py", kill_after=kill_after)

    def migrate(self, _: random.Random) -> None:
        """Bring the schema to this release's, or find that it is there."""
        self._run("migrate.py")
        self.is_migrated = True

    def _run(self, name: str, *arguments: str, kill_after: float | None = None) -> None:
        try:
            self.arena.script(name, *arguments, kill_after=kill_after)
        except subprocess.SubprocessError as error:
            self.complaints.append(f"{name}: {error}")


def _is_older(slot: Slot) -> bool:
    return slot.now.log_file.name.startswith("older-")
