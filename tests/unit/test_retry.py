"""The waits before another attempt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutt.retry import JITTER_SHARE, forward_delay, remediation_due


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 32), (7, 60), (50, 60)])
def test_the_wait_doubles_up_to_the_cap(attempt: int, seconds: float) -> None:
    assert forward_delay(attempt, 1.0, 60.0, 0.0) == seconds


@given(st.integers(1, 10_000), st.floats(0.01, 3600), st.floats(0.01, 86_400), st.floats(0, 1))
def test_jitter_shortens_a_little_and_the_cap_holds(attempt: int, base: float, cap: float, jitter: float) -> None:
    plain = forward_delay(attempt, base, cap, 0.0)
    delay = forward_delay(attempt, base, cap, jitter)
    assert plain * (1 - JITTER_SHARE) * 0.999 <= delay <= plain <= cap


@pytest.mark.parametrize(("attempts", "seconds"), [(0, 60), (1, 120), (2, 180)])
def test_a_dead_letter_waits_a_minute_longer_each_time(attempts: int, seconds: float) -> None:
    assert remediation_due(attempts, 60.0) == seconds
