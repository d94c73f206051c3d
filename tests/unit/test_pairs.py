"""Problems and clears: which belong together, of what they speak, and what a clear's problem looked like."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutt import pairs
from tests.unit.moog_events import decided, event_of

LINK_DOWN, LINK_UP = "1.3.6.1.6.3.1.1.5.3", "1.3.6.1.6.3.1.1.5.4"

# (problem, clear, family, instance) as the makers write them.
MESSAGES = [
    (
        "%LINK-3-UPDOWN: Interface GigabitEthernet0/1, changed state to down",
        "%LINK-3-UPDOWN: Interface GigabitEthernet0/1, changed state to up",
        "link",
        "gigabitethernet0/1",
    ),
    (
        "%LINEPROTO-5-UPDOWN: Line protocol on Interface Vlan20, changed state to down",
        "%LINEPROTO-5-UPDOWN: Line protocol on Interface Vlan20, changed state to up",
        "lineproto",
        "vlan20",
    ),
    (
        "%LINK-5-CHANGED: Interface Gi1/0/48, changed state to administratively down",
        "%LINK-3-UPDOWN: Interface Gi1/0/48, changed state to up",
        "link",
        "gi1/0/48",
    ),
    (
        "mib2d[2279]: SNMP_TRAP_LINK_DOWN: ifIndex 507, ifAdminStatus up(1), ifOperStatus down(2), ifName ge-0/0/1",
        "mib2d[2279]: SNMP_TRAP_LINK_UP: ifIndex 507, ifAdminStatus up(1), ifOperStatus up(1), ifName ge-0/0/1",
        "link",
        "507",
    ),
    (
        "%ETHPORT-5-IF_DOWN_LINK_FAILURE: Interface Ethernet1/7 is down (Link failure)",
        "%ETHPORT-5-IF_UP: Interface Ethernet1/7 is up in mode trunk",
        "link",
        "ethernet1/7",
    ),
    (
        "igb 0000:01:00.0 eth0: igb: eth0 NIC Link is Down",
        "igb 0000:01:00.0 eth0: NIC Link is Up 1000 Mbps",
        "link",
        "eth0",
    ),
    ("linkDown trap on ifIndex=3", "linkUp trap on ifIndex=3", "link", "3"),
    ("Port 7 link down", "Port 7 link up", "link", "7"),
    (
        "%BGP-5-ADJCHANGE: neighbor 10.0.0.2 Down BGP Notification sent",
        "%BGP-5-ADJCHANGE: neighbor 10.0.0.2 Up",
        "bgp",
        "10.0.0.2",
    ),
    (
        "%OSPF-5-ADJCHG: Process 1, Nbr 10.9.9.9 on Gi0/0 from FULL to DOWN, Neighbor Down: Dead timer expired",
        "%OSPF-5-ADJCHG: Process 1, Nbr 10.9.9.9 on Gi0/0 from LOADING to FULL, Loading Done",
        "ospf",
        "10.9.9.9 on gi0/0",
    ),
    (
        "%DUAL-5-NBRCHANGE: EIGRP-IPv4 100: Neighbor 10.1.1.2 (Gi0/1) is down: holding time expired",
        "%DUAL-5-NBRCHANGE: EIGRP-IPv4 100: Neighbor 10.1.1.2 (Gi0/1) is up: new adjacency",
        "eigrp",
        "10.1.1.2 (gi0/1)",
    ),
]


@pytest.mark.parametrize(("problem", "clear", "family", "instance"), MESSAGES)
def test_a_problem_and_its_clear_are_one_instance_of_one_family(
    problem: str, clear: str, family: str, instance: str
) -> None:
    down, up = pairs.match(event_of(problem)), pairs.match(event_of(clear))
    assert down is not None
    assert up is not None
    assert (down.family.name, down.instance, down.is_clear) == (family, instance, False)
    assert (up.family.name, up.instance, up.is_clear) == (family, instance, True)


@pytest.mark.parametrize(("problem", "clear", "family", "_instance"), MESSAGES)
def test_the_problem_form_of_a_clear_is_a_problem_of_the_same_family(
    problem: str, clear: str, family: str, _instance: str
) -> None:
    form = pairs.problem_of(event_of(clear))
    assert form is not None
    found = pairs.match(event_of(form.message))
    assert found is not None
    assert (found.family.name, found.is_clear) == (family, False)
    assert pairs.problem_of(event_of(problem)) is None


def test_the_problem_form_reads_as_the_device_would_have_written_it() -> None:
    clear = "SNMP_TRAP_LINK_UP: ifIndex 5, ifAdminStatus up(1), ifOperStatus up(1), ifName ge-0/0/1"
    form = pairs.problem_of(event_of(clear))
    assert form is not None
    assert form.message == "SNMP_TRAP_LINK_DOWN: ifIndex 5, ifAdminStatus up(1), ifOperStatus down(2), ifName ge-0/0/1"


@pytest.mark.parametrize(
    ("up", "down"),
    [
        ("IF-MIB::linkUp seen", "IF-MIB::linkDown seen"),
        ("Interface Gi0/1, changed state to up", "Interface Gi0/1, changed state to down"),
        ("eth0: Link is Up", "eth0: Link is Down"),
        ("LINK UP on port 3", "LINK DOWN on port 3"),
        ("linkUp, trap 1.3.6.1.6.3.1.1.5.4", "linkDown, trap 1.3.6.1.6.3.1.1.5.3"),
    ],
)
def test_the_problem_form_keeps_the_letter_case(up: str, down: str) -> None:
    form = pairs.problem_of(event_of(up))
    assert form is not None
    assert form.message == down


def test_a_clear_trap_has_its_problems_trap_and_every_severity_after_its_own() -> None:
    form = pairs.problem_of(event_of("interface came back", trap_oid=LINK_UP, severity=5))
    assert form is not None
    assert form.trap_oid == LINK_DOWN
    assert form.severities[0] == 5
    assert sorted(form.severities[:-1], key=str) == list(range(8))
    assert form.severities[-1] is None


@pytest.mark.parametrize(
    "fields",
    [
        {"ifIndex": 3},
        {"ifindex": "3"},
        {"IF-MIB::ifIndex.3": "3"},
        {".1.3.6.1.2.1.2.2.1.1.3": "3"},
        {"iso.3.6.1.2.1.2.2.1.1.3": ""},
        {"varbinds": {"1.3.6.1.2.1.2.2.1.1.3": 3}},
        {"varbinds": [{"oid": "1.3.6.1.2.1.2.2.1.1.3", "value": 3}]},
        {"varbinds": [{"name": "IF-MIB::ifIndex.3", "value": "3"}, {"name": "ifDescr.3", "value": "Gi0/3"}]},
        {"varbinds": [{"IF-MIB::ifDescr.3": "Gi0/3"}, {"IF-MIB::ifIndex.3": "3"}]},
    ],
)
def test_a_traps_interface_is_found_however_the_varbinds_are_shaped(fields: dict[str, Any]) -> None:
    found = pairs.match(event_of("trap", trap_oid=LINK_DOWN, fields=fields))
    assert found is not None
    assert (found.family.name, found.instance) == ("link", "3")


@pytest.mark.parametrize(
    "message",
    [
        "System is up and running",
        "Backup completed",
        "disk /dev/sda1 is 98 % full",
        "User admin logged in from 10.0.0.1",
        "Uplink utilisation at 40 %",
        "fan 2 slowed down",
        "powering down",
        "",
    ],
)
def test_other_messages_are_in_no_family(message: str) -> None:
    assert pairs.match(event_of(message)) is None
    assert pairs.problem_of(event_of(message)) is None


@given(st.text(max_size=300) | st.from_regex(r"(link|interface|BGP|neighbor|up|down|[ .:/0-9]){1,30}", fullmatch=True))
def test_any_text_is_read_without_an_error(message: str) -> None:
    event = event_of(message, fields={message: message, "list": [message, {"oid": message}]})
    pairs.match(event)
    pairs.problem_of(event)
    span = pairs.interface_span(event.message.encode())
    assert len(pairs.interface_of(event, span)) <= pairs.MAX_INSTANCE


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_fields_are_read_without_an_error(value: Any) -> None:
    pairs.match(event_of("trap", trap_oid=LINK_DOWN, fields={"varbinds": value, "ifIndex": value}))


def test_every_family_is_told_by_the_same_words_as_the_quick_look() -> None:
    for problem, clear, _family, _instance in MESSAGES:
        for message in (problem, clear):
            assert pairs.match(decided(message).event) is not None
