from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutt.fields import iso, parse_timestamp, severity

MOMENT = datetime(2026, 11, 24, 22, 10, 0, 123000, tzinfo=UTC)


@pytest.mark.parametrize(
    "sent",
    [
        "2026-11-24T22:10:00.123Z",
        "2026-11-24t22:10:00.123z",
        "2026-11-24 22:10:00.123",
        "2026-11-24T22:10:00,123",
        "2026-11-24T22:10:00.123000999Z",
        "2026-11-24T23:40:00.123+01:30",
        " 2026-11-24T22:10:00.123Z ",
        "20261124T221000.123Z",
        1795558200.123,
        1795558200123,
        1795558200123.0,
        "1795558200.123",
        "1795558200123",
    ],
)
def test_every_form_of_a_timestamp_names_the_same_moment(sent: object) -> None:
    assert parse_timestamp(sent) == MOMENT


def test_a_leap_second_counts_as_the_second_before() -> None:
    assert parse_timestamp("2016-12-31T23:59:60.5Z") == datetime(2016, 12, 31, 23, 59, 59, 500000, tzinfo=UTC)


def test_digits_that_could_also_be_a_date_of_the_eighteenth_century_are_milliseconds() -> None:
    moment = parse_timestamp("1712101231234")

    assert moment is not None
    assert moment.year == 2024


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "  ",
        "yesterday",
        "Nov 24 22:10:00",
        "2026-13-01T00:00:00Z",
        True,
        None,
        [],
        {},
        float("nan"),
        1e300,
        10**400,
        -1e300,
        "0001-01-01T00:00:00+23:00",
        "9999-12-31T23:59:59-23:00",
        "٢٠٢٦-11-24T22:10:00Z",
    ],
)
def test_what_is_no_timestamp_is_none(sent: object) -> None:
    assert parse_timestamp(sent) is None


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_written_timestamp_reads_back_as_itself(moment: datetime) -> None:
    assert parse_timestamp(iso(moment)) == moment
    assert len(iso(moment)) == 27


@given(st.one_of(st.text(), st.floats(), st.integers(), st.text(alphabet="0123456789-:TZ+. ")))
def test_no_value_makes_the_parser_fail(value: object) -> None:
    moment = parse_timestamp(value)

    assert moment is None or moment.tzinfo is UTC


def test_a_time_of_another_zone_is_written_in_utc() -> None:
    there = MOMENT.astimezone(timezone(timedelta(hours=-7)))

    assert iso(there) == "2026-11-24T22:10:00.123000Z"


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        (0, 0),
        (7, 7),
        ("3", 3),
        ("err", 3),
        ("ERROR", 3),
        ("Warning", 4),
        ("warn", 4),
        (" notice ", 5),
        ("emerg", 0),
        ("critical", 2),
        ("informational", 6),
        ("info", 6),
        ("debug", 7),
        ("alert", 1),
        ("panic", 0),
    ],
)
def test_a_severity_is_a_number_a_digit_or_a_name(sent: object, meant: int) -> None:
    assert severity(sent) == meant


@pytest.mark.parametrize("sent", [8, -1, "8", "", "high", True, False, 3.0, None, [], "٣"])
def test_other_values_are_no_severity(sent: object) -> None:
    assert severity(sent) is None
