"""The months that the monthly tables must have a partition for."""

from datetime import date, timedelta

DAYS_BACK = 90
MONTHS_AHEAD = 3


def months_due(today: date, days_back: int = DAYS_BACK, months_ahead: int = MONTHS_AHEAD) -> list[date]:
    """Return the first day of each month from the one `days_back` days ago to the one `months_ahead` months on."""
    first, last = month_number(today - timedelta(days=days_back)), month_number(today) + months_ahead
    return [date(number // 12, number % 12 + 1, 1) for number in range(first, last + 1)]


def month_number(day: date) -> int:
    """Return a month as a number, those in a row one apart."""
    return day.year * 12 + day.month - 1
