"""Killed at any registered step, MUTT keeps its promises; every step is registered; known bugs are found.

MUTT_CHAOS_SEED repeats a run's points. All of them: `muttdev chaos --points`.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.devtools.embedded import RedisServer
from tests.chaos import crash_points, crash_scan
from tests.chaos.crash_run import PATHS, Point, Runs, all_points, chosen
from tests.chaos.crash_stage import Stage
from tests.chaos.crash_stage import stage as build
from tests.chaos.points import AFTER, BEFORE, STEPS
from tests.chaos.stage import chosen_seed
from tests.harness.servers import Databases

NUMBER = 24  # points of a seed, at least one of each path
BUGS = {
    "audit_after_settle": Point("audit", "alerter.settle", AFTER),
    "reply_before_push": Point("ingest", "ingestor.push", BEFORE),
    "settle_before_send": Point("forward", "moog-forwarder.post", BEFORE),
    "note_before_drop": Point("archive", "archive.drop", BEFORE),
    "move_without_record": Point("console", "console.letters.commit", BEFORE),
}


@pytest.fixture(scope="module")
def stage(redis_server: RedisServer, databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Build one stage for all."""
    with build(tmp_path_factory.mktemp("crash"), redis_server, databases) as made:
        yield made


@pytest.fixture
def runs(stage: Stage) -> Iterator[Runs]:
    """Return what tries points on it, by a seed that a failure names."""
    yield Runs(stage, chosen_seed())
    stage.bug = ""
    stage.reset()


def test_every_effect_in_the_source_is_registered() -> None:
    assert crash_scan.unregistered() == []
    assert crash_scan.vanished() == []


def test_a_step_that_is_not_registered_is_found_in_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    for forgotten in ("ingestor.push", "alerter.settle", "remediation.move", "archive.mark.open", "migrate.commit"):
        site = next(step.site for step in STEPS if step.name == forgotten)
        monkeypatch.setattr(crash_scan, "STEPS", tuple(step for step in STEPS if step.site != site))
        assert any(site in found for found in crash_scan.unregistered()), forgotten


def test_a_registered_step_that_is_gone_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    functions = list(crash_scan.sources())
    monkeypatch.setattr(crash_scan, "sources", lambda: [path for path in functions if path.name != "settler.py"])
    assert crash_scan.vanished() == []
    monkeypatch.setattr(crash_scan, "sources", lambda: [path for path in functions if path.name != "worker.py"])
    assert "services.protocol.worker:Claims.settle" in crash_scan.vanished()


def test_every_path_has_steps_and_every_step_a_path() -> None:
    assert {path for step in STEPS for path in step.paths} == set(PATHS)
    assert [step.name for step in STEPS if not step.paths] == []
    assert len({step.name for step in STEPS}) == len(STEPS)


def test_the_command_lists_its_points_and_takes_the_options_of_every_proof(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert crash_points.main(["--list", "--seed", "1", "--keep", str(tmp_path)]) == 0
    assert f"{len(all_points())} points" in capsys.readouterr().out


def test_nothing_in_production_knows_of_crash_points() -> None:
    for path in crash_scan.sources():
        imported = [node for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.ImportFrom)]
        assert not [node for node in imported if (node.module or "").startswith("tests")], path
        assert "MUTT_CRASH" not in Path(path).read_text(encoding="utf-8")


@pytest.mark.timeout(900)
def test_killed_at_points_of_each_path_nothing_is_lost_and_nothing_doubled(runs: Runs) -> None:
    points = chosen(runs.seed, NUMBER)
    failed = [f"{result.point}: {result.faults}" for result in runs.try_all(points) if result.faults]
    print(f"{len(points)} of {len(all_points())} points; muttdev chaos --points --seed {runs.seed} tries all")  # noqa: T201
    assert failed == []


@pytest.mark.timeout(120)
@pytest.mark.parametrize("bug", BUGS)
def test_a_known_bug_is_found_at_its_point(runs: Runs, stage: Stage, bug: str) -> None:
    stage.bug = f"tests.chaos.crash_bugs:{bug}"
    faults = runs.try_one(BUGS[bug]).faults
    assert faults
    assert not [fault for fault in faults if "did not come" in fault or "not within" in fault or "ended with" in fault]


def test_a_process_that_comes_to_an_unregistered_step_ends_and_says_where(runs: Runs, stage: Stage) -> None:
    stage.bug = "tests.chaos.crash_bugs:unregistered_step"
    (fault,) = runs.calm("retry")
    assert "not registered in tests/chaos/points.py: UNREGISTERED HSET of alerter" in fault
