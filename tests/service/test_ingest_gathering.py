"""Single events that come together are read together, and each is answered as if it had come alone."""

import json
import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutt.bodies import is_batch_type, is_one_object
from mutt.intake import Accepted, Intake, Limits, Receipt
from mutt.records import RecordError
from services.ingestor.gathering import Gathering
from services.ingestor.head import Head
from tests.harness.processes import StartService
from tests.harness.waiting import eventually
from tests.service.ingest_api import Wire, counted, event, queued, request

REQUIRED = ("timestamp", "message", "hostname")
NOW = 1_790_000_000_000_000  # µs
RECEIPT = Receipt(NOW)

values: Any = st.one_of(
    st.text(max_size=8),
    st.integers(-2, 9),
    st.floats(allow_nan=False),
    st.none(),
    st.sampled_from(["2026-09-21T12:00:00Z", " ", "err", "\x00", "1.3.6", "5f0c7c5e-8f0e-4c8b-9f0a-6d2f7d0a9b11", []]),
)
names = st.sampled_from([*REQUIRED, "source", "syslog_severity", "trap_oid", "correlation_id", "_mutt", "other"])
plain = {"timestamp": "2026-09-21T12:00:00Z", "message": "m", "hostname": "h"}
bodies = st.one_of(
    st.dictionaries(names, values, max_size=4).map(lambda fields: json.dumps({**plain, **fields}).encode()),
    st.sampled_from(
        [b"{}", b"{]}", b'{"a":1 }', b'{"a":"\xff"}', b'{"message":"\\u0000","hostname":"h","timestamp":1}']
    ),
)


def intake() -> Intake:
    return Intake(REQUIRED, Limits(), bytes)  # entropy that is the same each time


def alone(body: bytes) -> Accepted | None:
    try:
        return intake().read(body, "", "application/json", RECEIPT).accepted[0]
    except RecordError:
        return None


def without_count(event: Accepted | None) -> str:
    """Return it with all new ids the same: those of events that are read together count on."""
    return re.sub("(?<=-7000-8000-000000000)[0-9a-f]{3}", "000", repr(event))


@given(st.lists(bodies.filter(is_one_object), max_size=5))
def test_what_is_read_together_is_what_each_would_be_by_itself(together: list[bytes]) -> None:
    for body, read in zip(together, intake().read_alone(together, RECEIPT), strict=True):
        assert read is None or without_count(read) == without_count(alone(body))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"content-encoding", b"gzip"),
        (b"content-type", b"application/x-ndjson"),
        (b"x-correlation-id", b"5f0c7c5e-8f0e-4c8b-9f0a-6d2f7d0a9b11"),
        (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ],
)
def test_a_head_that_says_something_of_its_event_is_not_silent(name: bytes, value: bytes) -> None:
    assert name != b"content-type" or is_batch_type(value.decode())
    assert not Head([(name, value)], deprecated=False, keep_alive=True).is_silent
    assert Head([(b"content-type", b"application/json")], deprecated=False, keep_alive=True).is_silent


class Asked:
    """A request that notes what becomes of it."""

    def __init__(self) -> None:
        self.read_by_itself: list[bytes] = []
        self.held: list[Accepted] = []
        self.failures: list[Exception] = []

    def read(self, body: bytes) -> None:
        self.read_by_itself.append(body)

    def hold(self, event: Accepted) -> None:
        self.held.append(event)

    def fail(self, error: Exception) -> None:
        self.failures.append(error)


MADE = Accepted(b"{}", "id", "id")


async def test_requests_of_one_round_are_read_in_one_pass() -> None:
    passes: list[int] = []

    def read(together: Any, _receipt: Receipt) -> list[Accepted | None]:
        passes.append(len(together))
        return [MADE if body != b"odd" else None for body in together]

    pushes: list[Sequence[Any]] = []
    gathering = Gathering(read, lambda *requests: pushes.append(requests), lambda: NOW, lambda: True)
    asked = [Asked() for _ in range(3)]
    for each, body in zip(asked, (b"1", b"odd", b"3"), strict=True):
        gathering.add(each, body)
    await eventually(lambda: bool(pushes), "the round")

    assert (passes, pushes) == ([3], [(asked[0], asked[2])])
    assert [(each.read_by_itself, each.held) for each in asked] == [([], [MADE]), ([b"odd"], []), ([], [MADE])]


async def test_requests_that_cannot_be_pushed_are_told_so() -> None:
    def push(*_requests: Any) -> None:
        raise ZeroDivisionError

    gathering = Gathering(lambda bodies, _: [MADE for _ in bodies], push, lambda: NOW, lambda: True)
    asked = [Asked() for _ in range(2)]
    for each in asked:
        gathering.add(each, b"body")
    await eventually(lambda: bool(asked[1].failures), "the round")

    assert [[type(error) for error in each.failures] for each in asked] == [[ZeroDivisionError]] * 2


@pytest.mark.parametrize("may", [True, False])
async def test_where_they_cannot_be_read_together_each_is_read_by_itself(may: bool) -> None:
    def fail(_together: Any, _receipt: Receipt) -> list[Accepted | None]:
        raise ZeroDivisionError

    gathering = Gathering(fail, lambda *_: None, lambda: NOW, lambda: may)
    asked = [Asked() for _ in range(2)]
    for each in asked:
        gathering.add(each, b"body")
    await eventually(lambda: bool(asked[1].read_by_itself), "the round")

    assert [(each.read_by_itself, each.held) for each in asked] == [([b"body"], [])] * 2


def test_senders_that_repeat_themselves_at_once_get_each_its_own_answer(
    start_service: StartService, redis_url: str
) -> None:
    ingestor = start_service("ingestor")
    made = [event(n=number) for number in range(30)]
    for number in (7, 19):
        made[number]["hostname"] = ""
    wires = [Wire(ingestor) for _ in made]
    try:
        for rounds in range(3):  # from the second on the heads are known
            for wire, one in zip(wires, made, strict=True):
                wire.send(request(json.dumps(one | {"round": rounds}).encode()))
            replies = [wire.read() for wire in wires]
            assert [status for status, _, _ in replies] == [400 if number in {7, 19} else 200 for number in range(30)]
            ids = {
                json.loads(body)["event_id"]: number
                for number, (status, _, body) in enumerate(replies)
                if status == 200
            }
            stored = {found.envelope.event_id: found.fields["n"] for found in queued(redis_url)}
            assert ids.items() <= stored.items()
    finally:
        for wire in wires:
            wire.__exit__()
    assert len(queued(redis_url)) == counted(ingestor, "") == 84
    assert counted(ingestor, "validation") == 6
