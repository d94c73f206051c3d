"""A run that is killed at any step is gone on with, and no row is lost or doubled, whatever came in meanwhile."""

import resource
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from scripts import archive_old_events
from scripts.archiving.archiver import Archiver, Result
from scripts.archiving.parts import Part
from tests.contract.sheet import ROOT
from tests.service.archive_dying import STEPS
from tests.service.archive_stage import Stage, month_ago

OLD = month_ago(6)
MONTH = f"{OLD:%Y-%m}"


@pytest.fixture
def stage(database_url: str, tmp_path: Path) -> Stage:
    folder = tmp_path / "archive"
    folder.mkdir()
    return Stage(database_url, folder)


def test_a_run_may_be_killed_at_every_step(stage: Stage) -> None:
    stage.fill(OLD, 55)
    (stage.folder / "mutt-archive.json").write_text("{}", encoding="utf-8")
    written = Counter(stage.rows(OLD))
    deliveries = stage.rows(OLD, "delivery_log")
    command = [sys.executable, "-m", "tests.service.archive_dying", stage.url, str(stage.folder)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as runs:
        assert runs.stdin
        assert runs.stdout
        # Each run goes on where the one before it died, and dies one step further; a row comes late before each.
        for step in STEPS:
            before = Counter(stage.rows(OLD))
            stage.late(OLD, f"before {step}")
            written += Counter(stage.rows(OLD)) - before
            runs.stdin.write(f"{step}\n")
            runs.stdin.flush()
            assert int(runs.stdout.readline()) == -signal.SIGKILL, step
        runs.stdin.close()
    states = [state for table, _, state in stage.states() if table == "event_audit_log"]
    assert states == ["detached"]

    # Then one whole run; the rows that came since the detach are a part of their own, and all come back.
    assert stage.run()[0] == 0
    assert stage.rows(OLD) == []
    assert not {name for name in stage.partitions() if name.endswith("_archiving")}
    assert not list(stage.folder.rglob("*.partial"))
    assert stage.run("--restore", MONTH)[0] == 0
    assert Counter(stage.rows(OLD)) == written
    assert stage.rows(OLD, "delivery_log") == deliveries
    assert sum(written.values()) == 55 + len(STEPS)


@pytest.mark.parametrize("at", ["written", "detached", "archived"])
def test_a_database_that_is_lost_in_the_middle_is_gone_on_with(stage: Stage, at: str) -> None:
    stage.fill(OLD, 5)
    before = stage.all_rows(OLD)

    class Losing(Archiver):
        def moved(self, part: Part, state: str, **values: Any) -> Part:
            if state == at:
                stage.sql("SELECT pg_terminate_backend(%s)", (self.connection.info.backend_pid,))
            return super().moved(part, state, **values)

    with mock.patch.object(archive_old_events, "Archiver", Losing):
        status, _, err = stage.run()
    assert (status, "terminating connection" in err) == (1, True), err
    assert stage.run()[0] == 0
    assert stage.run("--restore", MONTH)[0] == 0
    assert stage.all_rows(OLD) == before


def test_a_restore_that_stops_in_the_middle_leaves_the_archive_and_is_done_again(stage: Stage) -> None:
    stage.fill(OLD, 5)
    before = stage.all_rows(OLD)
    stage.run()
    tables = stage.partitions()

    class Losing(Archiver):
        def briefly(self, work: Callable[[], Result], words: str) -> Result:
            stage.sql("SELECT pg_terminate_backend(%s)", (self.connection.info.backend_pid,))
            return super().briefly(work, words)

    with mock.patch.object(archive_old_events, "Archiver", Losing):
        assert stage.run("--restore", MONTH)[0] == 1
    assert stage.rows(OLD) == []
    assert stage.partitions() == tables | {f"event_audit_log_{OLD:%Y_%m}_restoring"}
    assert stage.run()[0] == 0
    assert stage.partitions() == tables
    assert stage.run("--restore", MONTH)[0] == 0
    assert stage.all_rows(OLD) == before
    assert stage.partitions() == tables | {f"event_audit_log_{OLD:%Y_%m}", f"delivery_log_{OLD:%Y_%m}"}


def test_a_full_archive_leaves_all_in_the_database(stage: Stage) -> None:
    stage.fill(OLD, 2000)
    before = stage.all_rows(OLD)

    def limit_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    with stage.process(preexec=limit_files) as run:
        _, err = run.communicate()
    assert run.returncode == 1, err
    assert f"archive folder {stage.folder}: cannot write event_audit_log/{MONTH}" in err
    assert "File too large" in err
    assert stage.all_rows(OLD) == before
    assert stage.run()[:2] == (0, "archived: 2\n")
    assert stage.run("--restore", MONTH)[0] == 0
    assert stage.all_rows(OLD) == before
