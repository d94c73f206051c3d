from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from mutt.months import months_due

DAYS = st.dates(min_value=date(2000, 6, 1), max_value=date(9000, 1, 1))


def test_the_months_reach_over_a_new_year() -> None:
    assert months_due(date(2026, 11, 24)) == [
        date(2026, 8, 1),
        date(2026, 9, 1),
        date(2026, 10, 1),
        date(2026, 11, 1),
        date(2026, 12, 1),
        date(2027, 1, 1),
        date(2027, 2, 1),
    ]


@given(DAYS, st.integers(0, 400), st.integers(0, 24))
def test_every_day_that_an_event_may_have_is_in_a_month_that_is_due(today: date, back: int, ahead: int) -> None:
    due = months_due(today, back, ahead)

    assert due == sorted(set(due))
    assert all(day.day == 1 for day in due)
    for distance in range(0, back + 1, 7):
        assert (today - timedelta(days=distance)).replace(day=1) in due
    assert due[0] == (today - timedelta(days=back)).replace(day=1)
    assert sum(month > today for month in due) == ahead
