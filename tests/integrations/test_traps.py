"""What becomes of a trap's text, without a process."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from integrations.senders.trap_names import Names
from integrations.senders.trap_spool import received, without_community
from integrations.senders.traps import EVENT_MOST, TrapError, event, parse, record, severity
from mutt import moogsoft
from mutt.events import DecidedEvent, decided_entry, decode_decided, decode_entry
from mutt.intake import Intake, Limits, Receipt
from mutt.pairs import match
from tests.integrations.stage import INTEGRATIONS

MOMENT = 1_795_558_200_123_456_789  # 2026-11-24T22:10:00.123456Z
UMLAUT = "ä".encode()
TRACE = "5f0c7c5e-8f0e-4c8b-9f0a-6d2f7d0a9b11"
HEAD = b"localhost\nUDP: [10.0.0.1]:50779->[127.0.0.1]:162\n.1.3.6.1.2.1.1.3.0 12345\n"


class NoNames(Names):
    """The built-in names alone."""

    def __init__(self) -> None:
        super().__init__()
        self._program = None


def text_of(trap_oid: str, *varbinds: str, head: bytes = HEAD) -> bytes:
    lines = [f".1.3.6.1.6.3.1.1.4.1.0 {trap_oid}", *varbinds]
    return head + "\n".join(lines).encode() + b"\n"


def link(trap_oid: str, status: int, interface: int = 3) -> bytes:
    columns = ((1, interface), (7, 1), (8, status))
    return text_of(trap_oid, *(f".1.3.6.1.2.1.2.2.1.{column}.{interface} {value}" for column, value in columns))


def made(text: bytes, **severities: int) -> dict[str, Any]:
    return event(parse(text), MOMENT, TRACE, NoNames(), severities)


def entry(text: bytes) -> bytes:
    intake = Intake(("timestamp", "message", "hostname"), Limits(), bytes)
    return intake.accept(record(made(text)), Receipt(MOMENT // 1000)).entry


def queued(text: bytes) -> Any:
    return decode_entry(entry(text))


def decided(text: bytes) -> DecidedEvent:
    how: dict[str, Any] = {"handling": "Page_and_ticket", "team": "NETO", "rule_id": 7, "rule_version": 1}
    return decode_decided(decided_entry(entry(text), environment="prod", **how))


def hexed(data: bytes) -> str:
    """Write bytes as snmptrapd does with -Ox: sixteen a line."""
    rows = [data[start : start + 16] for start in range(0, len(data), 16)]
    return '"' + "\n".join("".join(f"{byte:02X} " for byte in row) for row in rows) + '"'


def test_a_link_that_comes_back_clears_the_one_that_went() -> None:
    down, up = queued(link(".1.3.6.1.6.3.1.1.5.3", 2)), queued(link(".1.3.6.1.6.3.1.1.5.4", 1))
    problem, clear = match(down), match(up)
    assert problem is not None
    assert clear is not None
    assert (problem.family, problem.instance, problem.is_clear) == (clear.family, "3", False)
    assert clear.is_clear
    assert clear.instance == "3"
    other = match(queued(link(".1.3.6.1.6.3.1.1.5.3", 2, interface=4)))
    assert other is not None
    assert other.instance == "4"
    down_alert, up_alert = decided(link(".1.3.6.1.6.3.1.1.5.3", 2)), decided(link(".1.3.6.1.6.3.1.1.5.4", 1))
    assert moogsoft.signature(down_alert) == moogsoft.signature(up_alert) == "localhost::snmp::link:3"
    assert (moogsoft.severity(down_alert), moogsoft.severity(up_alert)) == (4, 0)
    # A rule that forwards the problem by its text forwards the clear too.
    wanted = moogsoft.problem_of(up)
    assert wanted is not None
    assert (wanted.message, wanted.trap_oid) == (down.message, down.trap_oid)


def test_the_same_file_gives_the_same_bytes() -> None:
    text = link(".1.3.6.1.6.3.1.1.5.3", 2)
    assert record(made(text)) == record(made(text))


def test_an_event_says_when_and_whose() -> None:
    seen = made(link(".1.3.6.1.6.3.1.1.5.3", 2))
    assert seen["timestamp"] == "2026-11-24T22:10:00.123456Z"
    assert seen["hostname"] == "localhost"
    assert seen["sender_address"] == "10.0.0.1"
    assert seen["syslog_severity"] == 3
    assert seen["message"] == "linkDown: ifIndex.3=3, ifAdminStatus.3=up(1), ifOperStatus.3=down(2)"
    assert received("01795558200123456789-5f0c7c5e-8f0e-4c8b-9f0a-6d2f7d0a9b11.trap") == (MOMENT, TRACE)
    assert datetime.fromisoformat(seen["timestamp"]).astimezone(UTC).year == 2026


@pytest.mark.parametrize(
    ("host", "agent", "expected"),
    [
        (b"router1.example", "10.0.0.1", "router1.example"),
        (b"router1.example", "10.0.0.2", "10.0.0.2"),  # passed on by another
        (b"router1.example", "0.0.0.0", "router1.example"),  # noqa: S104
        (b"<UNKNOWN>", "10.0.0.1", "10.0.0.1"),
        (b"UDP: [10.0.0.1]:1->[127.0.0.1]:162", "10.0.0.1", "10.0.0.1"),  # with -n
    ],
)
def test_a_trap_is_of_the_device_that_it_speaks_of(host: bytes, agent: str, expected: str) -> None:
    text = text_of(".1.3.6.1.6.3.1.1.5.1", f".1.3.6.1.6.3.18.1.3.0 {agent}", head=HEAD.replace(b"localhost", host))
    assert made(text)["hostname"] == expected


def test_the_operators_severities_win_by_the_longest_prefix() -> None:
    assert severity("1.3.6.1.6.3.1.1.5.3", {}) == 3
    assert severity("1.3.6.1.6.3.1.1.5.3", {"1.3.6.1.6.3": 6}) == 6
    assert severity("1.3.6.1.6.3.1.1.5.3", {"1.3.6.1.6.3": 6, "1.3.6.1.6.3.1.1.5.3": 1}) == 1
    assert severity("1.3.6.1.4.1.9.1", {}) is None
    assert severity("1.3.6.1.4.1.99", {"1.3.6.1.4.1.9": 2}) is None


@given(value=st.binary(max_size=200), text=st.text(max_size=100))
def test_no_value_can_pass_for_a_varbind_or_get_lost(value: bytes, text: str) -> None:
    own = ".1.3.6.1.4.1.99999"
    trap = parse(text_of(f"{own}.0.1", f"{own}.1 {hexed(value)}", f"{own}.2 {hexed(text.encode())}", f"{own}.3 7"))
    names = [oid for oid, _ in trap.varbinds]
    assert names == ["1.3.6.1.2.1.1.3.0", "1.3.6.1.6.3.1.1.4.1.0", *(f"1.3.6.1.4.1.99999.{n}" for n in (1, 2, 3))]
    assert trap.varbinds[-1][1] == 7
    kept = trap.first("1.3.6.1.4.1.99999.1")
    assert kept in {value.hex(":"), value.removesuffix(b"\0").decode(errors="replace")}
    json.loads(record(event(trap, MOMENT, TRACE, NoNames(), {})))


@given(community=st.binary(max_size=100), value=st.binary(max_size=100))
def test_a_community_is_left_out_and_nothing_else(community: bytes, value: bytes) -> None:
    before, after = f".1.3.6.1.4.1.99999.1 {hexed(value)}", ".1.3.6.1.6.3.1.1.4.3.0 .1.3.6.1.4.1.99999"
    whole = text_of(".1.3.6.1.6.3.1.1.5.1", before, f".1.3.6.1.6.3.18.1.4.0 {hexed(community)}", after)
    assert without_community(whole) == text_of(".1.3.6.1.6.3.1.1.5.1", before, after)


@settings(max_examples=15)
@given(sizes=st.lists(st.integers(0, 70_000), min_size=1, max_size=6))
def test_an_event_fits_whatever_its_values(sizes: list[int]) -> None:
    varbinds = [f".1.3.6.1.4.1.99999.{n} {hexed(UMLAUT * (size // 2))}" for n, size in enumerate(sizes)]
    assert len(record(made(text_of(".1.3.6.1.6.3.1.1.5.1", *varbinds)))) <= EVENT_MOST


@pytest.mark.parametrize("oid", ["18.1.3.0", "1.1.4.3.0", "1.1.4.1.0"], ids=["agent", "enterprise", "trap"])
@pytest.mark.parametrize("value", [UMLAUT * 30_000, bytes(25_000)], ids=["text", "bytes"])
def test_an_event_fits_whatever_stands_where_an_oid_or_an_address_belongs(oid: str, value: bytes) -> None:
    lines = {"1.1.4.1.0": ".1.3.6.1.6.3.1.1.5.1", oid: hexed(value)}
    text = HEAD + "".join(f".1.3.6.1.6.3.{name} {value}\n" for name, value in lines.items()).encode()
    assert len(record(made(text))) <= EVENT_MOST


@pytest.mark.parametrize("text", [b"", b"host\n", b"a\nb\nIF-MIB::ifIndex.3 3\n", b"a\nb\n.1.3.6.1.2.1.1.3.0 1\n"])
def test_what_is_no_trap_is_said_so(text: bytes) -> None:
    with pytest.raises(TrapError):
        parse(text)


def handle(spool: Path, text: bytes, limit: int | None = None) -> "subprocess.CompletedProcess[bytes]":
    """Run the handler; `limit` is the size in bytes at which its files cannot grow any more, as on a full disk."""
    size = [] if limit is None else ["prlimit", f"--fsize={limit}"]
    command = [sys.executable, "-IBS", str(INTEGRATIONS / "snmptrapd" / "mutt-trap"), "--spool", str(spool)]
    return subprocess.run([*size, *command], input=text, capture_output=True, check=False)


def test_a_full_disk_is_said_so_and_keeps_no_half_of_a_trap(tmp_path: Path) -> None:
    done = handle(tmp_path / "spool", link(".1.3.6.1.6.3.1.1.5.3", 2), limit=16)
    assert done.returncode == 1
    assert b"a trap is lost, since" in done.stderr
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_spool_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "spool").write_bytes(b"a file")
    done = handle(tmp_path / "spool", link(".1.3.6.1.6.3.1.1.5.3", 2))
    assert done.returncode == 1
    assert b"a trap is lost, since" in done.stderr
