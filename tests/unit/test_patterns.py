"""Masking: stable when only variable parts change, bounded, linear in time."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mutt import patterns
from mutt.patterns import MESSAGE_MAX, TEMPLATE_MAX, pattern_of, stretches, template

numbers = st.one_of(st.integers(-(10**18), 10**18).map(str), st.floats(0, 1e6).map("{:.3f}".format))
octets = st.integers(0, 255).map(str)
ipv4 = st.tuples(octets, octets, octets, octets).map(".".join)
ipv6 = st.ip_addresses(v=6).map(str).filter(lambda text: text != "::")
digits = st.sampled_from("0123456789abcdefABCDEF")
macs = st.one_of(
    st.tuples(*[st.tuples(digits, digits).map("".join)] * 6).flatmap(
        lambda pairs: st.sampled_from([":".join(pairs), "-".join(pairs)])
    ),
    st.lists(digits, min_size=12, max_size=12).map(
        lambda found: ".".join("".join(found[i : i + 4]) for i in (0, 4, 8))
    ),
)
hexes = st.one_of(st.lists(digits, min_size=8, max_size=40).map("".join), st.integers(0, 2**64).map("0x{:x}".format))
quoted = st.text(st.characters(exclude_characters="\"'", exclude_categories=["Cs"]), max_size=60).flatmap(
    lambda text: st.sampled_from([f'"{text}"'])
)
interfaces = st.one_of(
    st.tuples(
        st.sampled_from(["Gi", "GigabitEthernet", "TenGigE", "xe-", "ge-", "Serial", "Ethernet", "Te", "et-"]),
        st.lists(st.integers(0, 99).map(str), min_size=2, max_size=3).map("/".join),
        st.sampled_from(["", ".100", ":1", ".4094"]),
    ).map("".join),
    st.tuples(
        st.sampled_from(["eth", "bond", "vlan", "Po", "lo", "ae", "tunnel", "ens"]), st.integers(0, 4094).map(str)
    ).map("".join),
)
KINDS = {
    "number": numbers,
    "ipv4": ipv4,
    "ipv6": ipv6,
    "mac": macs,
    "hex": hexes,
    "quoted": quoted,
    "interface": interfaces,
    "uuid": st.uuids().map(str),
}
words = st.sampled_from(
    ["%LINK-UPDOWN:", "session", "from", "peer", "changed state to", "timeout (", "),", "user", "="]
)


@st.composite
def two_of_a_kind(draw: st.DrawFn) -> tuple[str, str]:
    first, second = [], []
    for _ in range(draw(st.integers(1, 6))):
        first.append(word := draw(words))
        second.append(word)
        kind = KINDS[draw(st.sampled_from(sorted(KINDS)))]
        first.append(draw(kind))
        second.append(draw(kind))
    return " ".join(first), " ".join(second)


@given(two_of_a_kind())
@settings(max_examples=500, deadline=None)
def test_messages_that_differ_in_variable_parts_only_have_one_pattern(messages: tuple[str, str]) -> None:
    assert template(messages[0]) == template(messages[1])
    assert pattern_of(messages[0]) == pattern_of(messages[1])


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_has_a_bounded_pattern(message: str) -> None:
    found = pattern_of(message)
    assert len(found.template) <= TEMPLATE_MAX
    assert len(found.hash) == 16
    assert set(found.hash) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Interface GigabitEthernet0/17, changed state to down", "Interface <if>, changed state to down"),
        ("Interface Gi 1/0/1.200 down", "Interface Gi <num> down"),
        ("sshd[2817]: Failed password for root from 192.0.2.7 port 51234 ssh2",
         "sshd[<num>]: Failed password for root from <ip> port <num> ssh<num>"),
        ("peer 2001:db8::1%eth0 lost", "peer <ip> lost"),
        ("learned 00:1b:44:11:3a:b7 and 001b.4411.3ab7", "learned <mac> and <mac>"),
        ("at 12:34:56 took 1.5 s, -3 dB", "at <num> took <num> s, <num> dB"),
        ('cannot open "/var/log/x y": errno=13', "cannot open <str>: errno=<num>"),
        ("user 'bob' can't log in", "user <str> can't log in"),
        ("commit a1b2c3d and deadbeef", "commit <num> and <num>"),
        ("request 123e4567-e89b-12d3-a456-426614174000 failed", "request <uuid> failed"),
        ("std::string is no address", "std::string is no address"),
        ("  spaces \t and\nlines ", "spaces and lines"),
        ("", ""),
    ],
)  # fmt: skip
def test_what_is_masked(message: str, expected: str) -> None:
    assert template(message) == expected


def test_a_longer_variable_part_moves_nothing_across_the_cut() -> None:
    tail = " word" * 200
    assert template("id 1" + tail) == template("id " + "9" * 50 + tail)


def test_different_messages_have_different_patterns() -> None:
    assert pattern_of("fan failed").hash != pattern_of("fan recovered").hash


@pytest.mark.parametrize(
    "unit", ['"', "'", "a", "0", "f", ":", "::", "a:", "1.", "a-", "eth", "0/", "ab12-", " 'x", "0x", "ge-0/0", "\n "]
)
def test_hostile_repetition_takes_no_longer_than_it_is_long(unit: str) -> None:
    message = unit * (MESSAGE_MAX // len(unit)) + "!"
    started = time.process_time()
    template(message)
    assert time.process_time() - started < 0.1


@pytest.mark.parametrize(
    "message",
    [
        'kernel: oom "worker 7" used 12kB  of eth0, from 10.0.0.1',
        "*apfMsConnTask_26: %APF-6-RADIUS_OVERRIDE: client 3e:2e:76:2b:c2:b9 assigned to VLAN 2684",
        " user='x y' deadbeefdead 0x1f\tGi0/1: up ",
        "nothing varies",
        "",
    ],
)
def test_the_stretches_of_a_message_are_all_of_it_and_mask_what_its_template_masks(message: str) -> None:
    found = list(stretches(message))
    assert "".join(text for text, _ in found) == message
    masked = "".join("<>" if varies else text for text, varies in found)
    assert " ".join(masked.split()) == re.sub("<[a-z]+>", "<>", template(message))


@given(st.lists(st.text(alphabet="a1f:.-/xé ", max_size=80), max_size=30))
def test_a_word_is_masked_alike_however_often_it_comes_and_whatever_is_forgotten(words: list[str]) -> None:
    message = " ".join(words)
    first = template(message)
    assert template(message) == first
    patterns._words.clear()
    patterns._words.update({f"filler {number}": "" for number in range(patterns.WORDS_REMEMBERED)})
    assert template(message) == first
    assert len(patterns._words) <= patterns.WORDS_REMEMBERED


@given(
    st.one_of(
        st.lists(st.text(alphabet="0189afxX:.-/'\"é ", max_size=40), max_size=16).map(" ".join),
        st.lists(st.sampled_from(["0x", "0X1f", "09", "eth0", "Gi0/1", "::", "1.0.0.1", "é", "٣", "'", "\ud800"])).map(
            "".join
        ),
        two_of_a_kind().map("".join),
    )
)
@settings(deadline=None)
def test_messages_whose_digits_are_made_alike_keep_their_template(message: str) -> None:
    assert pattern_of(message).template == template(message)


def test_no_more_messages_are_remembered_than_are_allowed() -> None:
    patterns._known.clear()
    for number in range(patterns.MESSAGES_REMEMBERED + 5):
        letters = "".join(chr(ord("g") + int(digit)) for digit in str(number))
        assert pattern_of(f"user {letters} 17").template == f"user {letters} <num>"
    assert len(patterns._known) == 5
    pattern_of("long " * patterns.REMEMBERED_MAX)
    assert len(patterns._known) == 5
