"""What a dead letter is, what becomes of it, and how errors fold, whatever the bytes are."""

import json
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutt.dead_edits import edited, taken
from mutt.dead_groups import BUCKETS, Filter, explained, fold, group
from mutt.dead_letters import NO_ID, Home, Kind, Queue, editable, read, replayed, with_members
from mutt.envelope import amend
from mutt.errors import EntryError, RuleError
from mutt.events import decided_entry, decode_decided, decode_entry
from mutt.fields import iso
from mutt.intake import Intake, Limits

NOW = datetime(2026, 11, 25, 3, tzinfo=UTC)
ID = "0192d6f3-0000-7000-8000-000000000001"
FIELDS = {"correlation_id": ID, "message": "fan failed", "hostname": "r1", "timestamp": "2026-11-25T02:59:59Z"}
INTAKE = Intake(("timestamp", "message", "hostname"), Limits(), lambda count: b"\x01" * count)


def event(fields: dict[str, Any] | None = None, **members: Any) -> bytes:
    mutt = {"v": 1, "event_id": ID, "received_at": iso(NOW), "event_timestamp": iso(NOW), **members}
    return json.dumps({"_mutt": mutt, **(fields or FIELDS)}, separators=(",", ":")).encode()


def alert(**members: Any) -> bytes:
    return decided_entry(
        event(**members), handling="Page_and_ticket", team="NETO", rule_id=1, rule_version=2, environment="prod"
    )


def died(message: str, at: datetime = NOW, **members: Any) -> bytes:
    return alert(last_error={"type": "4xx", "message": message, "at": iso(at)}, **members)


def edit(entry: bytes, payload: str, queue: Queue = Queue.MOOG) -> Any:
    return edited(read(queue, entry), payload, INTAKE, NOW, lambda count: b"\x02" * count)


@given(st.sampled_from(list(Queue)), st.binary(max_size=200))
def test_whatever_the_bytes_are_something_can_be_shown(queue: Queue, entry: bytes) -> None:
    letter = read(queue, entry)
    assert letter.digest == sha256(entry).hexdigest()
    assert isinstance(editable(letter), str)
    assert fold(letter).key
    assert Filter(q="x", before=NOW).lets(letter) in (True, False)


@given(st.sampled_from(list(Queue)), st.dictionaries(st.text(), st.none() | st.integers() | st.text(), max_size=5))
def test_whatever_the_members_are_something_can_be_shown(queue: Queue, members: dict[str, Any]) -> None:
    letter = read(queue, event({"message": "m", **members}))
    assert isinstance(editable(letter), str)
    assert isinstance(letter.message, str)


@pytest.mark.parametrize(
    ("queue", "entry", "kind", "home"),
    [
        (Queue.ALERTER, event(), Kind.EVENT, Home.INGEST),
        (Queue.MOOG, alert(), Kind.ALERT, Home.ALERT),
        (Queue.POISON, event(kind="alerter"), Kind.EVENT, Home.INGEST),
        (Queue.POISON, alert(kind="moog"), Kind.ALERT, Home.ALERT),
        (Queue.POISON, alert(kind="audit"), Kind.AUDIT, Home.AUDIT),
    ],
)
def test_a_letter_goes_back_to_where_its_kind_says(queue: Queue, entry: bytes, kind: Kind, home: Home) -> None:
    letter = read(queue, entry)
    assert letter.kind is kind
    back = replayed(letter)
    assert (back.home, back.event_id) == (home, ID)
    (decode_entry if home is Home.INGEST else decode_decided)(back.payload)


@pytest.mark.parametrize("entry", [b"junk", event(), event(kind="else"), b'{"_mutt":{}}'])
def test_poison_of_no_known_kind_goes_nowhere(entry: bytes) -> None:
    letter = read(Queue.POISON, entry)
    assert letter.kind is Kind.UNREADABLE
    with pytest.raises(EntryError, match="edit it"):
        replayed(letter)


def test_what_is_no_entry_has_no_id() -> None:
    assert read(Queue.MOOG, b"junk").mutt.event_id == NO_ID


def test_a_replay_forgets_the_attempts_and_keeps_every_other_byte() -> None:
    entry = alert(retry_count=5, remediation_attempts=3, shedding_reason="full", kind="moog", other={"a": 1.10})
    back = replayed(read(Queue.POISON, entry))
    mutt = json.loads(back.payload)["_mutt"]
    assert mutt["retry_count"] == 0
    assert {"remediation_attempts", "shedding_reason", "kind"} & set(mutt) == set()
    assert b'"other":{"a": 1.1}' in back.payload or b'"other":{"a":1.1}' in back.payload
    assert back.payload.partition(b',"event":')[2] == entry.partition(b',"event":')[2]


def test_bytes_that_can_be_read_by_now_go_back_as_what_they_are() -> None:
    mutt = {"event_id": ID, "received_at": iso(NOW), "last_error": {"type": "x", "message": "y", "at": iso(NOW)}}
    entry = json.dumps({"_mutt": mutt, "raw_base64": b64encode(event()).decode()}, separators=(",", ":")).encode()
    letter = read(Queue.ALERTER, entry)
    assert letter.kind is Kind.RAW
    assert json.loads(editable(letter)) == FIELDS
    back = replayed(letter)
    assert back.home is Home.INGEST
    assert decode_entry(back.payload).message == "fan failed"
    unreadable = json.dumps({"_mutt": mutt, "raw_base64": "/w=="}, separators=(",", ":")).encode()
    with pytest.raises(EntryError):
        replayed(read(Queue.ALERTER, unreadable))


def test_an_edited_letter_has_a_new_id_and_names_the_old_one() -> None:
    letter = read(Queue.MOOG, alert(remediation_attempts=2, retry_count=3))
    payload = json.loads(editable(letter)) | {"team": "EDGE"}
    back = edit(letter.entry, json.dumps(payload))
    decided = decode_decided(back.payload)
    assert (decided.team, decided.envelope.replaces) == ("EDGE", ID)
    assert decided.envelope.event_id == back.event_id != ID
    assert (decided.envelope.remediation_attempts, decided.envelope.retry_count) == (0, 0)
    assert decided.event.message == "fan failed"
    assert decided.envelope.received_at == iso(NOW)


def test_numbers_that_python_would_change_survive_the_editor() -> None:
    entry = event({**FIELDS, "big": 1}).replace(b'"big":1', b'"big":123456789012345678901234567890,"f":1.10')
    text = editable(read(Queue.ALERTER, entry))
    assert "123456789012345678901234567890" in text
    assert "1.10" in text
    back = edit(entry, text, Queue.ALERTER)
    assert b"123456789012345678901234567890" in back.payload


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"handling": "Log_only"}, "handling"),
        ({"handling": 7}, "handling"),
        ({"team": "  "}, "team"),
        ({"environment": "production"}, "environment"),
        ({"rule_id": True}, "rule_id"),
        ({"more": 1}, "more"),
        ({"event": {"message": "m"}}, "event"),
        ({"event": None}, "event"),
        ({"event": {**FIELDS, "syslog_severity": 9}}, "event"),
    ],
)
def test_an_edit_is_refused_by_name(changes: dict[str, Any], named: str) -> None:
    payload = json.loads(editable(read(Queue.MOOG, alert()))) | changes
    with pytest.raises(RuleError) as error:
        edit(alert(), json.dumps(payload))
    assert set(error.value.details) == {named}


def test_an_edit_that_is_no_json_is_refused() -> None:
    with pytest.raises(RuleError, match="JSON"):
        edit(alert(), "{")
    with pytest.raises(RuleError):
        edit(event(), "[1]", Queue.ALERTER)


def test_a_refused_audit_row_may_keep_a_handling_that_is_not_forwarded() -> None:
    payload = json.loads(editable(read(Queue.POISON, alert(kind="audit")))) | {"handling": "Log_only"}
    assert edit(alert(kind="audit"), json.dumps(payload), Queue.POISON).home is Home.AUDIT


def test_a_record_is_taken_as_of_when_it_came() -> None:
    came = NOW - timedelta(days=2)
    raw = json.dumps({"timestamp": iso(came), "message": "m", "hostname": "h"})
    mutt = {"v": 1, "event_id": ID, "received_at": iso(came), "error": "why"}
    entry = json.dumps({"_mutt": mutt, "raw": raw}, separators=(",", ":")).encode()
    letter = read(Queue.QUARANTINE, entry)
    assert (letter.kind, letter.error, letter.message, letter.hostname) == (Kind.RECORD, "why", "m", "h")
    back = taken(letter, INTAKE, NOW)
    assert json.loads(back.payload)["_mutt"]["received_at"] == iso(came)
    assert json.loads(back.payload)["_mutt"]["replaces"] == ID


def test_the_same_members_are_replaced_in_any_letter() -> None:
    text = with_members(editable(read(Queue.MOOG, alert())), {"team": "EDGE"})
    assert json.loads(text)["team"] == "EDGE"
    assert next(iter(json.loads(text))) == "handling"
    with pytest.raises(EntryError, match="no JSON object"):
        with_members("[]", {"team": "EDGE"})


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ('HTTP 422: {"message":"unknown team"}', "422 unknown team"),
        ('HTTP 422: {"code":7}', '422 {"code":7}'),
        ("HTTP 422: {cut", "422 {cut"),
        ("HTTP 500", "500"),
        ("recovered 4 times", "recovered 4 times"),
    ],
)
def test_an_error_is_told_in_moogsofts_words(error: str, words: str) -> None:
    assert explained(error) == words


def test_errors_fold_by_numbers_and_quotes_but_not_by_status() -> None:
    letters = [
        read(Queue.MOOG, died(message, NOW + timedelta(minutes=n)))
        for n, message in enumerate(("HTTP 422: team 'A' at 7", "HTTP 422: team 'B' at 8", "HTTP 400: team 'B' at 8"))
    ]
    groups = group(letters)
    assert [found.count for found in groups] == [2, 1]
    assert groups[0].title == "422 team <str> at <num>"
    assert groups[1].title == "400 team 'B' at 8"
    assert (groups[0].first, groups[0].last) == (NOW, NOW + timedelta(minutes=1))
    assert groups[0].rule_id == 1
    bars = groups[0].bars()
    assert (len(bars), bars[0], bars[-1], sum(bars)) == (BUCKETS, 1, 1, 2)
    assert Filter(error=groups[1].fold.key).lets(letters[2])
    assert not Filter(error=groups[1].fold.key).lets(letters[0])


def test_a_filter_looks_at_host_text_and_time() -> None:
    letter = read(Queue.MOOG, died("HTTP 422: x"))
    assert Filter(hostname="R1", q="FAN", before=NOW).lets(letter)
    assert not Filter(hostname="r").lets(letter)
    assert not Filter(q="psu").lets(letter)
    assert not Filter(before=NOW - timedelta(seconds=1)).lets(letter)
    assert Filter(before=NOW).lets(read(Queue.MOOG, amend(died("x"), last_error=None)))
