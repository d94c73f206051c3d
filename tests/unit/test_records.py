import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutt.records import RecordError, decode_record

DEPTH = 32


def nested(levels: int) -> bytes:
    """Return an object of `levels` levels, itself included."""
    return b'{"a":' * (levels - 1) + b"{}" + b"}" * (levels - 1)


def test_clean_json_may_stand_in_an_entry_as_it_is() -> None:
    record = decode_record('{"message":"é [1] {x}", "n":1.10}'.encode(), DEPTH)

    assert record.clean
    assert not record.sanitized
    assert record.fields == {"message": "é [1] {x}", "n": 1.1}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b'{"message":"a\xffb"}', "a\ufffdb"),
        (b'{"message":"caf\xe9"}', "caf\ufffd"),
        (b'{"message":"a\x00b"}', "a\ufffdb"),
        (rb'{"message":"a\u0000b"}', "a\ufffdb"),
        (rb'{"message":"a\ud800b"}', "a\ufffdb"),
        (rb'{"message":"a\udc00"}', "a\ufffd"),
    ],
)
def test_dirty_text_is_kept_with_replacement_characters_and_flagged(raw: bytes, message: str) -> None:
    record = decode_record(raw, DEPTH)

    assert record.fields == {"message": message}
    assert record.sanitized
    assert not record.clean


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (rb'{"message":"a\\u0000b"}', "a\\u0000b"),
        (rb'{"message":"\ud83d\ude00"}', "😀"),
        (b'{"message":"a\tb\x1b[31m\n"}', "a\tb\x1b[31m\n"),
        ('{"message":"was \ufffd before"}'.encode(), "was \ufffd before"),
    ],
)
def test_unusual_text_that_every_reader_takes_is_not_flagged(raw: bytes, message: str) -> None:
    record = decode_record(raw, DEPTH)

    assert record.fields == {"message": message}
    assert not record.sanitized


def test_field_names_are_sanitized_too() -> None:
    assert decode_record(rb'{"a\u0000":{"b\ud800":[1]}}', DEPTH).fields == {"a\ufffd": {"b\ufffd": [1]}}


@pytest.mark.parametrize(
    ("number", "kept"),
    [(b"1e400", "1e400"), (b"-1e400", "-1e400"), (b"7" * 5000, "7" * 5000), (b"18446744073709551616", 2**64)],
)
def test_a_number_that_no_column_holds_becomes_text(number: bytes, kept: object) -> None:
    record = decode_record(b'{"n":' + number + b',"list":[' + number + b"]}", DEPTH)

    assert record.fields == {"n": kept, "list": [kept]}


def test_of_a_repeated_key_the_last_value_counts() -> None:
    assert decode_record(b'{"a":1,"a":2}', DEPTH).fields == {"a": 2}
    assert decode_record(b'{"a":1,"a":"\xff"}', DEPTH).fields == {"a": "\ufffd"}


def test_depth_counts_the_object_itself() -> None:
    assert decode_record(nested(DEPTH), DEPTH).clean
    for levels in (DEPTH + 1, 900, 100_000):
        with pytest.raises(RecordError, match="32 levels"):
            decode_record(nested(levels), DEPTH)
    with pytest.raises(RecordError, match="32 levels"):
        decode_record(b'{"a":"\xff","b":' + nested(DEPTH) + b"}", DEPTH)


def test_brackets_in_text_are_no_depth() -> None:
    assert decode_record(json.dumps({"message": "[" * 100, "a": [{}]}).encode(), DEPTH).clean


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"1",
        b'"text"',
        b"[]",
        b"{",
        b"{}{}",
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":01}',
        b"{'a':1}",
        b'{"a":1,}',
        rb'{"a":"\x41"}',
        b'{"a":"',
        b"\xff\xff",
        b"\x00",
    ],
)
def test_what_is_no_json_object_is_refused(raw: bytes) -> None:
    with pytest.raises(RecordError, match="JSON") as caught:
        decode_record(raw, DEPTH)
    assert caught.value.reason == "json"


@given(st.binary(max_size=60))
def test_no_bytes_make_the_decoder_fail_otherwise(raw: bytes) -> None:
    for text in (raw, b'{"a":"' + raw + b'"}', b'{"a":' + raw + b"}"):
        try:
            record = decode_record(text, DEPTH)
        except RecordError:
            continue
        msgspec.json.encode(record.fields)


names = st.text(max_size=6)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(names, values, max_size=5), st.booleans())
def test_every_object_that_json_can_spell_is_read_as_it_was_meant(fields: dict[str, Any], ascii_only: bool) -> None:
    raw = json.dumps(fields, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")

    record = decode_record(raw, DEPTH)

    if not record.sanitized:
        assert record.fields == fields
