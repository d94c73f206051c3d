"""The benchmarks of rules and of the alerter's loop, in tiny forms: that they run and report."""

from argparse import Namespace

import pytest
import uvloop

from benchmarks import match, rules_memory, stalls
from mutt.settings import AlerterSettings, load
from scripts.devtools.services import database_environment


def test_both_ways_of_matching_find_the_same_rules_and_are_measured() -> None:
    with match.bench(Namespace()) as row:
        for side in row.sides:
            assert side.measure(0.0001).per_second > 0


def test_compiled_rules_are_weighed() -> None:
    figure = rules_memory.compiled_here(100)
    assert figure.notes["seconds"] > 0


@pytest.mark.parametrize("act", [stalls.reload, stalls.reload_all, stalls.collect, stalls.make_partitions])
def test_the_longest_stall_is_told_of_each_act(act: stalls.Act, own_database_url: str) -> None:
    stalls.fill(own_database_url, 10)
    environ = database_environment(own_database_url)
    settings = load(AlerterSettings, environ | {"POD_NAME": "bench"}).db
    figure = uvloop.run(stalls.stalled(settings, environ["DB_PASS_CURRENT"], act))
    assert figure.per_second > 0
    assert figure.notes["most ms"] >= figure.notes["most own ms"] >= 0
    assert figure.notes["rules"] == 10
