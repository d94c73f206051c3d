"""When the alerter warns, sheds or waits, and what it sheds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutt.backpressure import UNBOUNDED, URGENCY, Level, pressure, to_shed
from mutt.rules import Handling

HANDLINGS = st.lists(st.sampled_from([handling.value for handling in Handling]), max_size=60)


@pytest.mark.parametrize(
    ("depth", "mode", "dlq_depth", "level", "room"),
    [
        (0, "dlq", 0, Level.CALM, 20),
        (9, "dlq", 0, Level.CALM, 11),
        (10, "dlq", 0, Level.WARN, 10),
        (19, "dlq", 0, Level.WARN, 1),
        (20, "dlq", 0, Level.SHED, 0),
        (500, "dlq", 99, Level.SHED, 0),
        (500, "dlq", 100, Level.DEFER, UNBOUNDED),
        (19, "dlq", 100, Level.WARN, UNBOUNDED),
        (9, "defer", 0, Level.CALM, UNBOUNDED),
        (10, "defer", 0, Level.WARN, UNBOUNDED),
        (20, "defer", 0, Level.DEFER, UNBOUNDED),
    ],
)
def test_the_depth_and_the_mode_decide(depth: int, mode: str, dlq_depth: int, level: Level, room: int) -> None:
    found = pressure(depth, 10, 20, mode=mode, dlq_depth=dlq_depth, dlq_max=100)
    assert found == (level, room)
    assert found.must_warn == (level is not Level.CALM)


def test_a_shed_threshold_below_the_warning_still_sheds() -> None:
    assert pressure(5, 10, 5, mode="dlq", dlq_depth=0, dlq_max=100) == (Level.SHED, 0)


def test_pages_find_room_first_and_mails_last() -> None:
    batch = ["Email_only", "Log_only", "Page_and_ticket", "Ticket_only", "Unhandled", "Page_and_ticket", "Suppress"]
    assert to_shed(batch, 4) == []
    assert to_shed(batch, 3) == [0]
    assert to_shed(batch, 2) == [0, 3]
    assert to_shed(batch, 1) == [0, 3, 5]
    assert to_shed(batch, 0) == [0, 2, 3, 5]


@given(HANDLINGS, st.integers(-3, 70))
def test_exactly_what_finds_no_room_is_shed_the_least_urgent_and_latest_first(handlings: list[str], room: int) -> None:
    shed = to_shed(handlings, room)
    forwarded = [index for index, handling in enumerate(handlings) if handling in URGENCY]
    kept = [index for index in forwarded if index not in shed]
    assert set(shed) <= set(forwarded)
    assert shed == sorted(shed)
    assert len(kept) == min(len(forwarded), max(0, room))
    rank = {index: (URGENCY[Handling(handlings[index])], index) for index in forwarded}
    assert all(rank[stays] < rank[goes] for stays in kept for goes in shed)


@given(st.integers(0, 5000), st.integers(1, 3000), st.integers(1, 3000), st.integers(0, 200))
def test_a_queue_below_the_threshold_never_grows_past_it_in_dlq_mode(
    depth: int, warn: int, shed: int, dlq_depth: int
) -> None:
    found = pressure(depth, warn, shed, mode="dlq", dlq_depth=dlq_depth, dlq_max=1000)
    assert depth + found.room <= max(depth, shed)
