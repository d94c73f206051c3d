"""The alerter's paths: claim, match, audit, settle, retry, dead-letter, shed, recover, and the audit that waits."""

import signal
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from typing import ClassVar

from mutt import keys
from tests.chaos.crash_path import NAMES, Worker, audited, compare, decided, entries, event, ids, make_rules, orphans
from tests.chaos.crash_stage import Victim

LONG_AGO = timedelta(days=500)  # a month that no partition is kept for
REFUSED = "crash_refused"  # in a message that a constraint refuses


class Alerter(Worker):
    """Events in the queue; each has one row, each owed alert is queued once."""

    victim = "alerter"
    environment: ClassVar[dict[str, str]] = {
        "UNHANDLED_THRESHOLD": "3",
        "ALERTER_BATCH_SIZE": "4",
        "DYNAMIC_CONFIG_ENABLED": "true",
    }

    def prepare(self) -> None:
        """Make rules and queue events."""
        make_rules(self.stage)
        self.events: dict[str, str] = {}
        self.dead: set[str] = set()
        for message in self.messages():
            self.send(message)

    def messages(self) -> Iterable[str]:
        """Return what the queued events say."""
        return ("PAGE 1", "LOG 2", "MAIL 3", "LOG 4", "PAGE 5")

    def send(self, message: str, *, key: str = NAMES.ingest_queue, age: timedelta = timedelta()) -> bytes:
        """Queue one event."""
        event_id, entry = event(message, age=age)
        self.events[event_id] = message
        self.stage.redis.lpush(key, entry)
        return entry

    def act(self, victim: Victim) -> bool:
        """Queue one more event once a claim waits for it."""
        if not self.stage.wait_healthy(victim):
            return False
        self.send("PAGE while a claim waits")
        return True

    def faults(self) -> Iterable[str]:
        """Compare rows, alerts and dead letters with what was queued."""
        dead = ids(entries(self.stage, NAMES.alerter_dlq))
        rows = audited(self.stage)
        owed = [each for each, message in self.events.items() if message.startswith(("PAGE", "MAIL"))]
        alerts = ids(each for each in entries(self.stage, NAMES.alert_queue) if each["event"].get("source") != "mutt")
        yield from compare("audit rows", rows, self.events.keys() - self.dead)
        yield from compare("dead letters", Counter(dead), self.dead)
        yield from compare("alerts", alerts, set(owed) - self.dead)
        yield from self._meta_faults()
        yield from orphans(self.stage)

    def _meta_faults(self) -> Iterable[str]:
        found = ids(each for each in entries(self.stage, NAMES.alert_queue) if each["event"].get("source") == "mutt")
        rows = Counter(
            row[0] for row in self.stage.sql("SELECT event_id::text FROM event_audit_log WHERE source = 'mutt'")
        )
        unmatched = sum(not message.startswith(("PAGE", "MAIL", "LOG")) for message in self.events.values())
        if found != rows or found.total() != int(unmatched >= 3):
            yield f"meta-alerts: {dict(found)} are queued, {dict(rows)} have rows, {unmatched} events were unmatched"


class Judge(Alerter):
    """The common way, with a resend, a month without a partition and a pattern past its threshold."""

    name = "audit"

    def prepare(self) -> None:
        """Queue events of all kinds."""
        super().prepare()
        self.send("LOG of another year", age=LONG_AGO)
        self.stage.redis.lpush(NAMES.ingest_queue, self.send("LOG sent twice"))
        for _ in range(3):
            self.send("nobody knows this")


class Retry(Alerter):
    """Rows that PostgreSQL refuses, and entries that nobody can read."""

    name = "retry"

    def prepare(self) -> None:
        """Queue an event that a constraint refuses, and one that is none."""
        super().prepare()
        self.stage.sql(f"ALTER TABLE event_audit_log ADD CONSTRAINT {REFUSED} CHECK (message !~ '{REFUSED}')")
        self.send(f"PAGE {REFUSED}")
        self.dead = {each for each, message in self.events.items() if REFUSED in message}
        self.stage.redis.lpush(NAMES.ingest_queue, b"not an event")

    def faults(self) -> Iterable[str]:
        """Give the unreadable one its id: it got one of its own."""
        raw = [each for each in entries(self.stage, NAMES.alerter_dlq) if "raw_base64" in each]
        if len(raw) != 1:
            yield f"{len(raw)} dead letters of one unreadable entry"
        self.dead |= {each["_mutt"]["event_id"] for each in raw}
        yield from super().faults()


class Shed(Alerter):
    """The alert queue is full: what would add to it goes to the dead letters, whole and unaudited."""

    name = "shed"

    def prepare(self) -> None:
        """Fill the alert queue up to its limit but for one."""
        super().prepare()
        for name, value in (("alerter_queue_warn_threshold", 1), ("alerter_queue_shed_threshold", 3)):
            self.stage.redis.set(keys.config(name), value)
        self.stage.redis.lpush(NAMES.alert_queue, *[decided(event(f"PAGE before {n}")[1]) for n in range(2)])
        self.before = ids(entries(self.stage, NAMES.alert_queue))

    def act(self, victim: Victim) -> bool:
        """Nothing more."""
        return self.stage.wait_healthy(victim)

    def live_on(self, victim: Victim) -> bool:
        """Queue an event that nobody has claimed before."""
        if not super().live_on(victim):
            return False
        self.send("PAGE after the kill")
        return super().live_on(victim)

    def faults(self) -> Iterable[str]:
        """Every event is in the audit or shed, never both; what was claimed before the kill is not shed after it."""
        dead = ids(entries(self.stage, NAMES.alerter_dlq))
        alerts = ids(entries(self.stage, NAMES.alert_queue)) - self.before
        yield from compare("rows and dead letters", audited(self.stage) + dead, self.events)
        if not dead:
            yield "nothing was shed"
        owed = {each for each, message in self.events.items() if message.startswith(("PAGE", "MAIL"))}
        yield from compare("alerts and dead letters", alerts + dead, owed)
        yield from orphans(self.stage)


class Away(Alerter):
    """PostgreSQL is away: alerts go on, rows wait, and the next run brings them in."""

    name = "away"
    has_two_runs = True
    environment: ClassVar[dict[str, str]] = {**Alerter.environment, "ALERTER_DATABASE_GRACE": "0"}

    def messages(self) -> Iterable[str]:
        """Nothing is there before PostgreSQL is away."""
        return ()

    def act(self, victim: Victim) -> bool:
        """Take PostgreSQL away, then queue events."""
        if not self.stage.wait_healthy(victim):
            return False
        self.stage.take_database_away()
        for message in ("PAGE 1", "LOG 2", "MAIL 3", "LOG 4"):
            self.send(message)
        return True

    def is_over(self) -> bool:
        """Tell whether nothing but rows waits: the first run leaves those."""
        lists = self.stage.left_over()
        lists.pop(keys.AUDIT_PENDING, None)
        return not any(key.startswith((NAMES.ingest_queue, "mutt:processing")) for key in lists)

    def live_on(self, victim: Victim) -> bool:
        """All is over when nothing waits."""
        self.is_over = super().is_over  # type: ignore[method-assign]
        return super().live_on(victim)

    def revive(self) -> None:
        """PostgreSQL is back."""
        self.stage.bring_database_back()


class Pending(Alerter):
    """Rows that waited: of this month, of one without a partition, sent before, refused, and unreadable."""

    name = "pending"

    def messages(self) -> Iterable[str]:
        """No event waits."""
        return ()

    def prepare(self) -> None:
        """Queue rows."""
        super().prepare()
        self.stage.sql(f"ALTER TABLE event_audit_log ADD CONSTRAINT {REFUSED} CHECK (message !~ '{REFUSED}')")
        made = [event("LOG 1"), event("LOG 2"), event("LOG old", age=LONG_AGO), event(f"LOG {REFUSED}")]
        self.events = {event_id: "LOG" for event_id, _ in made[:-1]}
        self.refused = made[-1][0]
        rows = [decided(entry, "Log_only") for _, entry in made]
        self.stage.redis.lpush(keys.AUDIT_PENDING, *rows, rows[0], b"not a row")

    def act(self, victim: Victim) -> bool:
        """Nothing more."""
        return victim is not None

    def faults(self) -> Iterable[str]:
        """Look into poison for what was refused."""
        poison = self.stage.redis.lrange(keys.POISON, 0, -1)
        if sorted(self.refused.encode() in each for each in poison) != [False, True]:
            yield f"poison holds {poison}"
        yield from super().faults()


class Recover(Alerter):
    """What dead workers left: an earlier run of the same name, and others."""

    name = "recover"

    def prepare(self) -> None:
        """Leave lists behind."""
        super().prepare()
        for pod in ("alerter", "dead"):
            for number in range(2):
                self.send(f"PAGE {number} left by {pod}", key=f"{NAMES.alerter_processing}:{pod}")
        event_id, entry = event("LOG that waited")
        self.events[event_id] = "LOG"
        self.stage.redis.lpush(f"{keys.AUDIT_PROCESSING_PREFIX}:dead", decided(entry, "Log_only"))

    def act(self, victim: Victim) -> bool:
        """Let the heartbeat expire."""
        if not self.stage.wait_ready(victim):
            return False
        self.stage.redis.delete(f"{NAMES.alerter_heartbeat}:alerter")
        return True


class Displaced(Alerter):
    """Another run took the name: this one goes on under another."""

    name = "displaced"

    def act(self, victim: Victim) -> bool:
        """Put another's token there, for as long as it would live."""
        if not self.stage.wait_ready(victim):
            return False
        self.stage.redis.set(f"{NAMES.alerter_heartbeat}:alerter", "another", px=3000)
        return self.stage.wait(lambda: "going on under another" in victim.log(), victim) and super().act(victim)


class Stop(Alerter):
    """SIGTERM with a batch in flight that PostgreSQL does not take."""

    name = "stop"
    has_two_runs = True
    environment: ClassVar[dict[str, str]] = {
        **Alerter.environment,
        "ALERTER_DATABASE_GRACE": "60",
        "MUTT_SHUTDOWN_GRACE": "0.2",
        "ALERTER_BATCH_SIZE": "100",
    }

    def messages(self) -> Iterable[str]:
        """Nothing is there before PostgreSQL is away."""
        return ()

    def live(self, victim: Victim) -> bool:
        """Stop it in the middle, and wait for its end."""
        if not self.stage.wait_healthy(victim):
            return False
        self.stage.take_database_away()
        for message in ("PAGE 1", "LOG 2", "PAGE 3"):
            self.send(message)
        held = f"{NAMES.alerter_processing}:alerter"
        if not self.stage.wait(lambda: self.stage.redis.llen(held) == 3, victim):
            return False
        victim.signal(signal.SIGTERM)
        return victim.ends()

    def revive(self) -> None:
        """PostgreSQL is back."""
        self.stage.bring_database_back()


class Upkeep(Alerter):
    """The partition of a month to come is missing."""

    name = "upkeep"

    def prepare(self) -> None:
        """Take the last partitions away."""
        super().prepare()
        self.stage.drop_last_partitions()

    def is_over(self) -> bool:
        """Tell whether the partitions are there again."""
        return super().is_over() and self.stage.missing_partitions() == set()

    def faults(self) -> Iterable[str]:
        """No table is half made."""
        yield from self.stage.half_made()
        yield from super().faults()


PATHS = (Judge, Retry, Shed, Away, Pending, Recover, Displaced, Stop, Upkeep)
