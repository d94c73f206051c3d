"""The forwarder's paths: claim, send, settle, retry, dead-letter, the circuit, recover; and remediation."""

import signal
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any, ClassVar

from mutt import keys
from tests.chaos.crash_path import NAMES, Worker, compare, decided, entries, event, ids, orphans, waiting
from tests.chaos.crash_stage import Victim
from tests.service.dead_letters import dead, dead_alert, mutt_of, shed

AN_HOUR = 3600


class Forwarder(Worker):
    """Alerts in the queue; Moogsoft gets each at least once, under its own id alone."""

    victim = "moog-forwarder"
    environment: ClassVar[dict[str, str]] = {"MOOG_CIRCUIT_THRESHOLD": "1000", "MOOG_WEBHOOK_TIMEOUT": "2"}
    behaviour: ClassVar[dict[str, Any]] = {}
    dead_letters = 0

    def prepare(self) -> None:
        """Queue alerts, and let Moogsoft misbehave."""
        self.owed: set[str] = set()
        self.stage.moogsoft.behave(**self.behaviour)
        for number in range(3):
            self.send(f"PAGE {number}")

    def send(self, message: str, key: str = NAMES.alert_queue) -> None:
        """Queue one alert."""
        event_id, entry = event(message)
        self.owed.add(event_id)
        self.stage.redis.lpush(key, decided(entry))

    def act(self, victim: Victim) -> bool:
        """Queue one more alert once a claim waits for it."""
        if not self.stage.wait_healthy(victim):
            return False
        self.send("PAGE while a claim waits")
        return True

    def is_over(self) -> bool:
        """Nothing waits in front of Moogsoft either, at the same moment: between two looks an alert may be claimed."""
        lists = self.stage.left_over()
        return NAMES.alert_queue not in lists and not waiting(lists)

    def revive(self) -> None:
        """Let the lease of a probe whose holder died run out, as it does by itself."""
        self.stage.redis.pexpire(keys.CIRCUIT_PROBE, 1)

    def faults(self) -> Iterable[str]:
        """Compare what Moogsoft got with what it is owed."""
        self.stage.moogsoft.behave()
        delivered = {alert["external_id"] for alert in self.stage.moogsoft.alerts()}
        letters = ids(each for each in entries(self.stage, NAMES.moog_dlq) if "raw_base64" not in each)
        once = Counter(delivered) if not self.dead_letters else Counter(delivered | set(letters))
        yield from compare("delivered", once, self.owed)
        if letters.total() > self.dead_letters or any(times > 1 for times in letters.values()):
            yield f"{dict(letters)} are dead, {self.dead_letters} may be"
        if self.stage.redis.get(keys.CIRCUIT_STATE) not in {None, b"CLOSED"}:
            yield "the circuit is not closed"
        yield from orphans(self.stage)


class Forward(Forwarder):
    """Moogsoft is well."""

    name = "forward"

    def prepare(self) -> None:
        """Take the month's partition of the deliveries away: it has to be made first."""
        super().prepare()
        for (name,) in self.stage.sql("SELECT 'delivery_log_' || to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM')"):
            self.stage.sql(f"DROP TABLE {name}")


class Retries(Forwarder):
    """Moogsoft answers 500 twice, 429 is not counted."""

    name = "forward-retry"
    behaviour: ClassVar[dict[str, Any]] = {"status": 500, "times": 2}


class Dead(Forwarder):
    """Moogsoft refuses one alert for good, and one is none."""

    name = "dead-letter"
    behaviour: ClassVar[dict[str, Any]] = {"status": 400, "times": 1}
    dead_letters = 2  # a death before the settle has it sent again, and then Moogsoft takes it

    def prepare(self) -> None:
        """Queue what is no alert too."""
        super().prepare()
        self.stage.redis.lpush(NAMES.alert_queue, b"not an alert")

    def faults(self) -> Iterable[str]:
        """Look for what is no alert, kept as it was."""
        if sum("raw_base64" in each for each in entries(self.stage, NAMES.moog_dlq)) != 1:
            yield "the unreadable alert is not among the dead letters once"
        yield from super().faults()


class Circuit(Forwarder):
    """Moogsoft refuses the key, so that the circuit opens; a probe closes it."""

    name = "circuit"
    environment: ClassVar[dict[str, str]] = {**Forwarder.environment, "MOOG_CIRCUIT_OPEN_SECONDS": "0.2"}
    behaviour: ClassVar[dict[str, Any]] = {"status": 401, "times": 5}


class RecoverForwarder(Forwarder):
    """What dead forwarders left, and a heartbeat that expires."""

    name = "recover-forwarder"

    def prepare(self) -> None:
        """Leave lists behind."""
        super().prepare()
        for pod in ("moog-forwarder", "dead"):
            for number in range(2):
                self.send(f"PAGE {number} left by {pod}", f"{NAMES.moog_processing}:{pod}")

    def act(self, victim: Victim) -> bool:
        """Let the heartbeat expire."""
        if not self.stage.wait_ready(victim):
            return False
        self.stage.redis.delete(f"{NAMES.moog_heartbeat}:moog-forwarder")
        return True


class StopForwarder(Forwarder):
    """SIGTERM while Moogsoft hangs."""

    name = "stop-forwarder"
    has_two_runs = True
    environment: ClassVar[dict[str, str]] = {
        **Forwarder.environment,
        "MUTT_SHUTDOWN_GRACE": "0.2",
        "MOOG_WEBHOOK_TIMEOUT": "60",
        "MOOG_CONCURRENCY": "6",
    }
    behaviour: ClassVar[dict[str, Any]] = {"hang": True}

    def live(self, victim: Victim) -> bool:
        """Stop it in the middle, and wait for its end."""
        held = f"{NAMES.moog_processing}:moog-forwarder"
        if not self.stage.wait(lambda: self.stage.redis.llen(held) == 3, victim):
            return False
        victim.signal(signal.SIGTERM)
        return victim.ends()

    def revive(self) -> None:
        """Moogsoft is well again."""
        super().revive()
        self.stage.moogsoft.behave()


class Remediate(Worker):
    """Dead letters of all kinds: each ends in exactly one list."""

    name = "remediate"
    victim = "remediation"
    environment: ClassVar[dict[str, str]] = {
        "REMEDIATION_SCAN_INTERVAL": "0.1",
        "REMEDIATION_BACKOFF_BASE": "1",
        "REMEDIATION_LEASE_SECONDS": "3",
    }

    def prepare(self) -> None:
        """Put letters into both lists."""
        self.home: dict[str, str] = {}
        self.put(dead("due", AN_HOUR), NAMES.alerter_dlq, NAMES.ingest_queue)
        self.put(shed("shed"), NAMES.alerter_dlq, NAMES.ingest_queue)
        self.put(dead("tried too often", AN_HOUR, remediation_attempts=3), NAMES.alerter_dlq, keys.POISON)
        self.put(dead_alert("due", AN_HOUR), NAMES.moog_dlq, NAMES.alert_queue)
        self.put(dead_alert("tried too often", AN_HOUR, remediation_attempts=3), NAMES.moog_dlq, keys.POISON)

    def put(self, letter: bytes, key: str, home: str) -> None:
        """Put one letter there, which has to come home."""
        self.home[mutt_of(letter)["event_id"]] = home
        self.stage.redis.lpush(key, letter)

    def is_over(self) -> bool:
        """No letter is left."""
        return not self.stage.redis.exists(NAMES.alerter_dlq, NAMES.moog_dlq)

    def revive(self) -> None:
        """Let the dead one's lease run out, as it does by itself."""
        self.stage.redis.pexpire(keys.REMEDIATION_LEASE, 1)

    def faults(self) -> Iterable[str]:
        """Look for each letter in the list where it belongs."""
        for key in (NAMES.ingest_queue, NAMES.alert_queue, keys.POISON, NAMES.alerter_dlq, NAMES.moog_dlq):
            wanted = [event_id for event_id, home in self.home.items() if home == key]
            yield from compare(f"in {key}", ids(entries(self.stage, key)), wanted)


class Probe(Remediate):
    """The circuit's time is over and nothing waits: a dead letter is let go as the probe."""

    name = "probe"

    def prepare(self) -> None:
        """Open the circuit."""
        self.home = {}
        self.put(dead_alert("the probe"), NAMES.moog_dlq, NAMES.alert_queue)
        self.open_circuit()

    def open_circuit(self) -> None:
        """Open it so long ago that its time is over."""
        self.stage.redis.set(keys.CIRCUIT_STATE, "OPEN")
        self.stage.redis.set(keys.CIRCUIT_OPENED_AT, time.time() - AN_HOUR)


class Idle(Probe):
    """The circuit's time is over and there is nothing to send: it closes."""

    name = "idle-circuit"

    def prepare(self) -> None:
        """Open the circuit."""
        self.home = {}
        self.open_circuit()

    def is_over(self) -> bool:
        """Tell whether it is closed."""
        return self.stage.redis.get(keys.CIRCUIT_STATE) == b"CLOSED"


class StopRemediation(Remediate):
    """SIGTERM gives the lease up; the next run needs it."""

    name = "stop-remediation"
    has_two_runs = True

    def live(self, victim: Victim) -> bool:
        """Stop it once it holds the lease."""
        if not self.stage.wait(lambda: self.stage.redis.exists(keys.REMEDIATION_LEASE), victim):
            return False
        victim.signal(signal.SIGTERM)
        return victim.ends()


PATHS = (
    Forward,
    Retries,
    Dead,
    Circuit,
    RecoverForwarder,
    StopForwarder,
    Remediate,
    Probe,
    Idle,
    StopRemediation,
)
