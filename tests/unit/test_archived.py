from datetime import UTC, date, datetime

from mutt.archived import ArchivedMonth, reach, spans

UNTIL = datetime(2027, 1, 1, tzinfo=UTC)


def test_months_in_a_row_are_one_span() -> None:
    months = [date(2025, 12, 1), date(2026, 1, 1), date(2026, 2, 1), date(2026, 4, 1), date(2025, 1, 1)]
    assert spans(months) == "2025-01, 2025-12 to 2026-02, 2026-04"
    assert spans([]) == ""


def test_what_a_search_reaches_is_told_with_the_commands() -> None:
    months = [
        ArchivedMonth(date(2018, 5, 1), expired=True),
        ArchivedMonth(date(2026, 2, 1)),
        ArchivedMonth(date(2026, 3, 1)),
        ArchivedMonth(date(2026, 4, 1), UNTIL),
    ]
    found = reach(months, {"hostname": "a b'c", "start": "2018-05-01"})
    assert found is not None
    assert (found.archived, found.expired) == ("2026-02 to 2026-03", "2018-05")
    assert found.restored == [("2026-04", UNTIL)]
    assert found.search == ("python scripts/archive_old_events.py --search --hostname 'a b'\"'\"'c' --start 2018-05-01")
    assert found.restore.endswith("--restore 2026-03")


def test_a_value_that_begins_with_a_dash_is_no_option() -> None:
    found = reach([ArchivedMonth(date(2026, 2, 1))], {"q": "-error x"})
    assert found is not None
    assert found.search.endswith("--search --q='-error x'")


def test_nothing_is_told_where_nothing_left() -> None:
    assert reach([], {}) is None
    only_restored = reach([ArchivedMonth(date(2026, 4, 1), UNTIL)], {})
    assert only_restored is not None
    assert (only_restored.archived, only_restored.restore) == ("", "")
