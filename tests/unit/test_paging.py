"""Cursors and ranges of time."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutt.paging import Position, decode_cursor, encode_cursor, end_of, start_of


@given(st.datetimes(datetime(1970, 1, 2), datetime(2999, 1, 1), timezones=st.just(UTC)), st.uuids())  # noqa: DTZ001
def test_a_cursor_comes_back_as_the_position_that_it_was_made_of(moment: datetime, event_id: object) -> None:
    position = Position(moment, str(event_id))
    text = encode_cursor(position)
    assert decode_cursor(text) == position
    assert text.replace("-", "").replace("_", "").isalnum()


@given(st.text(max_size=60))
def test_what_is_no_cursor_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match="is not a cursor of this API"):
        decode_cursor(text)


def test_a_day_begins_and_ends_with_the_day_and_a_time_is_itself() -> None:
    day = datetime(2026, 11, 24, tzinfo=UTC)
    assert start_of("2026-11-24") == day
    assert end_of("2026-11-24") == day + timedelta(days=1)
    assert start_of("2026-11-24T10:00:00+02:00") == end_of("2026-11-24T10:00:00+02:00") == day + timedelta(hours=8)
    with pytest.raises(ValueError, match="is no date or time"):
        end_of("yesterday")
