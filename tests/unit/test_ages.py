"""The age of a queue's oldest entry, read off its bytes."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from mutt.ages import oldest_age, received_at
from mutt.envelope import amend
from mutt.events import decided_entry
from services.runtime.histogram import QuickHistogram
from tests.harness.entries import queue_entry

AT = datetime(2026, 3, 1, 12, 30, 15, 250_000, UTC).timestamp()


def entry(**changes: Any) -> bytes:
    return amend(queue_entry(**changes)[1], received_at="2026-03-01T12:30:15.250000Z")


@pytest.mark.parametrize(
    "stored",
    [
        entry(),
        entry(received_at="2001-01-01T00:00:00Z"),  # a field of the sender's own
        amend(entry(), retry_count=2, last_error={"type": "x", "message": "y", "at": "z"}, traceparent="0" * 55),
        b"0" * 36 + entry(),  # as it waits for its retry
        b'{ "_mutt" : { "event_id" : "x", "received_at" : "2026-03-01T12:30:15.25+00:00" } }',  # by hand
        decided_entry(entry(), handling="h", team="t", rule_id=1, rule_version=1, environment="prod"),
    ],
)
def test_an_entry_tells_when_its_event_was_received(stored: bytes) -> None:
    assert received_at(stored) == AT


@given(st.binary(max_size=300))
def test_bytes_that_are_no_entry_tell_nothing_and_break_nothing(stored: bytes) -> None:
    assert received_at(stored) is None or b"received_at" in stored


def test_an_age_is_that_of_the_oldest_and_never_below_zero() -> None:
    older = amend(entry(), received_at="2026-03-01T12:30:00Z")
    assert oldest_age([entry(), older, b"garbage"], AT + 60) == 75.25
    assert oldest_age([entry()], AT - 5) == 0
    assert oldest_age([], AT) == 0
    assert oldest_age([b"garbage"], AT) is None
    assert oldest_age([amend(entry(), received_at="soon")], AT) is None


@given(st.lists(st.floats(-5, 50), max_size=30), st.integers(0, 5))
def test_many_observations_at_once_count_as_each_by_itself(amounts: list[float], times: int) -> None:
    made = [kind("x", "", buckets=(1, 5, 10), registry=CollectorRegistry()) for kind in (Histogram, QuickHistogram)]
    slow, quick = made
    for amount in amounts:
        slow.observe(max(amount, 0.0))
    for _ in range(times):
        slow.observe(7)
    assert isinstance(quick, QuickHistogram)
    quick.observe_all(amounts)
    quick.observe_alike(7, times)

    def shown(histogram: Histogram) -> dict[tuple[str, str], float]:
        samples = [sample for family in histogram.collect() for sample in family.samples]
        return {(s.name, s.labels.get("le", "")): s.value for s in samples if not s.name.endswith("_created")}

    assert shown(quick) == pytest.approx(shown(slow))
