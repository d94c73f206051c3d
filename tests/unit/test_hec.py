import json
import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mutt.events import QueuedEvent, decode_entry
from mutt.foreign import GROWTH
from mutt.hec import Code, HecError, Origin, code_of, read_events, read_lines, read_query
from mutt.intake import Intake, Limits, Receipt, Taken
from mutt.records import RecordError

NOW = 1_795_000_000
RECEIPT = Receipt(NOW * 1_000_000)
RECEIVED = "2026-11-18T11:06:40.000000Z"
LIMITS = Limits(body_bytes=100_000, records=50, event_bytes=2000, depth=32)
TRACE = "5f0c7c5e-8f0e-4c8b-9f0a-6d2f7d0a9b11"
NOWHERE = Origin({}, "192.0.2.9")

intake = Intake(("timestamp", "message", "hostname"), LIMITS, os.urandom)


def sent(event: Any, **metadata: Any) -> bytes:
    return json.dumps({"event": event, **metadata}).encode()


def taken(body: bytes, origin: Origin = NOWHERE) -> Taken:
    return read_events(intake, body, "", origin, RECEIPT)


def one(body: bytes, origin: Origin = NOWHERE) -> QueuedEvent:
    [accepted] = taken(body, origin).accepted
    return decode_entry(accepted.entry)


def code(body: bytes) -> Code:
    with pytest.raises(RecordError) as caught:
        taken(body)
    return code_of(caught.value)


def test_the_metadata_of_an_event_are_its_columns() -> None:
    found = one(
        sent("down → Überlast", host="sw1", time=NOW - 1.5, source="udp:514", sourcetype="cisco:ios", index="net")
    )

    assert (found.message, found.hostname, found.source) == ("down → Überlast", "sw1", "udp:514")
    assert found.event_timestamp.timestamp() == NOW - 1.5
    assert found.fields["sourcetype"] == "cisco:ios"
    assert found.fields["index"] == "net"
    assert found.severity is None


@pytest.mark.parametrize("time", [NOW - 1, f"{NOW - 1}", f"{NOW - 1}.000", float(NOW - 1), (NOW - 1) * 1000])
def test_a_time_may_be_a_number_or_text_of_seconds(time: Any) -> None:
    assert one(sent("x", time=time)).event_timestamp.timestamp() == NOW - 1


@pytest.mark.parametrize("time", ["yesterday", True, [1], 1e300, "1" * 400, {"a": 1}])
def test_a_time_that_is_none_is_refused(time: Any) -> None:
    assert code(sent("x", time=time)) is Code.INVALID_DATA


def test_what_an_event_does_not_say_is_taken_from_the_query_then_from_the_request() -> None:
    query = Origin(read_query(b"host=from-query&source=q&sourcetype=s&channel=c"), "192.0.2.9")

    assert one(sent("x"), query).hostname == "from-query"
    assert one(sent("x", host="own"), query).hostname == "own"
    assert one(sent({"message": "x", "hostname": "inner"}), NOWHERE).hostname == "inner"
    assert one(sent({"message": "x", "host": "inner"}), NOWHERE).hostname == "inner"
    assert one(sent("x")).hostname == "192.0.2.9"
    assert one(sent("x"), query).source == "q"
    assert "channel" not in one(sent("x"), query).fields
    assert one(sent("x")).fields["timestamp"] == RECEIVED


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({"message": "m", "log": "l"}, "m"),
        ({"log": "l\n", "stream": "stderr"}, "l\n"),
        ({"_raw": "r", "cribl_breaker": "x"}, "r"),
        ({"a": {"b": [1, 2]}}, '{"a":{"b":[1,2]}}'),
        ({"message": {"nested": 1}}, '{"message":{"nested":1}}'),
        ([1, "two"], '[1,"two"]'),
        (12, "12"),
        (False, "false"),
    ],
)
def test_an_event_that_is_no_text_has_its_own_text_or_is_the_text(event: Any, message: str) -> None:
    assert one(sent(event)).message == message


def test_members_of_an_event_and_its_fields_are_kept_and_the_loser_of_two_has_another_name() -> None:
    event = {"message": "m", "user": "in event", "hostname": "in event", "source": "in event", "timestamp": "Oct 11"}
    found = one(sent(event, host="sw1", source="meta", fields={"user": "in fields", "message": "other", "site": "a"}))

    fields = {name: value for name, value in found.fields.items() if name not in {"correlation_id", "timestamp"}}
    assert fields == {
        "message": "m",
        "client_message": "other",
        "user": "in event",
        "client_user": "in fields",
        "hostname": "sw1",
        "client_hostname": "in event",
        "source": "meta",
        "client_source": "in event",
        "client_timestamp": "Oct 11",
        "site": "a",
    }


def test_a_source_that_is_too_long_keeps_its_end_and_is_kept_whole_beside_it() -> None:
    path = "/var/log/" + "x" * 100 + "/app.log"
    found = one(sent("m", source=path))
    assert found.source == path[-64:]
    assert found.fields["client_source"] == path


@pytest.mark.parametrize(
    ("event", "severity"),
    [
        ({"severity": "WARNING"}, 4),
        ({"severity": 3}, 3),
        ({"severity": "2"}, 2),
        ({"severity": 40}, None),
        ({"severity": True}, None),
        ({"level": "Error"}, 3),
        ({"level": 4}, None),
        ({"loglevel": "fatal"}, 2),
        ({"log_level": "trace"}, 7),
        ({"syslog_severity": 1, "severity": "info"}, 1),
        ({"severity": "unknown", "level": "notice"}, 5),
    ],
)
def test_severities_are_read_from_words_and_numbers_only_where_they_are_syslogs(
    event: dict[str, Any], severity: int | None
) -> None:
    assert one(sent({"message": "m", **event})).severity == severity
    assert one(sent("m", fields=event)).severity == severity


def test_an_oid_that_is_none_is_an_ordinary_field() -> None:
    assert one(sent({"message": "m", "trap_oid": ".1.3.6.1"})).trap_oid == "1.3.6.1"
    found = one(sent({"message": "m", "trap_oid": "linkDown"}))
    assert found.trap_oid is None
    assert found.fields["client_trap_oid"] == "linkDown"


def test_an_id_of_the_senders_makes_a_repeated_event_the_same_event() -> None:
    body = sent({"message": "m", "correlation_id": TRACE}, time=NOW)
    first, second = taken(body).accepted[0], taken(body).accepted[0]
    assert first.event_id == second.event_id
    assert first.correlation_id == TRACE
    assert taken(sent("m")).accepted[0].event_id != taken(sent("m")).accepted[0].event_id


@pytest.mark.parametrize("between", [b"", b"\n", b" ", b"\r\n\r\n"])
def test_events_stand_one_behind_the_other(between: bytes) -> None:
    found = taken(between.join(sent(f"{{\n{number}") for number in range(3)))
    assert [decode_entry(item.entry).message for item in found.accepted] == ["{\n0", "{\n1", "{\n2"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", Code.NO_DATA),
        (b" \n", Code.NO_DATA),
        (b"[]", Code.NO_DATA),
        (b"text", Code.INVALID_DATA),
        (b'{"event":', Code.INVALID_DATA),
        (b'{"event":"x"', Code.INVALID_DATA),
        (b"x" * 100 + b"\n" + b"y", Code.INVALID_DATA),
        (b"{}", Code.EVENT_REQUIRED),
        (b'{"host":"h"}', Code.EVENT_REQUIRED),
        (b'{"event":null}', Code.EVENT_REQUIRED),
        (b'{"event":""}', Code.EVENT_BLANK),
        (b'{"event":" \\n"}', Code.EVENT_BLANK),
        (b'{"event":{}}', Code.EVENT_BLANK),
        (b'{"event":"x","fields":[1]}', Code.INVALID_FIELDS),
        (b'{"event":"x","host":["a"]}', Code.INVALID_DATA),
        (b'{"event":{"a":' + b"[" * 3000 + b"]" * 3000 + b"}}", Code.TOO_LARGE),
        (b'{"event":{"a":' + b"[" * 100 + b"]" * 100 + b"}}", Code.INVALID_DATA),
        (b'{"event":"' + b"x" * 3000 + b'"}', Code.TOO_LARGE),
        (b'{"event":1}' * 51, Code.TOO_LARGE),
    ],
)
def test_what_cannot_be_taken_has_splunks_code(body: bytes, expected: Code) -> None:
    assert code(body) is expected


def test_a_bad_event_among_good_ones_is_quarantined_as_the_event_that_it_means() -> None:
    body = sent("good") + sent("x", host="h" * 300) + b'{"event":""}' + sent("good too")

    found = taken(body)

    assert [decode_entry(item.entry).message for item in found.accepted] == ["good", "good too"]
    assert [item.place for item in found.rejected] == [1, 2]
    mendable = json.loads(json.loads(found.rejected[0].quarantine)["raw"])
    assert mendable == {"message": "x", "hostname": "h" * 300, "timestamp": RECEIVED}
    assert json.loads(found.rejected[1].quarantine)["raw"] == '{"event":""}'


def test_dirty_text_is_kept_and_said_to_be_so() -> None:
    found = one(b'{"event":"a\xff\\u0000\x01b","host":"h"}')
    assert found.message == "a\ufffd\ufffd\x01b"
    assert found.envelope.sanitized


def test_each_line_of_a_raw_request_is_an_event() -> None:
    origin = Origin(read_query(b"host=sw%201&source=net&sourcetype=s&time=1794999999.5"), "192.0.2.9")
    body = '<187>1 first → é\r\n\r\n<999>second\n   \n{"event": 3}\nbad: '.encode() + b"\xff"

    found = [decode_entry(item.entry) for item in read_lines(intake, body, "", origin, RECEIPT).accepted]

    assert [item.message for item in found] == ["<187>1 first → é", "<999>second", '{"event": 3}', "bad: \ufffd"]
    assert [item.severity for item in found] == [3, None, None, None]
    assert {item.hostname for item in found} == {"sw 1"}
    assert {item.event_timestamp.timestamp() for item in found} == {NOW - 0.5}
    assert [item.envelope.sanitized for item in found] == [False, False, False, True]


@pytest.mark.parametrize(("body", "expected"), [(b"\r\n \n", Code.NO_DATA), (b"x\n" * 51, Code.TOO_LARGE)])
def test_a_raw_request_without_lines_or_with_too_many_is_refused(body: bytes, expected: Code) -> None:
    with pytest.raises(RecordError) as caught:
        read_lines(intake, body, "", NOWHERE, RECEIPT)
    assert code_of(caught.value) is expected


@pytest.mark.parametrize("query", [b"host=" + b"h" * 300, b"&".join(b"a%d=1" % number for number in range(20))])
def test_a_query_that_would_fill_the_memory_is_refused(query: bytes) -> None:
    with pytest.raises(HecError):
        read_query(query)


def test_the_same_bytes_from_another_host_are_another_event() -> None:
    """What tells two hosts apart may be in the request's address alone, or in who sends."""
    repeated = sent({"message": "down", "correlation_id": TRACE})
    queries: tuple[dict[str, str], ...] = ({}, {"host": "a"}, {"host": "b"}, {"host": "b", "source": "c"})
    origins = [Origin(query, "192.0.2.9") for query in queries] + [Origin({}, "192.0.2.10")]
    found = [one(repeated, origin).envelope.event_id for origin in origins]
    assert len(set(found)) == len(found)
    again = Origin({"channel": "another", "host": "b"}, "192.0.2.10")
    assert one(repeated, again).envelope.event_id == found[2]


def test_what_a_request_repeats_in_each_event_has_a_limit() -> None:
    small = Intake(("message",), Limits(body_bytes=100, records=50, event_bytes=2000), os.urandom)
    origin = Origin(dict.fromkeys(("a", "b", "c", "d", "e", "f", "g"), "x" * 255), "")
    assert GROWTH * 100 < 7 * 255 * 2
    with pytest.raises(RecordError, match="too large for so many") as caught:
        read_lines(small, b"x\n" * 20, "", origin, RECEIPT)
    assert caught.value.reason == "too_large"


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(
    [
        "event",
        "fields",
        "host",
        "time",
        "source",
        "message",
        "hostname",
        "severity",
        "level",
        "timestamp",
        "_mutt",
        "trap_oid",
    ]
)


@settings(max_examples=50)
@given(st.dictionaries(names, values | st.dictionaries(names, values)), st.binary(max_size=40))
def test_no_event_makes_the_reader_fail_otherwise_than_with_a_code(outer: dict[str, Any], noise: bytes) -> None:
    for body in (json.dumps(outer).encode(), noise, sent("x") + noise):
        try:
            found = taken(body)
        except RecordError as error:
            code_of(error)
            continue
        for item in found.accepted:
            assert decode_entry(item.entry).message
        for rejected in found.rejected:
            json.loads(rejected.quarantine)
