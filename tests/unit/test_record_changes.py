"""What differs between two states of a record, in one line."""

from mutt.record_changes import editable, field_changes, summary, title


def test_only_what_a_person_set_is_told() -> None:
    old = {"id": 1, "priority": 820, "name": "a", "version": 1, "updated_at": "x"}
    new = {"id": 1, "priority": 840, "name": "a", "version": 2, "updated_at": "y"}
    changes = field_changes(old, new)
    assert changes == [("priority", 820, 840)]
    assert summary(changes, "UPDATE") == "priority 820 → 840"
    assert editable(new) == {"priority": 840, "name": "a"}
    assert editable(None) is None


def test_a_beginning_and_an_end_list_every_field() -> None:
    assert field_changes(None, {"hostname": "a"}) == [("hostname", None, "a")]
    assert field_changes({"hostname": "a"}, None) == [("hostname", "a", None)]
    assert summary([], "CREATE") == "created"
    assert summary([], "DELETE") == "deleted"
    assert summary([], "UPDATE") == "nothing visible"


def test_long_values_are_cut_and_missing_ones_named() -> None:
    line = summary(field_changes({"match_string": None}, {"match_string": "x" * 100}), "UPDATE")
    assert line.startswith("match_string none → xxx")
    assert line.endswith("…")
    assert len(line) < 100


def test_a_record_is_called_by_its_kind() -> None:
    assert title("alert_rules", "57") == "rule 57"
    assert title("dead_letters", None) == "dead_letters"
