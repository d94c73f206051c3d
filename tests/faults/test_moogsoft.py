"""Faults of Moogsoft under a small load through all services, some of them in each run."""

import pytest

from tests.faults import moogsoft_faults, observe, table
from tests.faults.choice import TIMEOUT, chosen
from tests.faults.stage import Stage

assert moogsoft_faults

SETTINGS = {"moog-forwarder": {"MOOG_WEBHOOK_TIMEOUT": "0.5"}}
MOST = 4


@pytest.mark.timeout(TIMEOUT)
def test_what_is_seen_of_faults_of_moogsoft_is_what_the_table_tells(stage: Stage) -> None:
    for fault in chosen("moogsoft", MOST):
        print(fault)  # noqa: T201  (for the reader of a failure)
        observe.check(stage, fault)


def test_the_document_holds_a_row_for_each_fault_of_moogsoft() -> None:
    assert list(table.documented("moogsoft")) == [fault.name for fault in table.of("moogsoft")]
