"""What became of the events: Prometheus counters at once, the hourly SLO counters whenever Redis can take them."""

from collections import Counter
from datetime import datetime

import msgspec
from redis.asyncio import Redis

from mutt import keys
from mutt.events import iso
from mutt.figures import Refused
from services.logging_utils import get_logger
from services.runtime.instruments import INGEST_REASONS, IngestorInstruments

log = get_logger(__name__)

COMPONENT = "ingestor"
# What the sender got wrong; counted apart as well, since no operator of this service can mend it.
SENDER_REASONS = frozenset({"auth", "json", "validation"})


class Outcomes:
    """Counts events; failures wait in memory until `flush` adds them to Redis (successes go with their push)."""

    def __init__(self, instruments: IngestorInstruments) -> None:
        self._succeeded = instruments.requests.labels("success", "")
        self._failed = {reason: instruments.requests.labels("fail", reason) for reason in INGEST_REASONS if reason}
        self._waiting: Counter[str] = Counter()
        self._untold: Counter[str] = Counter()
        self._refused: Refused | None = None

    def succeeded(self, events: int) -> None:
        """Count events that Redis has acknowledged."""
        self._succeeded.inc(events)

    def failed(self, reason: str, events: int, at: datetime) -> None:
        """Count events that were not taken."""
        self._failed[reason].inc(events)
        self._untold[reason] += events
        self._waiting[keys.slo(COMPONENT, "fail", at)] += events
        if reason in SENDER_REASONS:
            self._waiting[keys.slo(COMPONENT, "sender", at)] += events

    def refused(self, status: int, words: str, sender: str, at: datetime) -> None:
        """Keep what the last sender that was refused was told: a wrong key must not look like silence."""
        self._refused = Refused(status, words[:200], iso(at), sender)

    def tell(self) -> None:
        """Log how many events were refused since the last time: one line, however many senders go wrong."""
        if self._untold:
            log.warning("events were refused", **self._untold)
            self._untold.clear()

    async def flush(self, redis: Redis) -> None:
        """Add what waits to Redis; raises RedisError, and keeps all of it, when Redis does not answer."""
        if not self._waiting:
            return
        waiting = self._waiting.copy()
        async with redis.pipeline(transaction=True) as pipe:
            for key, events in waiting.items():
                pipe.incrby(key, events)
                pipe.expire(key, keys.SLO_TTL)
            if self._refused is not None:
                pipe.set(keys.INGEST_REFUSED, msgspec.json.encode(self._refused), ex=keys.SLO_TTL)
            await pipe.execute()
        self._waiting -= waiting
