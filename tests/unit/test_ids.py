import hashlib
import os
import re
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutt.ids import Tails, is_uuid, uuid5_event, uuid7, uuid7_head, uuid7_tails


@given(st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10))
def test_a_new_id_is_a_version_7_uuid_that_holds_its_time(unix_ms: int, random: bytes) -> None:
    made = uuid.UUID(uuid7(unix_ms, random))

    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    assert made.int >> 80 == unix_ms
    assert uuid7(unix_ms, random) == str(made)


@given(st.integers(0, 2**48 - 1), st.lists(st.binary(min_size=10, max_size=10), min_size=1, max_size=5))
def test_ids_made_together_are_those_made_one_by_one(unix_ms: int, random: list[bytes]) -> None:
    together = b"".join(each[begin:end] for begin, end in ((0, 2), (2, 4), (4, 10)) for each in random)

    made = [uuid7_head(unix_ms) + tail for tail in uuid7_tails(together)]

    assert made == [uuid7(unix_ms, each) for each in random]


def test_no_two_threads_get_the_same_tail() -> None:
    tails = Tails(os.urandom)

    def take(count: int) -> list[str]:
        return [tails.take() for _ in range(count)]

    with ThreadPoolExecutor(4) as threads:
        taken = [tail for some in threads.map(take, [5000] * 8) for tail in some]

    assert len(set(taken)) == len(taken) == 40_000


@given(st.binary(min_size=10, max_size=10), st.integers(0, 10_000))
def test_ids_made_for_a_body_are_different_version_7_uuids_that_count_on(random: bytes, count: int) -> None:
    head = uuid7_head(1)

    made = Tails(lambda size: random * (size // len(random))).ids(head, min(count, 4096))

    assert len(set(made)) == len(made) == min(count, 4096)
    for each in {*made[:1], *made[-1:]}:
        assert (uuid.UUID(each).version, uuid.UUID(each).variant) == (7, uuid.RFC_4122)
    assert {each[:-3] for each in made} <= {made[0][:-3]} if made else not count


@pytest.mark.parametrize("byte", [0, 0x5A, 0xFF])
def test_the_id_of_a_single_event_is_random_to_its_end(byte: int) -> None:
    assert Tails(lambda size: bytes([byte]) * size).ids(uuid7_head(1), 1) == [uuid7(1, bytes([byte]) * 10)]


def test_no_two_bodies_get_the_same_id_however_large_they_are() -> None:
    tails = Tails(os.urandom)

    with ThreadPoolExecutor(4) as threads:
        taken = [
            made for some in threads.map(lambda count: tails.ids("", count), [1, 100, 4096, 9000] * 8) for made in some
        ]

    assert len(set(taken)) == len(taken) == 8 * (1 + 100 + 4096 + 9000)


@given(st.integers(0, 2**47), st.binary(min_size=10, max_size=10), st.binary(min_size=10, max_size=10))
def test_ids_sort_by_their_time(unix_ms: int, first: bytes, second: bytes) -> None:
    assert uuid7(unix_ms, first) < uuid7(unix_ms + 1, second)


@given(st.uuids(), st.binary(max_size=200))
def test_an_identical_resend_has_the_same_id_and_another_record_another(trace: uuid.UUID, record: bytes) -> None:
    made = uuid5_event(str(trace), record)

    assert uuid.UUID(made).version == 5
    assert uuid.UUID(made).variant == uuid.RFC_4122
    assert made == str(
        uuid.UUID(bytes=hashlib.sha1(trace.bytes + record, usedforsecurity=False).digest()[:16], version=5)
    )
    assert made == uuid5_event(str(trace).upper(), record)
    assert made != uuid5_event(str(trace), record + b" ")


@given(st.uuids())
def test_the_canonical_form_of_a_uuid_is_accepted_in_either_case(value: uuid.UUID) -> None:
    assert is_uuid(str(value))
    assert is_uuid(str(value).upper())


@given(st.text())
def test_other_text_is_no_uuid(text: str) -> None:
    assert is_uuid(text) == bool(re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", text))


def test_forms_that_python_would_also_take_are_no_uuid() -> None:
    plain = "0193a1b2-1234-7abc-8def-0123456789ab"

    for other in (plain.replace("-", ""), "{" + plain + "}", "urn:uuid:" + plain, plain + "\n", None, 7, b"x"):
        assert not is_uuid(other)
