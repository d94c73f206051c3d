"""What a judged event carries on."""

from mutt.envelope import amend
from mutt.events import decode_decided
from mutt.handling import Hosts
from mutt.judge import judge
from mutt.matching import RuleBook
from mutt.rules import Rule
from tests.harness.entries import queue_entry

BOOK = RuleBook([Rule(1, "disk", None, None, "contains", 500, "Page_and_ticket", "Log_only", "CORE")])


def test_an_alert_begins_with_all_of_its_own_retries_and_replays() -> None:
    """However often its event was refused by PostgreSQL, or replayed, before it could be audited."""
    _, entry = queue_entry("disk full")
    tried = amend(entry, retry_count=3, remediation_attempts=3)
    alert = decode_decided(judge(tried, BOOK, Hosts(), "NETO").decided())
    assert (alert.envelope.retry_count, alert.envelope.remediation_attempts) == (0, 0)
    assert alert.event.message == "disk full"


def test_an_alert_holds_the_bytes_of_an_event_that_was_never_tried_before() -> None:
    _, entry = queue_entry("disk full", number=1.50)
    decided = judge(entry, BOOK, Hosts(), "NETO").decided()
    assert entry[: entry.index(b"}") + 1] in decided
    assert decode_decided(decided).raw_event in decided
