import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutt.envelope import amend, failed, join_entry, split_entry
from mutt.errors import EntryError

MUTT = b'{"v":1,"event_id":"0193a1b2-1234-7abc-8def-0123456789ab","received_at":"2026-11-24T22:10:00.123456Z"}'
REST = b'{"message":"a","n":1.10,"big":12345678901234567890123,"list":[],"n":2}'
ENTRY = b'{"_mutt":' + MUTT + b"," + REST[1:]

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.text().filter(lambda name: name != "_mutt"), values, max_size=6)


def encode(value: Any, *, ascii_only: bool) -> bytes:
    return json.dumps(value, ensure_ascii=ascii_only, separators=(",", ":")).encode("utf-8", "replace")


def test_an_entry_splits_into_its_envelope_and_the_event_byte_for_byte() -> None:
    assert split_entry(ENTRY) == (MUTT, REST)


def test_an_event_without_fields_splits_into_an_empty_object() -> None:
    assert split_entry(b'{"_mutt":{}}') == (b"{}", b"{}")


@given(objects, objects, st.booleans())
def test_join_is_the_inverse_of_split(mutt: dict[str, Any], rest: dict[str, Any], ascii_only: bool) -> None:
    parts = encode(mutt, ascii_only=ascii_only), encode(rest, ascii_only=ascii_only)

    assert split_entry(join_entry(*parts)) == parts


@pytest.mark.parametrize(
    "entry",
    [
        b"",
        b"{",
        b"null",
        b'{"message":"a"}',
        b'{"_mutt":1}',
        b'{"_mutt":{}',
        b'{"_mutt":{}}x',
        b'{ "_mutt":{}}',
        b'{"_mutt":{"a":"}"',
        b'{"_mutt":{},"_mutt":{"v":2}}',
        b'{"_mutt":{"a":' + b"[" * 50_000,
        b"\xff\xfe",
    ],
)
def test_what_is_no_entry_is_refused_with_the_reason(entry: bytes) -> None:
    with pytest.raises(EntryError, match="entry"):
        split_entry(entry)


def test_amend_sets_and_removes_members_and_leaves_all_others_alone() -> None:
    entry = amend(
        b'{"_mutt":{"v":9,"new":[1e400,1.10],"shedding_reason":"x"},' + REST[1:], retry_count=2, shedding_reason=None
    )

    assert entry == b'{"_mutt":{"v":9,"new":[1e400,1.10],"retry_count":2},' + REST[1:]


@given(objects, objects)
def test_amending_and_undoing_it_gives_the_same_entry(mutt: dict[str, Any], rest: dict[str, Any]) -> None:
    mutt.pop("retry_count", None)
    entry = join_entry(encode(mutt, ascii_only=False), encode(rest, ascii_only=False))

    assert json.loads(amend(amend(entry, retry_count=4), retry_count=None)) == json.loads(entry)


def test_a_failure_is_on_record_with_the_time_of_the_first_one() -> None:
    once = failed(ENTRY, error_type="DataError", message='bad "x"', at="T1", retry_count=1)
    twice = failed(once, error_type="Other", message="b", at="T2", retry_count=2)

    mutt = json.loads(twice)["_mutt"]
    assert mutt["first_failed_at"] == "T1"
    assert mutt["last_error"] == {"type": "Other", "message": "b", "at": "T2"}
    assert mutt["retry_count"] == 2
    assert twice.endswith(REST[1:])
