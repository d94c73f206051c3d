import gzip
import json
import sys
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutt.bodies import inflate, split_body
from mutt.records import RecordError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

A, B, C = b'{"a":1}', b'{"b":"}{"}', b'{\n  "c": [\n    {}\n  ]\n}'


def split(body: bytes, content_type: str = "application/json") -> tuple[list[bytes], bool]:
    records, single, _ = split_body(body, content_type, 100, 32)
    return records, single


@pytest.mark.parametrize("body", [A, b" \r\n" + A + b"\n", b"\xef\xbb\xbf" + A, B, C, b'{"broken"', b"text", b"12"])
def test_one_value_is_a_single_event_whatever_the_content_type_says(body: bytes) -> None:
    for content_type in ("application/json", "text/plain", "application/x-www-form-urlencoded", ""):
        assert split(body, content_type) == ([body.removeprefix(b"\xef\xbb\xbf").strip()], True)


def test_the_content_type_tells_a_batch_of_one_line_from_a_single_event() -> None:
    assert split(A, "application/x-ndjson; charset=utf-8") == ([A], False)


@pytest.mark.parametrize(
    ("body", "records"),
    [
        (b"[]", []),
        (b"[ ]", []),
        (b"[" + A + b"]", [A]),
        (b"[" + A + b" ,\n" + B + b"," + C + b"]", [A, B, C]),
        (b'[1,"x",' + A + b"]", [b"1", b'"x"', A]),
    ],
)
def test_an_array_is_a_batch_even_of_one(body: bytes, records: list[bytes]) -> None:
    assert split(body) == (records, False)


@pytest.mark.parametrize("broken", [b'{"a":01}', b'{"a":tru}', b'{"a":1,}', b'{"a":"\x00"}', b'{"a":"\xff"}', b"{]"])
def test_a_broken_record_of_an_array_costs_itself_alone(broken: bytes) -> None:
    records, single = split(b"[" + A + b"," + broken + b"," + B + b"]")

    assert records[0] == A
    assert records[-1] == B
    assert b"".join(records[1:-1]).strip() == broken
    assert not single


def test_an_array_of_a_million_values_is_cut_without_filling_the_memory() -> None:
    wide = b'{"a":[' + b"1," * 40_000 + b"1]}"
    body = b"[" + b",".join([wide] * 30) + b"]"

    assert split(body) == ([wide] * 30, False)
    with pytest.raises(RecordError, match="does not end"):
        split(body[:-1])
    for many in (b"{}", b"1"):
        body = b"[" + (many + b",") * 3_000_000 + many + b"]"
        tracemalloc.start()
        try:
            with pytest.raises(RecordError) as caught:
                split(body) if many == b"{}" else split_body(body, "", 0, 32)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert caught.value.reason == "too_large"
        assert most < 4 * len(body)


@pytest.mark.parametrize("hostile", [b"{", b"[]", b'"",'])
def test_brackets_and_strings_without_end_are_not_all_looked_at(hostile: bytes) -> None:
    with pytest.raises(RecordError, match="strings and brackets") as caught:
        split(A + b"\n" + b'{"a":[' + hostile * 4_000_000)
    assert caught.value.reason == "too_large"


def test_an_array_that_is_cut_off_is_refused_whole() -> None:
    with pytest.raises(RecordError, match="cut off"):
        split(b"[" + A + b"," + b'{"b":')


@pytest.mark.parametrize(
    ("body", "records"),
    [
        (A + b"\n" + B + b"\n", [A, B]),
        (A + b"\r\n\r\n" + B, [A, B]),
        (A + B + A, [A, B, A]),
        (A + b" " + B, [A, B]),
        (C + b"\n" + C, [C, C]),
        (C + A, [C, A]),
        (A + b",\n" + B + b",\n", [A, B]),
        (b"\x1e" + A + b"\n\x1e" + B + b"\n", [A, B]),
        (A + b"\nbroken\n" + B, [A, b"broken", B]),
        (b"broken\n" + A + b"\n" + B, [b"broken", A, B]),
        (A + b'\n{"a":"\n' + B + b"\n" + B, [A, b'{"a":"', B, B]),
        (b'{"a":"\n' + A + b"\n" + B, [b'{"a":"', A, B]),
        (A + b'\n{"a":{\n' + B, [A, b'{"a":{', B]),
        (A + b"\n1\n" + B, [A, b"1", B]),
        (A + b"\n" + A + B + b"\n" + B, [A, A, B, B]),
    ],
)
def test_lines_and_concatenated_objects_are_told_apart_by_what_makes_sense(body: bytes, records: list[bytes]) -> None:
    assert split(body) == (records, False)


@pytest.mark.parametrize("body", [b"", b" \n", b"\xef\xbb\xbf"])
def test_an_empty_body_is_refused(body: bytes) -> None:
    with pytest.raises(RecordError, match="empty"):
        split(body)


def test_too_many_records_are_refused_with_the_limit() -> None:
    for body in (b"[" + b",".join([A] * 101) + b"]", b"\n".join([A] * 101), A * 101):
        with pytest.raises(RecordError, match="over 100 records") as caught:
            split(body)
        assert caught.value.reason == "too_large"
        assert caught.value.records == 101


objects = st.dictionaries(
    st.text(max_size=5), st.integers() | st.text(max_size=9) | st.lists(st.text(max_size=5)), max_size=4
)


@given(
    st.lists(objects, min_size=2, max_size=6), st.sampled_from(["array", "lines", "joined", "pretty"]), st.booleans()
)
def test_every_form_of_a_batch_gives_the_same_records(
    batch: list[dict[str, object]], form: str, ascii_only: bool
) -> None:
    texts = [json.dumps(item, ensure_ascii=ascii_only, indent=1 if form == "pretty" else None) for item in batch]
    body = "[" + ",".join(texts) + "]" if form == "array" else {"joined": "", "lines": "\n"}.get(form, "\n").join(texts)

    records, single = split(body.encode())

    assert [json.loads(record) for record in records] == batch
    assert not single


@given(st.binary(max_size=80))
def test_no_bytes_make_the_splitter_fail_otherwise(body: bytes) -> None:
    for text in (body, b"[" + body + b"]", b"{" + body, A + b"\n" + body):
        try:
            records, _ = split(text)
        except RecordError:
            continue
        assert all(records)


def test_gzip_is_unpacked_whether_or_not_a_header_says_so() -> None:
    packed = gzip.compress(A)

    for coding in ("gzip", "x-gzip", "GZIP", "", "identity"):
        assert inflate(packed, coding, 100) == A
    assert inflate(zlib.compress(A), "deflate", 100) == A
    assert inflate(gzip.compress(A) + gzip.compress(B), "gzip", 100) == A + B
    assert inflate(A, "", 100) == A


def test_zstd_is_unpacked_whether_or_not_a_header_says_so() -> None:
    packed = zstd.compress(A)

    for coding in ("zstd", "ZSTD", "", "identity", "gzip"):
        assert inflate(packed, coding, 100) == A
    assert inflate(gzip.compress(A), "zstd", 100) == A
    assert inflate(zstd.compress(A) + zstd.compress(B), "zstd", 100) == A + B


@pytest.mark.parametrize(("compress", "coding"), [(gzip.compress, "gzip"), (zstd.compress, "zstd")])
def test_a_small_body_that_unpacks_to_a_large_one_is_refused_before_it_fills_the_memory(
    compress: Callable[[bytes], bytes], coding: str
) -> None:
    bomb = compress(bytes(50_000_000))

    tracemalloc.start()
    try:
        with pytest.raises(RecordError, match="over 1000 bytes") as caught:
            inflate(bomb, coding, 1000)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.reason == "too_large"
    assert most < 1_000_000
    assert inflate(compress(bytes(1000)), coding, 1000) == bytes(1000)


def test_a_zstd_frame_that_asks_for_more_memory_than_http_allows_is_refused() -> None:
    greedy = zstd.compress(bytes(20_000_000), options={zstd.CompressionParameter.window_log: 24})
    with pytest.raises(RecordError, match="too much memory"):
        inflate(greedy, "zstd", 100_000_000)


@pytest.mark.parametrize(
    ("body", "coding", "reason"),
    [
        (gzip.compress(A, mtime=0)[:-4], "gzip", "cut off"),
        (b"\x1f\x8b\x00\x00", "", "not valid gzip"),
        (A, "gzip", "not valid gzip"),
        (A, "br", "Content-Encoding 'br'"),
        (A, "snappy", "send gzip, deflate, zstd or none"),
        (A, "zstd", "not valid zstd"),
        (zstd.compress(A)[:-2], "zstd", "cut off"),
    ],
)
def test_a_body_that_cannot_be_unpacked_is_refused_with_the_reason(body: bytes, coding: str, reason: str) -> None:
    with pytest.raises(RecordError, match=reason) as caught:
        inflate(body, coding, 1000)
    assert caught.value.reason == "json"


@pytest.mark.parametrize("body", [b"{}" * 1_000_000, b"{}\n" * 1_000_000, b"[" + b"{}" * 1_000_000 + b"]"])
def test_records_past_the_limit_are_not_even_looked_at(body: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(RecordError, match="over 100 records") as caught:
            split(body)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (caught.value.reason, caught.value.records) == ("too_large", 101)
    assert most < 2 * len(body) + 1_000_000


def test_an_object_over_more_lines_than_records_are_allowed_is_one_record() -> None:
    body = json.dumps({"a": list(range(200))}, indent=1).encode()
    assert split(body + b"\n" + body) == ([body, body], False)


def test_a_body_of_many_compressed_members_is_refused_instead_of_copied_for_each() -> None:
    with pytest.raises(RecordError, match="over 100 members") as caught:
        inflate(gzip.compress(b"") * 101, "gzip", 1000)
    assert caught.value.reason == "json"
