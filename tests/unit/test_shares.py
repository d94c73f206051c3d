"""Shares: whose an address uses, and how much of it a sender may have beside others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutt.shares import has_room, is_pressed, limit, may_hold, sender_of

caps = st.integers(8, 10**6)
events = st.floats(0, 10**7)


@pytest.mark.parametrize(
    ("address", "sender"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:aaaa::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_an_address_uses_its_own_share_and_an_ipv6_address_that_of_its_network(address: str, sender: str) -> None:
    assert sender_of(address) == sender


@given(caps, events)
def test_a_sender_alone_may_fill_the_queue(cap: int, taken: float) -> None:
    assert limit(cap, taken, taken, 1) == cap


@given(caps, events, st.integers(2, 100))
def test_who_had_nothing_finds_room_that_nobody_at_its_share_may_use(cap: int, others: float, senders: int) -> None:
    assert limit(cap, 0, others, senders) == cap
    equal = limit(cap, 10.0, 10.0, senders)
    assert cap * 7 // 8 <= equal <= cap - cap // 8


@given(caps, events, events, events, st.integers(2, 100))
def test_whoever_had_more_may_fill_less_and_never_less_than_three_quarters(
    cap: int, less: float, more: float, share: float, senders: int
) -> None:
    less, more = sorted((less, more))
    assert cap >= limit(cap, less, share, senders) >= limit(cap, more, share, senders) >= cap * 3 // 4


@given(caps, events, events, st.integers(1, 100), st.integers(0, 10**6))
def test_shares_are_asked_for_before_any_of_them_is_used_up(
    cap: int, taken: float, share: float, senders: int, depth: int
) -> None:
    if depth >= limit(cap, taken, share, senders):
        assert is_pressed(depth, cap)


@given(caps, st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_batch_leaves_the_reserve_alone_unless_it_could_never_be_taken_otherwise(
    cap: int, depth: int, batch: int
) -> None:
    most = limit(cap, 100, 100, 2)
    if has_room(depth, batch, most) and depth + batch > most:
        assert depth < most / 2
    assert has_room(0, batch, most)


@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(1, 1000))
def test_beside_others_a_sender_holds_no_more_than_is_free_and_alone_it_holds_all(
    held: int, others: int, most: int
) -> None:
    both = held + others
    assert may_hold(held, both, most, 2) == (held <= most - both and both <= most)
    assert may_hold(held, held, most, 1) == (held <= most)
