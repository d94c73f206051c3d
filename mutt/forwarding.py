"""What becomes of an alert after an attempt to deliver it: decisions as values, executed by the forwarder."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from mutt.answers import Outcome, Verdict
from mutt.circuit import Result
from mutt.envelope import failed
from mutt.events import iso
from mutt.retry import forward_delay

LONGEST_REASON = 500  # characters kept of why an alert failed
SHORTEST_WAIT = 0.05  # seconds, so that "Retry-After: 0" does not spin


class Move(StrEnum):
    """Where an alert goes from the processing list."""

    DONE = "done"
    RETRY = "retry"  # waits, one retry spent
    WAIT = "wait"  # waits, nothing spent
    DEAD = "dead"
    FRONT = "front"  # back to where claims take from: it was not its turn
    BEHIND = "behind"  # behind the queue, so that one bad probe does not probe again


class Resolution(NamedTuple):
    """One alert's move; `payload` is the entry that moves, `delay` the seconds that it waits."""

    move: Move
    payload: bytes
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often an alert is tried again, and after how many seconds."""

    max_retries: int
    base: float
    cap: float


def resolve(
    entry: bytes,
    retry_count: int,
    outcome: Outcome,
    policy: RetryPolicy,
    *,
    is_probe: bool,
    jitter: float,
    now: datetime,
) -> Resolution:
    """Decide what an attempt's outcome means for the alert; `jitter` is in [0, 1]."""
    verdict = outcome.verdict
    if verdict is Verdict.SUCCESS:
        return Resolution(Move.DONE, entry)
    if verdict is Verdict.THROTTLED:
        wait = policy.base if outcome.after is None else outcome.after
        return Resolution(Move.WAIT, entry, max(wait, SHORTEST_WAIT))
    if is_probe and verdict is not Verdict.REJECTED:
        return Resolution(Move.BEHIND, entry)
    if verdict is Verdict.MISCONFIGURED:
        return Resolution(Move.FRONT, entry)
    count = retry_count if verdict is Verdict.REJECTED else retry_count + 1
    payload = _failed(entry, outcome.reason, outcome.message, count, now)
    if verdict is Verdict.REJECTED or count > policy.max_retries:
        return Resolution(Move.DEAD, payload)
    return Resolution(Move.RETRY, payload, forward_delay(count, policy.base, policy.cap, jitter))


def circuit_result(outcome: Outcome) -> Result:
    """Return what the circuit learns: an answer that judges the alert itself proves Moogsoft well."""
    match outcome.verdict:
        case Verdict.SUCCESS | Verdict.REJECTED:
            return Result.WELL
        case Verdict.RETRY:
            return Result.FAILED
        case Verdict.MISCONFIGURED:
            return Result.MISCONFIGURED
        case Verdict.THROTTLED:
            return Result.UNKNOWN


def deadly(entry: bytes, retry_count: int, recoveries: int, now: datetime) -> bytes:
    """Return the dead letter of an alert whose forwarders died `recoveries` times."""
    message = f"recovered {recoveries} times from forwarders that died while they held it"
    return _failed(entry, "recovered", message, retry_count, now)


def _failed(entry: bytes, kind: str, message: str, retry_count: int, now: datetime) -> bytes:
    return failed(entry, error_type=kind, message=message[:LONGEST_REASON], at=iso(now), retry_count=retry_count)
