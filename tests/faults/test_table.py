"""The document and the registry hold the same faults."""

import pytest

from tests.faults import redis_faults, table
from tests.faults.table import FAULTS

assert redis_faults


@pytest.mark.parametrize("part", ["redis"])
def test_the_document_holds_a_row_for_each_fault_and_no_other(part: str) -> None:
    assert list(table.documented(part)) == [fault.name for fault in table.of(part)]


def test_no_two_faults_have_one_name() -> None:
    assert len({(fault.part, fault.name) for fault in FAULTS}) == len(FAULTS)
