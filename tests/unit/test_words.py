from datetime import UTC, datetime, timedelta, timezone

import pytest

from mutt import visible, words


def test_ages_have_two_units_at_most() -> None:
    said = [words.age(seconds) for seconds in (None, 0, 0.31, 9.94, 48, 61, 1059, 18_600, 90_000, -5)]
    assert said == [
        "unknown",
        "0 s",
        "0.3 s",
        "9.9 s",
        "48 s",
        "1 min 1 s",
        "17 min 39 s",
        "5 h 10 min",
        "1 d 1 h",
        "0 s",
    ]


def test_rates_below_one_in_ten_seconds_are_told_a_minute() -> None:
    assert [words.rate(value) for value in (842.4, 3.5, 0.0, 0.05, None)] == [
        ("842", "/s"),
        ("3.5", "/s"),
        ("0", "/s"),
        ("3.0", "/min"),
        ("unknown", ""),
    ]


def test_a_share_is_never_rounded_up_to_all() -> None:
    assert [words.share(value) for value in (1.0, 0.999999, 0.9997, None, 0.5)] == [
        "100 %",
        "99.99 %",
        "99.97 %",
        "no data",
        "50 %",
    ]


def test_a_moment_names_its_day_when_that_is_not_today() -> None:
    now = datetime(2026, 11, 25, 2, 0, tzinfo=UTC)
    zone = timezone(timedelta(hours=1))
    assert words.clock(now, zone, now) == "03:00:00"
    assert words.clock(now - timedelta(hours=4), zone, now) == "24 Nov 23:00:00"
    assert words.clock(now - timedelta(days=365), zone, now) == "25 Nov 2025 03:00"
    assert words.utc(now) == "2026-11-25 02:00:00 UTC"


def test_what_would_not_show_gets_a_name() -> None:
    assert visible.pieces("a\x1b[31m\ufffd\u202egpj") == [
        visible.Piece("a", hidden=False),
        visible.Piece("ESC", hidden=True),
        visible.Piece("[31m", hidden=False),
        visible.Piece("U+FFFD", hidden=True),
        visible.Piece("RLO", hidden=True),
        visible.Piece("gpj", hidden=False),
    ]
    assert visible.pieces("") == []


def test_long_text_is_cut_and_says_so() -> None:
    assert "".join(piece.text for piece in visible.pieces("x" * 300, 200)) == "x" * 200 + "\u2026"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0004, "0.4 ms"), (0.0109, "11 ms"), (0.18, "180 ms"), (1.3, "1.3 s"), (float("inf"), "over 30 s")],
)
def test_how_long_something_took_has_the_unit_that_fits(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0 s ago"), (8.4, "8 s ago"), (309, "5 min ago"), (7300, "2 h ago"), (260_000, "3 d ago")],
)
def test_how_long_ago_is_told_in_one_unit(seconds: float, text: str) -> None:
    assert words.ago(seconds) == text


def test_a_value_has_its_thousands_apart() -> None:
    assert [words.figure(value) for value in (1_000_000, 0.995, 1e9, "dlq")] == [
        "1,000,000",
        "0.995",
        "1,000,000,000",
        "dlq",
    ]
