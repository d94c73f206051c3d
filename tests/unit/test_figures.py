"""What instances report of their work, and what is made of several reports."""

from math import inf

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutt.figures import LATENCY_SECONDS, RATE_SECONDS, Report, Snapshot, Window, between, percentile, rate

BOUNDS = (0.01, 0.1, 1.0)


def snapshot(at: float, done: int, *buckets: int) -> Snapshot:
    return Snapshot(at, done, buckets or (0, 0, 0, 0))


def test_the_rate_is_of_the_last_minute_and_of_less_right_after_the_start() -> None:
    window = Window(BOUNDS, snapshot(100, 0))
    window.add(snapshot(110, 50))
    assert rate([window.report()]) == 5
    for at in range(120, 400, 10):
        window.add(snapshot(at, 50 + (at - 110) * 2))
    assert rate([window.report()]) == 2
    assert window.report().seconds == RATE_SECONDS


def test_times_are_of_the_last_five_minutes() -> None:
    window = Window(BOUNDS, snapshot(0, 0))
    window.add(snapshot(10, 1, 0, 0, 9, 0))
    assert window.report().buckets == (0, 0, 9, 0)
    for at in range(20, 10 + int(LATENCY_SECONDS) + 10, 10):
        window.add(snapshot(at, 1, 4, 0, 9, 0))
    assert window.report().buckets == (4, 0, 0, 0)
    window.add(snapshot(2000, 1, 4, 0, 9, 0))
    assert window.report().buckets == (0, 0, 0, 0)


def test_rates_add_up_and_nothing_measured_is_no_rate() -> None:
    assert rate([Report(60, 120), Report(10, 10)]) == 3
    assert rate([]) is None
    assert rate([Report(0, 0)]) is None
    assert rate([Report(60, 0)]) == 0


def test_a_percentile_lies_in_its_bucket_and_counts_all_instances() -> None:
    one = Report(60, 0, BOUNDS, (50, 50, 0, 0))
    assert percentile([one], 0.5) == 0.01
    assert percentile([one], 0.75) == pytest.approx(0.055)
    assert percentile([one, Report(60, 0, BOUNDS, (0, 0, 900, 0))], 0.95) == pytest.approx(0.95, abs=0.01)
    assert percentile([one, Report(60, 0, BOUNDS, (0, 0, 0, 900))], 0.95) == inf


def test_without_observations_there_is_no_percentile() -> None:
    assert percentile([], 0.95) is None
    assert percentile([Report(60, 5, BOUNDS, (0, 0, 0, 0))], 0.95) is None
    assert percentile([Report(60, 5)], 0.95) is None


def test_reports_over_other_bounds_are_not_mixed() -> None:
    assert percentile([Report(60, 0, (1.0,), (1, 0)), Report(60, 0, (2.0,), (1, 0))], 0.95) is None


@given(st.lists(st.integers(0, 1000), min_size=4, max_size=4), st.floats(0.01, 1))
def test_a_percentile_never_leaves_its_bounds(counts: list[int], share: float) -> None:
    seconds = percentile([Report(60, 0, BOUNDS, tuple(counts))], share)
    assert seconds is None if not sum(counts) else seconds is not None and (0 <= seconds <= 1 or seconds == inf)


def test_cumulative_counts_become_counts_between_bounds() -> None:
    assert between((1, 3, 3), 4) == (1, 2, 0, 1)


def test_a_report_is_small_and_reads_as_it_was_written() -> None:
    report = Report(
        60, 50_000, tuple(each / 1000 for each in range(1, 16)), (12_345,) * 16, "http://10.0.0.1:8082/health"
    )
    data = msgspec.json.encode(report)
    assert len(data) < 400
    assert msgspec.json.decode(data, type=Report) == report
