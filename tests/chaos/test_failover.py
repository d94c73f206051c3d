"""The short form of the proof: two kills of Redis's primary in the durable mode lose nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.devtools.services import Service
from tests.chaos import failover
from tests.chaos.stage import TIMEOUT, chosen_seed
from tests.harness.nursery import Nursery

NETWORK_MS = 150.0  # of events that nobody but the primary has at a kill: an answer without a WAIT would not go unseen


@pytest.mark.timeout(TIMEOUT)
def test_the_durable_mode_loses_nothing_when_the_primary_is_killed_again_and_again(
    tmp_path: Path, database_url: str, nurseries: Callable[[Service], Nursery]
) -> None:
    seed = chosen_seed()
    counts = failover.prove(tmp_path, database_url, True, 2, seed, network_ms=NETWORK_MS, nurseries=nurseries)
    assert (counts.kills, sum(counts.lost.values()), counts.doubled, counts.faults) == (2, 0, 0, []), counts.lost
    assert counts.acknowledged > 100
    assert counts.repeated > 0, "no sender had to wait: the primary was not missed"
