"""Service levels: how much of what was asked succeeded, and how fast that spends the error budget."""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

BURN_OK, BURN_WARN = 1.0, 2.0


class State(StrEnum):
    """What a burn rate calls for."""

    OK = "ok"
    WARN = "warn"
    CRITICAL = "critical"
    NO_DATA = "no_data"


class Component(NamedTuple):
    """What has a service level: its name in keys and replies, its words, its target's dynamic key, its metric."""

    name: str
    words: str
    target_key: str
    metric: str


INGESTOR = Component("ingestor", "Ingest", "slo_ingest_success_target", "mutt_ingest_requests_total")
FORWARDER = Component("forwarder", "Forward", "slo_forward_success_target", "mutt_moog_requests_total")
COMPONENTS = (INGESTOR, FORWARDER)


class Hour(NamedTuple):
    """What was counted in one hour; `sender` is the part of `fail` that senders got wrong."""

    ok: int
    fail: int
    sender: int = 0

    @property
    def total(self) -> int:
        """Return all of it."""
        return self.ok + self.fail


class Standing(NamedTuple):
    """How an availability stands against its target; all None without data."""

    availability: float | None
    remaining: float | None
    burn: float | None
    state: State


def promql(component: Component, hours: int) -> str:
    """Return the question to Prometheus."""
    queries = {
        INGESTOR: 'sum(rate(mutt_ingest_requests_total{status="success"}[24h]))'
        " / sum(rate(mutt_ingest_requests_total[24h]))",
        FORWARDER: 'sum(rate(mutt_moog_requests_total{status="success"}[24h]))'
        " / sum(rate(mutt_moog_requests_total[24h]))",
    }
    return queries[component].replace("[24h]", f"[{hours}h]")


def judge(availability: float | None, target: float) -> Standing:
    """Return burn rate, what is left of the budget (negative when overspent) and the state."""
    if availability is None:
        return Standing(None, None, None, State.NO_DATA)
    # Rounded, so that a share on the very limit is not past it by the last bit.
    burn = round((1 - availability) / (1 - target), 6)
    state = State.OK if burn <= BURN_OK else State.WARN if burn <= BURN_WARN else State.CRITICAL
    return Standing(availability, round(1 - burn, 6), burn, state)


def availability(hours: Sequence[Hour], *, without_sender: bool = False) -> float | None:
    """Return the share that succeeded, None where nothing was counted."""
    ok = sum(hour.ok for hour in hours)
    total = sum(hour.total - (hour.sender if without_sender else 0) for hour in hours)
    return ok / total if total > 0 else None


def budget_left(hours: Sequence[Hour], target: float) -> list[float | None]:
    """Return what was left of the whole window's budget after each hour; None before anything was counted."""
    budget = sum(hour.total for hour in hours) * (1 - target)
    left: list[float | None] = []
    spent = seen = 0
    for hour in hours:
        spent, seen = spent + hour.fail, seen + hour.total
        left.append(1 - spent / budget if seen and budget else None)
    return left
