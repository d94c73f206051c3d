"""The registry of faults."""

from tests.faults import moogsoft_faults, postgresql_faults, redis_faults
from tests.faults.table import FAULTS

assert moogsoft_faults
assert postgresql_faults
assert redis_faults


def test_no_two_faults_have_one_name() -> None:
    assert len({(fault.part, fault.name) for fault in FAULTS}) == len(FAULTS)
