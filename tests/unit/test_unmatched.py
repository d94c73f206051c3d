"""Patterns on their way to the threshold."""

from datetime import UTC, datetime, timedelta

from mutt.patterns import template
from mutt.unmatched import (
    Unmatched,
    by_hour,
    longest_literal,
    order,
    parts,
    quiet_hours,
    telling_text,
    trend,
    unmatched,
)

NOW = datetime(2026, 11, 25, 2, 0, tzinfo=UTC)
DAY = timedelta(days=1)


def counted(count: int, hours: float = 12, pattern: str = "p", text: str | None = "x") -> Unmatched:
    expires = NOW + DAY - timedelta(hours=hours)
    return unmatched(pattern, count, 100, template=text, sample=None, expires_at=expires, expiry=DAY, now=NOW)


def test_the_crossing_is_expected_at_the_pace_so_far() -> None:
    found = counted(80, hours=8)
    assert found.first_seen == NOW - timedelta(hours=8)
    assert (found.per_hour, found.crossing_at) == (10, NOW + timedelta(hours=2))
    assert counted(10, hours=23).crossing_at is None
    assert counted(3, hours=0.001).per_hour is None


def test_a_day_of_hours_ends_with_the_one_under_way() -> None:
    hours = by_hour({1000: 3, 998: 2, 977: 1, 900: 8}, 1000)
    assert (len(hours), hours[0], hours[-3:]) == (24, 1, [2, 0, 3])
    assert quiet_hours(hours) == 0
    assert quiet_hours(by_hour({998: 2}, 1000)) == 2
    assert quiet_hours([0] * 24) == 24


def test_a_trend_is_told_by_full_hours() -> None:
    def told(*last: int) -> tuple[str, float] | None:
        return trend([0] * (24 - len(last)) + list(last))

    assert told(2, 2, 2, 4, 4, 4, 99) == ("rising", 4)
    assert told(6, 6, 6, 2, 2, 2, 99) == ("falling", 2)
    assert told(3, 3, 3, 3, 3, 3, 0) == ("steady", 3)
    assert told(12, 0) == ("rising", 12)  # begun in the hour before this one
    assert told(12) is None
    assert trend([5, *[0] * 23]) is None


def test_a_rule_asks_for_what_the_message_holds_as_it_is_written() -> None:
    def told(message: str) -> str | None:
        return telling_text(template(message), message)

    assert told("fan 3 of rack failed") == "of rack failed"
    assert told("fan 3 of  rack   has failed") == "failed"
    assert told("%LINK-3-UPDOWN: Interface Gi0/1 is down") == "UPDOWN: Interface"
    assert told("12 13 14 a") is None


def test_near_is_what_someone_should_look_at() -> None:
    states = [counted(each, hours=hours).state for each, hours in ((100, 5), (80, 20), (60, 1), (60, 20), (20, 0.1))]
    assert states == ["alert_sent", "near", "near", "counting", "counting"]


def test_the_nearest_to_the_threshold_stand_first_and_the_crossed_last() -> None:
    given = [counted(412, pattern="a"), counted(9, pattern="b"), counted(94, pattern="c"), counted(140, pattern="d")]
    assert [each.pattern for each in sorted(given, key=order)] == ["c", "b", "a", "d"]


def test_a_template_s_masks_are_told_apart_from_its_text() -> None:
    shape = template("fpc0 XMCHIP(1): error on TenGigE0/2/0/11 from 10.0.0.1 <script>")
    assert [part.text for part in parts(shape) if part.masked] == ["num", "ifname", "ip"] or "num" in shape
    assert "".join(f"<{part.text}>" if part.masked else part.text for part in parts(shape)).endswith("<script>")


def test_the_longest_word_is_one_that_every_such_message_holds() -> None:
    message = "%ASR1K_INFRA-4-DROP : F0: drops 18231 packets on TenGigE0/2/0/11"
    literal = longest_literal(template(message))
    assert literal is not None
    assert literal in message
    assert longest_literal("<num> <ip>") is None
    assert longest_literal("a" * 239 + "<") is None
