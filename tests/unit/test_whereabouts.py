"""What entries that were found in Redis tell."""

from itertools import pairwise

from mutt.events import decided_entry
from mutt.whereabouts import Place, as_received, most_telling, read_find, windows
from tests.harness.entries import queue_entry


def test_an_entry_that_only_mentions_the_id_is_another_event_s() -> None:
    wanted, _ = queue_entry()
    other, entry = queue_entry(f"see {wanted}")
    assert read_find(wanted, Place.INGEST, "q", entry) is None
    assert read_find(other, Place.INGEST, "q", entry) is not None


def test_entries_of_each_kind_are_read_and_given_back_as_they_came() -> None:
    event_id, entry = queue_entry("x", number=1.50)
    alert = decided_entry(entry, handling="Log_only", team="T", rule_id=None, rule_version=None, environment="prod")
    queued = read_find(event_id, Place.INGEST, "q", entry)
    member = read_find(event_id, Place.RETRY, "z", event_id.encode() + alert)
    assert queued is not None
    assert member is not None
    assert member.decided is not None
    assert as_received(queued) == as_received(member)
    assert as_received(queued).startswith(b'{"correlation_id"')
    assert most_telling([queued, member]) is member
    assert read_find(event_id, Place.INGEST, "q", event_id.encode()) is None


def test_a_list_is_read_whole_or_from_both_ends() -> None:
    assert list(windows(5, 10, 2)) == [(0, 1), (2, 3), (4, 4)]
    cut = list(windows(1000, 10, 3))
    assert cut == [(995, 997), (998, 999), (0, 2), (3, 4)]
    assert sum(end - start + 1 for start, end in cut) == 10
    assert all(first != second for first, second in pairwise(cut))
    assert list(windows(0, 10, 2)) == []
