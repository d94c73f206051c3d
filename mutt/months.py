"""The months that the monthly tables must have a partition for."""

from datetime import date, timedelta

DAYS_BACK = 90
MONTHS_AHEAD = 3


def months_due(today: date, days_back: int = DAYS_BACK, months_ahead: int = MONTHS_AHEAD) -> list[date]:
    """Return the first day of each month from the one `days_back` days ago to the one `months_ahead` months on."""
    first, last = _number(today - timedelta(days=days_back)), _number(today) + months_ahead
    return [date(number // 12, number % 12 + 1, 1) for number in range(first, last + 1)]


def _number(day: date) -> int:
    return day.year * 12 + day.month - 1
