"""What is read in one pass becomes what the careful reading makes of it, whatever is sent."""

import gzip
import itertools
import json
import re
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mutt.bodies import is_one_object, plain_lines, split_body, split_sequence
from mutt.ids import Tails
from mutt.intake import Accepted, Intake, Limits, Receipt, Taken
from mutt.plain import Plain
from mutt.records import RecordError

NOW = datetime(2026, 11, 24, 22, 10, 0, 123456, tzinfo=UTC)
NOW_US = int(NOW.timestamp()) * 1_000_000 + 123456
TRACE = "5f0c7c5e-8f0e-4c8b-9f0a-6d2f7d0a9b11"
DIGITS = "11111111-1111-4111-8111-111111111111"
DEPTH = 4
LIMITS = Limits(body_bytes=100_000, records=50, event_bytes=600, depth=DEPTH)
REQUIRED = ("timestamp", "message", "hostname")

BORDERS = [
    (NOW.replace(microsecond=0) + far + near).isoformat()
    for far in (timedelta(0), timedelta(hours=1), -timedelta(days=30))
    for near in (timedelta(0), timedelta(microseconds=1), -timedelta(microseconds=1), timedelta(seconds=1))
]
TIMES = [
    *BORDERS, "2026-11-24T22:09:59Z", "2026-11-24T22:09:59.1Z", "2026-11-24T22:09:59.123Z",
    "2026-11-24T22:09:59.123456Z",
    "2026-11-24T22:09:59.123456789Z", "2026-11-24T22:09:59,123Z", "2026-11-24 22:09:59.123", "20261124T220959.123Z",
    "2026-11-24T22:09:59.123+00:00", "2026-11-24T23:39:59.123+01:30", "2026-11-24t22:09:59z", " 2026-11-24T22:09:59Z",
    "2026-11-24T22:09:60Z", "2026-11-31T00:00:00Z", "2026-11-24T24:00:00Z", "2026-11-24", "2026-W48-2T22:09:59Z",
    "1795558200", "1795558200.123", "1795558200123", "yesterday", "٢٠٢٦-11-24T22:09:59Z", "0001-01-01T00:00:00+23:00",
]  # fmt: skip
TEXTS = [
    "down", "", " ", "\u3000", "\u3000x", "\x85", "é", "\x7f", "}{", "} {", "}\n{", "]", "[", "{", '"', "\\",
    "\\u0000", "\x00", "\t",
    "\ud800", "😀", "h" * 64, "h" * 65, "ü" * 255, "ü" * 256, TRACE, TRACE.upper(), DIGITS, TRACE + "\n", "trace-1",
    "err", "ERR", " err", "7", "8", "٣", "1.3.6", ".1.3", "1..3", "1.3.6\n", "-", "x" * 600,
]  # fmt: skip
STRINGS = [
    json.dumps(text, ensure_ascii=is_ascii).encode("utf-8", "surrogatepass")
    for text in TIMES + TEXTS
    for is_ascii in (True, False)
]
ODD = [
    b'"a\x00b"', b'"a\tb"', b'"\xff"', b'"\xed\xa0\x80"', b'"\\ud800\\udc00"', b'"\\ud800\\u0041"', b'"\\x"',
    b'"', b"nonsense", b"",
    b"0", b"7", b"8", b"-1", b"-0", b"3.0", b"3e0", b"01", b"1e999", b"-1e999", b"1e-999", b"1" * 400,
    b"123456789012345678901", b"NaN",
    b"1795558200", b"1795558200123", b"1795558200.5", b"true", b"false", b"null", b"[]", b"{}", b"[1]",
    b'{"a":1}', b'["}"]',
    b'{"_mutt":1,"correlation_id":"x"}', *(b"[" * depth + b"]" * depth for depth in (DEPTH - 2, DEPTH - 1,
    DEPTH, 5000)),
    b'{"a":' * DEPTH + b"1" + b"}" * DEPTH,
]  # fmt: skip
NAMES = [
    b'"%s"' % name
    for name in (
        b"timestamp", b"message", b"hostname", b"source", b"trap_oid", b"syslog_severity", b"correlation_id",
        b"_mutt", b"client__mutt",
        b"correl\\u0061tion_id", b"\\u005fmutt", b"client_correlation_id", b"severity", b"site", b"x",
        b"\\u0000", b"\xff", b"",
    )
]  # fmt: skip
GOOD = [b'"timestamp":"2026-11-24T22:09:59.5Z"', b'"message":"down"', b'"hostname":"sw1"']


def event(*more: bytes) -> bytes:
    """Return an event in order, with some members more."""
    return b"{" + b",".join([*GOOD, *more]) + b"}"


members = st.builds(b"%s:%s".__mod__, st.tuples(st.sampled_from(NAMES), st.sampled_from(STRINGS + ODD)))


@st.composite
def record(draw: st.DrawFn) -> bytes:
    """Return an event in order, with up to three members more, before or behind its own: the last one counts."""
    parts = [*draw(st.lists(members, max_size=2)), *GOOD, *draw(st.lists(members, max_size=1))]
    if draw(st.integers(0, 9)) == 0:
        parts = draw(st.permutations(parts))[1:]
    between = draw(st.sampled_from([b",", b", ", b",\n"]))
    begin, end = draw(st.sampled_from([(b"{", b"}")] * 6 + [(b"{ ", b" }"), (b" {", b"}"), (b"{", b""), (b"{{", b"}")]))
    return begin + between.join(parts) + end


Outcome = Accepted | Taken | tuple[str, str, int]


def outcome(work: Callable[[], Accepted | Taken]) -> Outcome:
    """Return what comes of it, an error as what it says."""
    try:
        return work()
    except RecordError as error:
        return error.reason, str(error), error.records


def without_count(said: Outcome) -> str:
    """Return it with all new ids the same: those of one body count on."""
    return re.sub("(?<=-7000-8000-000000000)[0-9a-f]{3}", "000", repr(said))


def intake_of(required: tuple[str, ...] = REQUIRED) -> Intake:
    return Intake(required, LIMITS, bytes)  # all new ids of one millisecond are the same


required_fields = st.sampled_from(
    [REQUIRED, (), ("message",), ("message", "site"), ("hostname", "x", "correlation_id")]
)
receipts = st.builds(
    Receipt, st.just(NOW_US), st.sampled_from([None, DIGITS]), st.sampled_from([None, "", '00-"trace"-01'])
)


@given(record(), required_fields, receipts, st.sampled_from([None, TRACE]))
@example(event(b'"correlation_id":"x"', b'"correlation_id":"%s"' % TRACE.encode()), REQUIRED, Receipt(NOW_US), None)
@example(
    event(b'"correl\\u0061tion_id":"x"', b'"correlation_id":"%s"' % TRACE.encode()), REQUIRED, Receipt(NOW_US), None
)
def test_a_record_becomes_the_same_in_one_pass_and_with_care(
    raw: bytes, required: tuple[str, ...], receipt: Receipt, default_id: str | None
) -> None:
    intake = intake_of(required)
    with_care = outcome(partial(intake.accept_carefully, raw, receipt, default_id))

    for _ in range(2):  # members that are new to it, and known by now
        assert outcome(partial(intake.accept, raw, receipt, default_id)) == with_care
    if raw.count(b"{") == raw.count(b"}") == 1 and b"[" not in raw:
        plain = Plain(required, LIMITS.event_bytes, LIMITS.depth, Tails(bytes))
        [made] = plain.accept((raw,), receipt, default_id, nested=False)
        assert made is None or made == with_care


@pytest.mark.parametrize("name", NAMES)
def test_every_value_of_a_member_becomes_the_same_in_one_pass_and_with_care(name: bytes) -> None:
    intake, receipt = intake_of(), Receipt(NOW_US)
    for value, is_first in itertools.product(STRINGS + ODD, (True, False)):
        member = name + b":" + value
        raw = b"{" + member + b"," + event()[1:] if is_first else event(member)

        with_care = outcome(partial(intake.accept_carefully, raw, receipt))

        assert outcome(partial(intake.accept, raw, receipt)) == with_care
        if is_first:  # the member is new to another intake
            assert outcome(partial(intake_of().accept, raw, receipt)) == with_care


def read_with_care(intake: Intake, body: bytes, coding: str, receipt: Receipt) -> Taken:
    """Read a body as `Intake.read` does, with nothing done in one pass."""
    if coding:
        body = gzip.decompress(body)
    elif is_one_object(body):  # (also several that never end)
        return Taken(True, [intake.accept_carefully(body, receipt, receipt.correlation_id)], [])
    records, single, _ = split_body(body, "", LIMITS.records, LIMITS.depth)
    if single:
        accepted = intake.accept_carefully(records[0], receipt, receipt.correlation_id)
        return Taken(single=True, accepted=[accepted], rejected=[])
    return intake.collect(records, receipt, lambda raw: intake.accept_carefully(raw, receipt), bytes)


@given(
    st.lists(record(), min_size=1, max_size=4),
    st.sampled_from(
        [
            (b"[", b",", b"]"),
            (b" [ ", b" , ", b"]\n"),
            (b"", b"\n", b"\n"),
            (b"\xef\xbb\xbf", b"\n", b""),
            (b"", b"", b""),
        ]
    ),
    receipts,
    st.booleans(),
)
def test_a_body_becomes_the_same_in_one_pass_and_with_care(
    records: list[bytes], around: tuple[bytes, bytes, bytes], receipt: Receipt, is_packed: bool
) -> None:
    begin, between, end = around
    body = begin + between.join(records) + end
    coding = "gzip" if is_packed else ""
    sent = gzip.compress(body) if is_packed else body
    intake = intake_of()

    with_care = outcome(partial(read_with_care, intake, sent, coding, receipt))

    for _ in range(2):
        assert without_count(outcome(partial(intake.read, sent, coding, "", receipt))) == without_count(with_care)


@given(
    st.lists(
        record() | st.sampled_from([b"{}", b"{", b"}", b'{"a":"}"}', b"{} {}", b"{}{}", b"", b" {}", b"{}\r"]),
        min_size=1,
        max_size=6,
    ),
    st.integers(1, 6),
)
def test_lines_are_cut_the_same_at_sight_and_with_care(lines: list[bytes], most: int) -> None:
    body = b"\n".join(lines).strip(b" \t\r\n")

    at_sight = plain_lines(body, most)

    if at_sight is not None:
        assert at_sight.records == split_sequence(body, DEPTH, most)
        assert not at_sight.single
        if not at_sight.nested:
            assert all(line.count(b"}") == 1 and b"[" not in line for line in at_sight.records)


@pytest.mark.parametrize(
    "more",
    [
        [],
        [b'"source":"syslog","syslog_severity":5,"facility":"local7"'],
        [b'"syslog_severity":"err","trap_oid":".1.3.6"'],
        [b'"path":"C:\\\\temp","said":"\\"\\u00e9\\""'],
        [b'"tags":["a","b"],"more":{"a":1}'],
        [b'"correlation_id":"%s"' % TRACE.encode()],
        ['"text":"é"'.encode()],
    ],
)
def test_what_senders_write_most_is_read_in_one_pass(more: list[bytes]) -> None:
    plain = Plain(REQUIRED, LIMITS.event_bytes, LIMITS.depth, Tails(bytes))
    raw = event(*more)

    assert plain.accept((raw,), Receipt(NOW_US), None, nested=True) != [None]


def test_lines_of_objects_are_cut_at_sight() -> None:
    raw = event()

    assert plain_lines(raw + b"\n" + raw, 2) == ([raw, raw], False, False)
    for inner in (b'"x":[1]', b'"x":{}'):
        assert plain_lines(raw + b"\n" + event(inner), 2) == ([raw, event(inner)], False, True)


@pytest.mark.parametrize("body", [b"%s", b"[%s]", b"{}\n%s"])
def test_a_record_that_is_too_large_is_not_decoded(body: bytes) -> None:
    """As objects it would be dozens of times its bytes, and no other thread runs while they are made."""
    raw = event(b'"x":[' + b",".join([b"[]"] * 100_000) + b"]")
    sent = body % raw
    tracemalloc.start()
    try:
        said = outcome(partial(intake_of().read, sent, "", "", Receipt(NOW_US)))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert f"an event of {len(raw)} bytes, at most 600 are taken" in str(said)
    assert most < 4 * len(raw)


def test_a_window_remembers_no_more_than_some_thousand_times() -> None:
    window = Receipt(NOW_US).moment.window
    for number in range(10_000):
        assert window[f"2026-11-24T22:09:59.{number:06d}Z"] == f"2026-11-24T22:09:59.{number:06d}Z"

    assert len(window) < 5000


def test_a_window_remembers_no_time_that_is_as_long_as_an_event() -> None:
    window = Receipt(NOW_US).moment.window

    assert window["1795558200." + "1" * 60_000] == "2026-11-24T22:10:00.111111Z"
    assert not window["x" * 60_000]
    assert max(map(len, window), default=0) < 100
