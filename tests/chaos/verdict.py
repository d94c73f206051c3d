"""The end of a run: everything mended, all at rest, and the ledger against all that MUTT has."""

import json
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import psycopg
import redis

from mutt import keys
from tests.chaos import command
from tests.chaos.arena import Arena
from tests.chaos.books import NAMES, faults
from tests.chaos.command import tell
from tests.chaos.load import Ledger
from tests.chaos.stage import wait_settled

WAITING = (NAMES.ingest_queue, NAMES.alert_queue, NAMES.alerter_dlq, NAMES.moog_dlq, keys.AUDIT_PENDING)
OWED = "SELECT count(*) FROM event_audit_log WHERE forwarded AND received_at > now() - interval '30 days'"


class Verdict:
    """What the senders' ledger says, and what has become of it."""

    def __init__(self, arena: Arena) -> None:
        self.ledger = Ledger()
        self._arena = arena
        self._position = 0

    def count(self) -> int:
        """Read on in the ledger; return how many events are acknowledged."""
        self._position = self._arena.senders.read(self.ledger, self._position)
        return len(self.ledger.acknowledged)

    def depths(self) -> str:
        """Say what waits where."""
        with suppress(redis.RedisError), self._arena.client() as client:
            depths = {name.split(":", 1)[1]: client.llen(name) for name in WAITING}
            return ", ".join(f"{name} {depth}" for name, depth in depths.items() if depth) or "nothing waits"
        return "Redis is away"

    def judge(self) -> list[str]:
        """Wait until all has come to rest, and return the broken promises; faults have been mended before."""
        tell("the senders repeat their last bodies until these are acknowledged")
        for slot in self._arena.slots:
            with slot.lock:
                if slot.now.running:
                    slot.now.signal(signal.SIGCONT)
                else:
                    slot.start(wait=False)
        found = self._arena.senders.stop()
        self.count()
        tell("waiting until nothing waits anywhere")
        with self._arena.client() as client:
            try:
                wait_settled(client, [slot.now for slot in self._arena.slots])
            except AssertionError as error:
                found.append(str(error))
            found += faults(self.ledger, client, self._arena.database_url, self.delivered())
            found += self._orphans(client)
        return found + [f"{slot} ended by itself {times} times" for slot, times in self._arena.ended.items()]

    def figures(self) -> None:
        """Print what was sent and what came of it."""
        with self._arena.client() as client:
            given_up, quarantined = client.llen(keys.POISON), client.llen(keys.QUARANTINE)
        with psycopg.connect(self._arena.database_url) as connection:
            (owed,) = connection.execute(OWED).fetchone() or (0,)
        deliveries = Counter(alert["external_id"] for alert in self.delivered())
        command.figures(
            "figures",
            {
                "events acknowledged": len(self.ledger.acknowledged),
                "bodies acknowledged": self.ledger.bodies,
                "repetitions until then": self.ledger.repeated,
                "bodies sent again afterwards": self.ledger.forms["again"],
                "alerts owed": owed,
                "alerts delivered": len(deliveries),
                "deliveries beyond the first": deliveries.total() - len(deliveries),
                "given up, in the list of poison": given_up,
                "bad records in quarantine": quarantined,
            },
        )

    def delivered(self) -> list[dict[str, Any]]:
        """Return every alert that Moogsoft took."""
        return [json.loads(line) for line in (self._arena.folder / "moogsoft.ndjson").read_bytes().splitlines()]

    def _orphans(self, client: Any) -> Iterator[str]:
        """Yield what stays behind without an owner: heartbeats and leases end by themselves, these would not."""
        for pattern in ("mutt:processing:*", "mutt:recoveries:*"):
            for key in client.scan_iter(pattern):
                yield f"{key.decode()} is left behind"
        if (state := client.get(keys.CIRCUIT_STATE)) not in {None, b"CLOSED"}:
            yield f"the circuit stays {state.decode()}"
