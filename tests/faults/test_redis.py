"""Each fault of Redis under a small load through all services."""

import pytest

from tests.faults import observe, redis_faults, table
from tests.faults.stage import Stage
from tests.faults.table import Fault

assert redis_faults


@pytest.mark.parametrize("fault", table.of("redis"), ids=str)
def test_what_is_seen_of_a_fault_of_redis_is_what_the_table_tells(stage: Stage, fault: Fault) -> None:
    observe.check(stage, fault)
