"""What the end of a request means for its alerts: where each goes, what is told, and who may go next."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import NamedTuple

from mutt.answers import Outcome, Verdict
from mutt.circuit import Result
from mutt.forwarding import Move, Resolution, RetryPolicy, circuit_result, resolve
from services.logging_utils import get_logger
from services.moog_forwarder.deliveries import DeliveryLog
from services.moog_forwarder.flight import Item
from services.moog_forwarder.settler import AGAIN, Desk, Ended, Leaving

TAKEN = Verdict.SUCCESS.value

log = get_logger(__name__)


class Answer(NamedTuple):
    """What came of a request; `status` is None where there was no answer."""

    outcome: Outcome
    status: int | None
    auth: str | None


class Ends:
    """Puts the ends of requests to the settler, and lets the next alert of each key go."""

    def __init__(self, desk: Desk, deliveries: DeliveryLog) -> None:
        settings = desk.process.settings
        self._flight = desk.flight
        self._settler = desk.settler
        self._delivered = desk.process.instruments.delivered
        self._deliveries = deliveries
        self._policy = RetryPolicy(settings.max_retries, settings.retry_base_delay, settings.retry_max_delay)

    def taken(self, requests: Sequence[tuple[Sequence[Item], Answer]]) -> None:
        """End requests that Moogsoft took, as `resolved` ends any, all at once."""
        now = datetime.now(UTC)
        for (generation, status), some in groupby(requests, lambda one: (one[0][0].generation, one[1].status)):
            items = [item for group, _ in some for item in group]
            self._note(items, now, status, TAKEN)
            self._settler.put(
                Ended(
                    [leaving(item, Resolution(Move.DONE, item.entry), sent=True) for item in items],
                    (generation, Result.WELL),
                )
            )
            for item in items:
                if item.key is not None:
                    self._flight.pass_by(item)
                    self._flight.release(item)
            self._delivered.observe_all([(now - item.event.event.received_at).total_seconds() for item in items])

    def resolved(self, group: Sequence[Item], answer: Answer) -> None:
        """End a request whatever was answered."""
        now = datetime.now(UTC)
        resolutions = [
            resolve(
                item.entry,
                item.event.envelope.retry_count,
                answer.outcome,
                self._policy,
                is_probe=item.is_probe,
                jitter=random.random(),
                now=now,
            )
            for item in group
        ]
        self._end(group, (group[0].generation, circuit_result(answer.outcome)), resolutions)
        for item, resolution in zip(group, resolutions, strict=True):
            self._tell(item, answer, resolution, now)

    def hand_back(self, group: Sequence[Item]) -> None:
        """Let alerts go that were not sent."""
        self._end(group, None, [Resolution(Move.FRONT, item.entry) for item in group])

    def _end(self, group: Sequence[Item], report: tuple[int, Result] | None, resolutions: Sequence[Resolution]) -> None:
        """Put a request's end to the settler and let the next alert of each key go.

        Behind one that is tried again the next has to wait until the settler knows when that is.
        """
        sent = report is not None
        pairs = list(zip(group, resolutions, strict=True))
        self._settler.put(Ended([leaving(item, resolution, sent=sent) for item, resolution in pairs], report))
        for item, resolution in pairs:
            if resolution.move in (Move.DONE, Move.DEAD):
                self._flight.pass_by(item)
            if resolution.move not in AGAIN:
                self._flight.release(item)

    def _tell(self, item: Item, answer: Answer, resolution: Resolution, now: datetime) -> None:
        outcome = answer.outcome
        is_done = resolution.move is Move.DONE
        self._note([item], now, answer.status, TAKEN if is_done else f"{outcome.verdict.value}: {outcome.message}")
        if is_done:
            self._delivered.observe(max(0.0, (now - item.event.event.received_at).total_seconds()))
            return
        say = log.error if resolution.move is Move.DEAD else log.info
        say(
            "an alert was not delivered",
            then=resolution.move.value,
            wait_seconds=round(resolution.delay, 2),
            answer=outcome.message,
            event_id=item.event.envelope.event_id,
            correlation_id=item.event.event.correlation_id,
        )

    def _note(self, group: Sequence[Item], at: datetime, status: int | None, words: str) -> None:
        envelopes = [item.event.envelope for item in group]
        self._deliveries.note([(one.event_id, one.retry_count + 1) for one in envelopes], at, status, words)


def leaving(item: Item, resolution: Resolution, *, sent: bool) -> Leaving:
    """Return an alert's way out."""
    return Leaving(item.entry, resolution, item.event.envelope.event_id, item, sent)
