"""Which held alerts may be sent now: order within a problem and its clear, no order beside."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from mutt.events import decode_decided
from mutt.ids import uuid7
from services.moog_forwarder.flight import BODY_MOST, GRACE, Flight, Item
from tests.unit.moog_events import entry_of

NUMBERS = iter(range(1, 1 << 40))


def admit(flight: Flight, message: str) -> Item:
    number = next(NUMBERS)
    entry = entry_of(message, event_id=uuid7(number, number.to_bytes(10)))
    return flight.admit(entry, decode_decided(entry), 0)


def link(port: int, state: str) -> str:
    return f"Interface Gi0/{port}, changed state to {state}"


def messages(groups: Sequence[Sequence[Item]]) -> list[list[str]]:
    return [[item.event.event.message for item in group] for group in groups]


def test_alerts_without_a_clear_go_side_by_side() -> None:
    flight = Flight("onprem")
    for index in range(3):
        admit(flight, f"alert {index}")
    assert flight.ready(1) == 3
    assert messages(flight.take(5, 1)) == [["alert 0"], ["alert 1"], ["alert 2"]]
    assert flight.ready(1) == 0


def test_a_clear_waits_until_its_problem_has_ended() -> None:
    flight = Flight("onprem")
    problem = admit(flight, link(1, "down"))
    admit(flight, link(1, "up"))
    admit(flight, link(2, "down"))
    assert flight.ready(1) == 2
    assert flight.blocked == 1
    assert messages(flight.take(3, 1)) == [[link(1, "down")], [link(2, "down")]]
    assert flight.take(1, 1) == []
    flight.release(problem)
    assert messages(flight.take(1, 1)) == [[link(1, "up")]]


def test_a_batch_holds_one_alert_of_a_key() -> None:
    flight = Flight("onprem")
    for state in ("down", "up", "down"):
        admit(flight, link(1, state))
    admit(flight, "other")
    assert messages(flight.take(9, 10)) == [[link(1, "down"), "other"]]


def test_an_alert_that_goes_alone_has_no_company() -> None:
    flight = Flight("onprem")
    admit(flight, "first")
    admit(flight, "alone").alone = True
    admit(flight, "third")
    assert messages(flight.take(9, 10)) == [["first", "third"], ["alone"]]


def test_a_body_stays_below_its_limit() -> None:
    flight = Flight("onprem")
    large = "x" * (BODY_MOST // 5)  # told twice: as the description and in the event
    for _ in range(4):
        admit(flight, large)
    assert [len(group) for group in flight.take(9, 10)] == [2, 2]


def test_the_same_bytes_are_one_alert() -> None:
    flight = Flight("onprem")
    entry = entry_of("twice")
    first = flight.admit(entry, decode_decided(entry), 0)
    assert flight.admit(entry, decode_decided(entry), 0) is first
    assert first.copies == 2
    assert len(flight) == 1
    assert len(flight.take(5, 1)) == 1


def test_nothing_of_its_key_overtakes_an_alert_that_waits_for_its_retry() -> None:
    flight = Flight("onprem")
    problem = admit(flight, link(1, "down"))
    flight.take(1, 1)
    flight.defer(problem, until=10.0)
    flight.release(problem)
    flight.leave(problem)
    clear = admit(flight, link(1, "up"))
    admit(flight, link(2, "down"))
    assert flight.take_overtaking(now=4.0) == [(clear, 6.0)]
    again = flight.admit(problem.entry, problem.event, 0)
    assert flight.take_overtaking(now=9.0) == []
    assert again in [item for group in flight.take(5, 1) for item in group]


def test_a_clear_waits_until_the_problem_that_was_due_has_come_back_and_ended() -> None:
    flight = Flight("onprem")
    problem = admit(flight, link(1, "down"))
    flight.take(1, 1)
    flight.defer(problem, until=10.0)
    flight.release(problem)
    flight.leave(problem)
    clear = admit(flight, link(1, "up"))
    assert flight.take_overtaking(now=10.5) == [(clear, 0.0)]
    flight.leave(clear)
    again = flight.admit(problem.entry, problem.event, 0)
    clear = flight.admit(clear.entry, clear.event, 0)
    assert flight.take_overtaking(now=10.5) == [(clear, 0.0)]
    assert flight.take(5, 1) == [[again]]
    flight.pass_by(again)
    flight.release(again)
    flight.leave(clear)
    clear = flight.admit(clear.entry, clear.event, 0)
    assert flight.take_overtaking(now=10.5) == []
    assert flight.take(5, 1) == [[clear]]


def test_a_wait_that_is_over_holds_nobody() -> None:
    flight = Flight("onprem")
    problem = admit(flight, link(1, "down"))
    flight.take(1, 1)
    flight.defer(problem, until=10.0)
    flight.release(problem)
    admit(flight, link(1, "up"))
    assert flight.take_overtaking(now=10.0 + GRACE) == []


def test_what_is_exclusive_is_known_as_long_as_it_is_held() -> None:
    flight = Flight("onprem")
    item = admit(flight, "probe")
    item.exclusive = True
    assert flight.is_exclusive
    flight.leave(item)
    assert not flight.is_exclusive


@given(
    st.lists(st.tuples(st.integers(1, 3), st.sampled_from(["down", "up", "noise"])), max_size=30),
    st.integers(1, 4),
    st.integers(1, 5),
)
def test_each_key_is_sent_in_its_order_and_everything_is_sent_once(
    arrivals: list[tuple[int, str]], requests: int, size: int
) -> None:
    flight = Flight("onprem")
    admitted = [admit(flight, f"noise {port}" if state == "noise" else link(port, state)) for port, state in arrivals]
    sent: list[Item] = []
    while groups := flight.take(requests, size):
        for group in groups:
            keys = [item.key for item in group if item.key]
            assert len(keys) == len(set(keys))
            assert len(group) <= size
            sent += group
        for group in groups:
            for item in group:
                flight.release(item)
                flight.leave(item)
    assert sorted(item.number for item in sent) == [item.number for item in admitted]
    for key in {item.key for item in admitted if item.key}:
        assert [item.number for item in sent if item.key == key] == [i.number for i in admitted if i.key == key]
    assert len(flight) == 0
