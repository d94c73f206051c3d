"""What Moogsoft is sent: neither too much nor too little under one signature."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutt import moogsoft
from mutt.moogsoft import alert_of, body_of, severity, signature
from mutt.pairs import INTERFACE_NAME, interface_of, interface_span, names_state
from mutt.patterns import REMEMBERED_MAX, digits_alike, pattern_of
from tests.unit.moog_events import CORRELATION_ID, EVENT_ID, decided, entry_of

LINK_DOWN, LINK_UP = "1.3.6.1.6.3.1.1.5.3", "1.3.6.1.6.3.1.1.5.4"
EPOCH = 1_795_558_200  # 2026-11-24T22:10:00Z


def test_a_clear_has_the_signature_of_its_problem_and_severity_zero() -> None:
    down = decided("linkDown", trap_oid=LINK_DOWN, syslog_severity=3, rule_id=7, source="snmp", fields={"ifIndex": 3})
    up = decided("linkUp", trap_oid=LINK_UP, syslog_severity=6, rule_id=8, source="snmp", fields={"ifIndex": 3})
    assert signature(down) == signature(up) == "core1.example::snmp::link:3"
    assert alert_of(down, "onprem").order_key == alert_of(up, "saas").order_key == signature(up)
    assert severity(down) == 4
    assert severity(up) == 0


def test_two_interfaces_of_a_host_are_two_alerts() -> None:
    first = decided("%LINK-3-UPDOWN: Interface GigabitEthernet0/1, changed state to down")
    second = decided("%LINK-3-UPDOWN: Interface GigabitEthernet0/2, changed state to down")
    assert signature(first) != signature(second)


def test_two_interfaces_are_two_alerts_outside_the_known_pairs_too() -> None:
    first = decided("CRC errors on interface GigabitEthernet0/1 exceed 100")
    second = decided("CRC errors on interface GigabitEthernet0/2 exceed 250")
    assert signature(first) != signature(second)
    assert alert_of(first, "onprem").order_key is None


def test_repetitions_of_one_complaint_are_one_alert() -> None:
    first = decided("Fan 1 failed after 381 hours, pid 12345")
    second = decided("Fan 1 failed after 382 hours, pid 99", event_id="01935f5e-7d4c-7000-8000-000000000009")
    assert signature(first) == signature(second)


def test_two_complaints_of_a_host_are_two_alerts() -> None:
    assert signature(decided("Fan failed")) != signature(decided("Power supply failed"))


def test_hosts_sources_and_rules_are_told_apart() -> None:
    base = signature(decided("Fan failed"))
    assert signature(decided("Fan failed", hostname="core2.example")) != base
    assert signature(decided("Fan failed", source="snmp")) != base
    assert signature(decided("Fan failed", rule_id=13)) != base
    assert signature(decided("Fan failed", rule_id=None)) != base
    assert signature(decided("Fan failed", hostname="CORE1.example.")) == base


@pytest.mark.parametrize(("level", "expected"), [(0, 5), (1, 5), (2, 5), (3, 4), (4, 3), (5, 2), (6, 1), (7, 1)])
def test_severity_follows_syslogs(level: int, expected: int) -> None:
    assert severity(decided("x", syslog_severity=level)) == expected


@pytest.mark.parametrize(
    ("handling", "expected"), [("Page_and_ticket", 5), ("Ticket_only", 4), ("Email_only", 3), ("Something_newer", 3)]
)
def test_without_a_severity_the_handling_decides(handling: str, expected: int) -> None:
    assert severity(decided("x", handling=handling)) == expected


@given(st.text(min_size=1, max_size=255), st.text(max_size=64), st.text(max_size=400))
def test_a_signature_is_short_and_the_same_each_time(hostname: str, source: str, message: str) -> None:
    text = signature(decided(message, hostname=hostname, source=source))
    assert len(text.encode()) <= moogsoft.MAX_SIGNATURE
    assert text == signature(decided(message, hostname=hostname, source=source))
    assert text.count("::") >= 2 or len(text.encode()) > 700


def test_long_names_that_differ_late_stay_apart() -> None:
    long = "\U0001f600" * 250
    assert signature(decided("x", hostname=f"{long}a")) != signature(decided("x", hostname=f"{long}b"))


def test_the_onprem_profile_has_all_its_fields() -> None:
    entry = decided("disk full", source="syslog", syslog_severity=2, fields={"big": 12345678901234567890, "list": []})
    payload: dict[str, Any] = msgspec.json.decode(body_of([entry], "onprem", batch=False))
    assert payload["signature"] == signature(entry)
    assert payload["external_id"] == EVENT_ID
    assert payload["manager"] == "MUTT"
    assert payload["source"] == payload["source_id"] == "core1.example"
    assert payload["severity"] == 5
    assert payload["description"] == "disk full"
    assert payload["agent_time"] == EPOCH
    assert payload["class"] == "syslog"
    assert payload["custom_info"]["team"] == "NETO"
    assert payload["custom_info"]["handling"] == "Page_and_ticket"
    assert payload["custom_info"]["rule_id"] == 12
    assert payload["custom_info"]["correlation_id"] == CORRELATION_ID
    assert payload["custom_info"]["event"]["message"] == "disk full"
    assert {"agent", "agent_location", "type"} <= payload.keys()


def test_the_raw_event_is_sent_byte_for_byte() -> None:
    entry = decided("x", fields={"big": 123456789012345678901234567890, "empty": [], "float": 1.10})
    assert b'"big":123456789012345678901234567890' in body_of([entry], "onprem", batch=False).replace(b" ", b"")


def test_the_saas_profile_has_all_its_fields() -> None:
    entry = decided("disk full", syslog_severity=3)
    payload: dict[str, Any] = msgspec.json.decode(body_of([entry], "saas", batch=False))
    wanted = {"check", "description", "severity", "source", "class", "service", "time", "dedupe_key", "manager", "tags"}
    assert payload.keys() == wanted
    assert payload["dedupe_key"] == signature(entry)
    assert payload["time"] == EPOCH
    assert payload["tags"]["external_id"] == EVENT_ID


def test_a_batch_is_an_object_of_events_in_their_order() -> None:
    alerts = [decided(f"message {index}") for index in range(3)]
    payload = msgspec.json.decode(body_of(alerts, "onprem", batch=True))
    assert [alert["description"] for alert in payload["events"]] == ["message 0", "message 1", "message 2"]


def test_no_secret_and_no_envelope_is_in_a_body() -> None:
    assert b"_mutt" in entry_of("x")
    assert b"_mutt" not in body_of([decided("x")], "onprem", batch=False)


@given(
    st.lists(
        st.sampled_from(
            ["Gi0/1", "eth0", "Vlan", "12", "bond 3", "ge-0/0/1.100:7", "é/1", "İ1/2", ",", "x" * 9, "ens1s2"]
        )
    )
)
def test_an_interface_is_found_in_bytes_as_in_text(words: list[str]) -> None:
    message = " ".join(words)
    found = INTERFACE_NAME.search(message)
    expected = "" if found is None else found.group("instance").lower()
    assert interface_of(decided(message).event, interface_span(message.encode())) == expected


@given(
    st.lists(
        st.sampled_from(["Gi0/1", "eth9", "10", "0x", "0X1f", "é/1", "link", "_up", "down2", "3full", "_", "'", " "])
    ).map("".join)
    | st.text("019xX ethGilnkupdow/._-é'", max_size=60)
)
def test_messages_that_differ_in_digits_only_are_read_alike(message: str) -> None:
    data = message.encode()
    expected = (pattern_of(message).hash, names_state(data), interface_span(data))
    assert moogsoft._known.__wrapped__(digits_alike(data)) == moogsoft._message(message) == expected


def test_a_long_message_is_read_but_not_remembered() -> None:
    before = moogsoft._known.cache_info().currsize
    long = decided("x" * REMEMBERED_MAX + " eth7 went down for 3 s")
    assert signature(long).endswith(":eth7")
    assert moogsoft._known.cache_info().currsize == before
