"""Faults of Redis under a small load through all services, some of them in each run."""

import pytest

from tests.faults import observe, redis_faults, table
from tests.faults.choice import TIMEOUT, chosen
from tests.faults.stage import Stage

assert redis_faults

MOST = 8


@pytest.mark.timeout(TIMEOUT)
def test_what_is_seen_of_faults_of_redis_is_what_the_table_tells(stage: Stage) -> None:
    for fault in chosen("redis", MOST):
        print(fault)  # noqa: T201  (for the reader of a failure)
        observe.check(stage, fault)


def test_the_document_holds_a_row_for_each_fault_of_redis() -> None:
    assert list(table.documented("redis")) == [fault.name for fault in table.of("redis")]
