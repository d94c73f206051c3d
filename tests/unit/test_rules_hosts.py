"""Entries of development hosts and teams."""

from typing import Any

import pytest

from mutt.errors import RuleError
from mutt.hosts import validate_host, validate_team


@pytest.mark.parametrize(
    ("sent", "kept"),
    [(" Core1.Example. ", "core1.example"), ("192.0.2.1", "192.0.2.1"), ("2001:DB8::1", "2001:db8::1"), ("ß", "ß")],
)
def test_a_hostname_is_kept_in_the_form_in_which_events_compare(sent: str, kept: str) -> None:
    assert validate_host({"hostname": sent, "id": 4}) == {"hostname": kept}


@pytest.mark.parametrize("sent", [None, "", "  ", "a b", "a/b", "a\tb", "...", "x" * 256, 5, ["a"], "a\0", "\ud800"])
def test_what_is_no_hostname_is_refused(sent: Any) -> None:
    with pytest.raises(RuleError) as caught:
        validate_host({"hostname": sent})
    assert list(caught.value.details) == ["hostname"]


def test_a_team_entry_needs_both_fields_and_no_other() -> None:
    assert validate_team({"hostname": "A", "team_assignment": " NETO "}) == {"hostname": "a", "team_assignment": "NETO"}
    with pytest.raises(RuleError) as caught:
        validate_team({"team": "NETO"})
    assert set(caught.value.details) == {"hostname", "team_assignment", "team"}
