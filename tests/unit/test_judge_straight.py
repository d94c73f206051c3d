"""The quick way of judging against the careful one: whatever the bytes are, nobody can tell which it was."""

import json
import os
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mutt import judge as judging
from mutt.errors import EntryError
from mutt.handling import Hosts
from mutt.intake import Intake, Limits, Receipt
from mutt.judge import Judged, carefully, judge
from mutt.matching import RuleBook
from mutt.rules import Rule

BOOK = RuleBook(
    [
        Rule(1, "down", None, None, "contains", 500, "Page_and_ticket", "Suppress", "CORE"),
        Rule(2, "straße", None, None, "contains", 400, "Log_only", "Log_only", "CORE", version=7),
        Rule(3, r"fan \d+", None, 3, "regex", 300, "Ticket_only", "Email_only", "CORE"),
        Rule(4, None, "1.3.6.1.6.3.1.1.5.3", None, "oid_prefix", 200, "Ticket_only", "Log_only", "NETO"),
        Rule(5, None, None, 1, "contains", 100, "Log_only", "Log_only", "NETO"),
    ]
)
HOSTS = Hosts.of(["dev1", "lab.example"], {"core1": "EDGE"}, match_short=True)
ID = "0193a1b2-1234-7abc-8def-0123456789ab"
TRACE = "5f0c7c5e-8f0e-4c8b-9f0a-6d2f7d0a9b11"
MUTT = (
    f'"v":1,"event_id":"{ID}","received_at":"2026-11-24T22:10:00.123456Z",'
    '"event_timestamp":"2026-11-24T22:09:59.000000Z"'
)

texts = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["", "link down", "Link UP", "die STRASSE", "fan 7 failed", "changed state to up", "x" * 1500,
                     "core1", "DEV1.site.", "lab.example", "uplink", "\u212a up\u212a", "err", "3", "\0", "é"]),
)  # fmt: skip
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
FIELDS = {
    "message": texts | anything,
    "hostname": texts | anything,
    "source": texts | anything,
    "syslog_severity": st.integers(-1, 9) | st.sampled_from(["err", "4", "x"]) | anything,
    "severity": texts | anything,
    "trap_oid": st.sampled_from(["1.3.6.1.6.3.1.1.5.3", ".1.3.6.1.6.3.1.1.5.4", ".", "", "9"]) | anything,
    "correlation_id": st.sampled_from([ID, ID.upper(), TRACE, TRACE.replace("-", "")]) | anything,
    "timestamp": texts,
    "_mutt": anything,
    "nested": st.dictionaries(st.sampled_from(["_mutt", "message"]), texts),
}
NOON = "2026-11-24T12:00:00.123456Z"
PLAIN: dict[str, object] = {"correlation_id": ID, "message": "link down", "hostname": "dev1"}
LIKELY = {"correlation_id": st.sampled_from([ID, TRACE]), "message": texts, "hostname": texts}
likely = st.fixed_dictionaries(LIKELY, optional={name: FIELDS[name] for name in FIELDS.keys() - LIKELY.keys()})
fields = st.one_of(likely, likely, st.fixed_dictionaries({}, optional=FIELDS), st.dictionaries(texts, anything))
times = st.datetimes().map(lambda at: at.isoformat(timespec="microseconds") + "Z")
odd_times = times | st.sampled_from(
    ["2026-11-24T22:10:60.123456Z", "2026-W48-1T22:10:30.123456Z", "2026-11-24 22:10:00.123456Z",
     "2026-11-24T22:10:00.12345+Z", "2026-11-24T22:10:00.1234\u0665Z", "2026-11-24T22:10:00,123456Z",
     "2026-11-24T25:10:00.123456Z", "2026-11-24T22:10:00.123456z", "0000-11-24T22:10:00.123456Z", "2026-11-24T22:10Z"]
)  # fmt: skip
odd_ids = st.uuids().map(str) | st.sampled_from(
    [ID.upper(), ID.replace("-", ""), ID.replace("0193a1b2-", "0193a1b-2"), ID[:-1] + "g", ID[:-2] + " b", "-" * 36]
)


def outcome(judge_one: object, entry: bytes) -> object:
    assert callable(judge_one)
    try:
        found: Judged = judge_one(entry, BOOK, HOSTS, "NETO")
    except EntryError as error:
        return str(error)
    assert found.standing(found.decision) == found
    return (
        found.row, found.decision, found.entry, found.hostname, found.message, found.received,
        found.envelope, found.event_id, found.traceparent, found.decided(),
    )  # fmt: skip


def entry_of(mutt: str, event: bytes) -> bytes:
    return (
        b'{"_mutt":{' + mutt.encode() + b"}," + event[1:] if event != b"{}" else b'{"_mutt":{' + mutt.encode() + b"}}"
    )


@given(fields, odd_ids, odd_times, odd_times, st.sampled_from(["", ',"sanitized":true', ',"retry_count":2', ',"x":[]']))
@example(PLAIN, ID, NOON, NOON, "")
@example(PLAIN | {"message": "trap", "hostname": "core1", "trap_oid": ".1.3.6.1.6.3.1.1.5.4"}, ID, NOON, NOON, "")
@example(PLAIN | {"correlation_id": TRACE.replace("-", "")}, ID, NOON, NOON, "")
@example(PLAIN | {"syslog_severity": 9}, ID, NOON, NOON, "")
@example(PLAIN | {"trap_oid": ""}, ID, NOON, NOON, "")
@example(PLAIN | {"message": "\ud800"}, ID, NOON, NOON, "")
@example(PLAIN, ID, NOON, "2026-11-24T22:10:00.+12345Z", "")
@example(PLAIN, ID, "2026-11-24T22:10:00. 12345Z", NOON, "")
@example(PLAIN, ID, "20261124T221000.0000123456Z", NOON, "")
@example(PLAIN, ID, NOON, "2026-11-24T22:10:60.123456Z", "")
@example(PLAIN, ID, NOON, "2026-11-24T24:00:00.123456Z", "")
@settings(max_examples=300, deadline=None)
def test_an_entry_of_any_fields_is_judged_alike_both_ways(
    event: dict[str, object], event_id: str, received: str, at: str, more: str
) -> None:
    mutt = f'"v":1,"event_id":"{event_id}","received_at":"{received}","event_timestamp":"{at}"{more}'
    entry = entry_of(mutt, json.dumps(event).encode())
    assert outcome(judge, entry) == outcome(carefully, entry)


PIECES = [
    b'{"_mutt":{', MUTT.encode(), b"}", b",", b'"message":"link up"', b'"hostname":"core1"', b'"_mutt":{}', b"{",
    f'"correlation_id":"{ID}"'.encode(), b' "message" : "m\\u0041\\ud83d\\ude00"', b'"a":1.50', b'"a":1e999', b"\xff",
    b" ", b'"b":[[[1]]]', b'"c":"\\ud800"', b'"d":"\x01"', b'"e":123456789012345678901234567890', b"\n",
    b'"f":{"_mutt":1}',
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=8), st.integers(0, 300), st.binary(max_size=2))
@settings(max_examples=300, deadline=None)
def test_bytes_of_any_kind_are_judged_alike_both_ways(pieces: list[bytes], place: int, strange: bytes) -> None:
    whole = entry_of(MUTT, b"{" + b",".join(piece for piece in pieces if piece.startswith(b'"')) + b"}")
    for entry in (b"".join(pieces), whole, whole[:place] + strange + whole[place + 1 :], whole[:place]):
        assert outcome(judge, entry) == outcome(carefully, entry)


def test_what_the_ingestor_makes_of_a_plain_event_goes_the_quick_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "carefully", None)
    intake = Intake(("timestamp", "message", "hostname"), Limits(), os.urandom)
    for correlation in ("", f', "correlation_id": "{TRACE}"'):
        body = '{"timestamp": "2026-11-24T22:10:00Z", "message": "fan 7", "hostname": "sw%d", "vlan": 7%s}'
        raw = (body % (random.randrange(9), correlation)).encode()
        entry = intake.accept(raw, Receipt(1_795_000_000_123_456)).entry
        assert judge(entry, BOOK, HOSTS, "NETO").known_envelope is None
