import json
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from mutt.intake import Intake, Limits, Receipt
from mutt.members import MOST_LEARNED, Event, Members

GOOD = {"timestamp": "2026-11-24T22:09:59Z", "message": "down", "hostname": "sw1"}


def raw_of(**more: object) -> bytes:
    return json.dumps(GOOD | more).encode()


def decoded(members: Members, raw: bytes) -> tuple[Event | None, bool]:
    """Return the event, and whether all of its members were known."""
    try:
        return members.decode(raw), True
    except msgspec.ValidationError as error:
        return members.decode_new(raw, error), False


def test_the_members_of_an_event_are_known_from_the_second_time_on() -> None:
    members = Members(())
    raw = raw_of(site="a", **{"k8s.pod/name": {"x": [1]}}, _mutt=1, source="syslog")

    (first, was_known), (second, is_known) = decoded(members, raw), decoded(members, raw)

    assert (was_known, is_known) == (False, True)
    assert first is not None
    assert second is not None
    for name in ("timestamp", "message", "hostname", "source", "syslog_severity", "mutt", "correlation_id"):
        assert getattr(first, name) == getattr(second, name)


@pytest.mark.parametrize("name", ["", "x" * 65, "é", 'a"b', "\x00", "\\"])
def test_an_unusual_name_is_decoded_and_not_learned(name: str) -> None:
    members = Members(())

    for _ in range(2):
        event, is_known = decoded(members, raw_of(**{name: 1}))
        assert event is not None
        assert not is_known


def test_no_more_than_some_names_are_learned_and_events_with_others_are_decoded_still() -> None:
    members = Members(())
    for number in range(2 * MOST_LEARNED):
        assert decoded(members, raw_of(**{f"name{number}": number}))[0] is not None

    known = [decoded(members, raw_of(**{f"name{number}": number}))[1] for number in range(2 * MOST_LEARNED)]

    assert known == [True] * MOST_LEARNED + [False] * MOST_LEARNED


def test_events_are_taken_the_same_once_no_more_names_are_learned() -> None:
    intake, receipt = Intake(("message",), Limits(), bytes), Receipt(1795558200_000000)
    raws = [raw_of(**{f"name{number}": number}) for number in range(MOST_LEARNED + 10)]
    raws += [raw_of(source=None, other=1), raw_of(other=1).replace(b"1}", b"1e999}"), raw_of(other="x"), raw_of()]

    for _ in range(2):
        assert [intake.accept(raw, receipt) == intake.accept_carefully(raw, receipt) for raw in raws] == [True] * len(
            raws
        )
        taken = intake.read(b"[" + b",".join(raws) + b"]", "", "", receipt)
        assert [len(made.entry) for made in taken.accepted] == [
            len(intake.accept_carefully(raw, receipt).entry) for raw in raws
        ]


def test_a_number_that_no_reader_can_hold_is_refused_in_a_new_member_and_in_a_known_one() -> None:
    members = Members(())
    raw = raw_of(size=1).replace(b"1}", b"1e999}")

    assert decoded(members, raw)[0] is None
    assert decoded(members, raw_of(size=1))[0] is not None
    with pytest.raises(msgspec.DecodeError, match="out of range"):
        members.decode(raw)


@pytest.mark.parametrize("value", [None, 1, ["a"]])
@pytest.mark.parametrize("name", ["timestamp", "message", "hostname", "source"])
def test_a_member_of_another_kind_is_no_plain_event_whatever_else_is_new(name: str, value: object) -> None:
    assert decoded(Members(()), raw_of(**{name: value})) == (None, False)
    assert decoded(Members(()), raw_of(site=1, **{name: value})) == (None, False)


def test_threads_learn_at_once() -> None:
    members = Members(())
    raws = [raw_of(**{f"name{number % MOST_LEARNED}": 1}) for number in range(2000)]

    with ThreadPoolExecutor(4) as threads:
        assert all(event for event, _ in threads.map(lambda raw: decoded(members, raw), raws))

    assert all(decoded(members, raw)[1] or decoded(members, raw)[1] for raw in raws)


@pytest.mark.parametrize("name", ['a"b', "é", "site", "absent", "mutt", "_mutt", "learned_0"])
def test_a_required_member_may_have_any_name(name: str) -> None:
    intake = Intake(("message", name), Limits(), bytes)
    receipt = Receipt(1795558200_000000)

    taken = intake.read(b"[" + raw_of(**{name: "x"}) + b"," + raw_of(more=1) + b"]", "", "", receipt)

    assert (len(taken.accepted), [item.error for item in taken.rejected]) == (1, [f"{name} is missing or empty"])
