"""Event rates from counters by minute and hour."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from mutt.rates import HOURS, MINUTES, chart, hours, minutes, summary

NOW = datetime(2026, 11, 24, 22, 10, 15, tzinfo=UTC)


def test_the_counters_that_are_needed_are_those_of_the_last_hour_and_day() -> None:
    needed = minutes(NOW)
    assert (len(needed), needed[0].minute, needed[60].hour, needed[60].minute) == (MINUTES, 10, 21, 10)
    assert [hour.hour for hour in hours(NOW)][:2] == [23, 0]
    assert (len(hours(NOW)), hours(NOW)[-1].hour) == (HOURS, 22)


def test_the_minute_under_way_is_completed_by_a_part_of_the_one_before() -> None:
    counts = [15, 60] + [0] * 59
    assert summary(NOW, counts) == {"current_rate_1m": 1.0, "avg_rate_15m": 0.083, "avg_rate_1h": 0.021}


@given(st.integers(0, 59), st.integers(0, 59), st.integers(1, 10_000))
def test_a_steady_stream_has_the_same_rate_in_every_window(minute: int, second: int, rate: int) -> None:
    now = NOW.replace(minute=minute, second=second)
    counts = [rate * second] + [rate * 60] * 60
    assert set(summary(now, counts).values()) == {float(rate)}


def test_the_hour_under_way_counts_for_the_minutes_that_passed() -> None:
    drawn = chart(NOW, [0] * 22 + [600, 123])
    assert drawn["labels"][-1] == "22:00"
    assert drawn["data"][-2:] == [10.0, 12.0]
