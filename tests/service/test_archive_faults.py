"""What is wrong with an archive, a month or a clock is named, and loses no row."""

from datetime import timedelta
from pathlib import Path

import pytest

from scripts import archive_old_events
from scripts.archiving import archiver
from tests.service.archive_stage import Stage, month_ago

OLD = month_ago(6)
EVENTS = f"event_audit_log_{OLD:%Y_%m}"
MONTH = f"{OLD:%Y-%m}"
STUCK = """
INSERT INTO archives (table_name, month, part, state, source, location, rows, bytes, checksum)
VALUES ('event_audit_log', %(month)s, %(part)s, 'written', %(source)s, 'event_audit_log/x', 10, 1, '1')
"""


@pytest.fixture
def stage(database_url: str, tmp_path: Path) -> Stage:
    folder = tmp_path / "archive"
    folder.mkdir()
    return Stage(database_url, folder)


def test_a_month_of_which_a_part_is_stuck_is_not_restored_beside_it(stage: Stage) -> None:
    stage.fill(OLD, 10)
    stage.run()
    stage.late(OLD)
    stage.sql(STUCK, {"month": OLD, "part": 2, "source": EVENTS})
    status, _, err = stage.run("--restore", MONTH)
    assert (status, f"event_audit_log {MONTH} part 2 could not be brought to its end" in err) == (1, True), err
    assert len(stage.rows(OLD)) == 1
    assert stage.run()[0] == 0
    assert stage.run("--restore", MONTH)[0] == 0
    assert len(stage.rows(OLD)) == 11


def test_a_month_that_postgresql_refuses_holds_up_no_other(stage: Stage) -> None:
    stage.fill(OLD, 10)
    stage.sql(STUCK, {"month": month_ago(9), "part": 1, "source": "somebody_dropped_it"})
    stage.sql("UPDATE archives SET state = 'writing'")
    status, out, err = stage.run()
    assert (status, out) == (1, "archived: 2\n")
    assert f"event_audit_log {month_ago(9):%Y-%m} part 1: relation" in err.splitlines()[-1]


def test_a_damaged_file_is_noticed_wherever_it_is_read(stage: Stage) -> None:
    stage.fill(OLD, 10)
    stage.run()
    path = next(stage.folder.glob(f"event_audit_log/{MONTH}/*/00001.parquet"))
    good = path.read_bytes()
    damaged = bytearray(good)
    damaged[len(damaged) // 3] ^= 1

    for content, word in ((bytes(damaged), "damaged"), (good[:-9], "damaged"), (None, "missing")):
        path.unlink(missing_ok=True) if content is None else path.write_bytes(content)
        for arguments in (("--restore", MONTH), ("--search",)):
            status, _, err = stage.run(*arguments)
            assert (status, word in err, path.name in err) == (4, True, True), err
    path.write_bytes(good)
    assert stage.run("--restore", MONTH)[0] == 0

    # A restored copy is not dropped while the archive cannot give it back.
    path.write_bytes(damaged)
    stage.sql("UPDATE archives SET restored_until = now()")
    stage.fill(month_ago(5), 3)
    assert stage.run()[:2] == (4, "archived: 2, released: 1\n")  # other months are not held up
    path.write_bytes(good)
    assert stage.run()[:2] == (0, "released: 1\n")


def test_what_an_earlier_run_verified_is_read_again_before_its_rows_are_dropped(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.fill(OLD, 10)
    before = stage.all_rows(OLD)
    monkeypatch.setattr(archiver, "LOCK_PATIENCE", 0)
    with stage.connected() as reader, reader.transaction():
        reader.execute("SELECT count(*) FROM event_audit_log, delivery_log")
        status, _, err = stage.run()
    assert (status, f"{EVENTS} cannot be detached: a backup or a long query" in err) == (1, True), err
    assert [state for _, _, state in stage.states()] == ["verified", "verified"]
    for file in stage.folder.rglob("00001.parquet"):
        file.unlink()
    status, _, err = stage.run()
    assert (status, "00001.parquet is missing" in err) == (4, True), err
    assert stage.all_rows(OLD) == before
    assert stage.run()[:2] == (0, "archived: 2\n")
    assert stage.run("--restore", MONTH)[0] == 0
    assert stage.all_rows(OLD) == before


def test_a_file_that_went_bad_on_its_way_drops_nothing(stage: Stage) -> None:
    stage.fill(OLD, 10)
    before = stage.all_rows(OLD)
    stage.sql(STUCK, {"month": OLD, "part": 1, "source": EVENTS})
    status, _, err = stage.run()
    assert (status, "manifest.json is missing" in err, "the next run writes them again" in err) == (4, True, True)
    assert stage.run()[0] == 0
    assert stage.run("--restore", MONTH)[0] == 0
    assert stage.all_rows(OLD) == before


def test_an_archive_that_is_not_there_or_takes_nothing_is_named_and_the_run_goes_on_later(stage: Stage) -> None:
    stage.fill(OLD, 10)
    tables = stage.partitions()
    missing = Stage(stage.url, stage.folder / "nowhere")
    assert missing.run()[0] == 1
    assert "does not exist: make it, or mount it" in missing.run()[2]

    (stage.folder / "event_audit_log").write_text("in the way of the folder", encoding="utf-8")
    status, _, err = stage.run()
    assert (status, f"archive folder {stage.folder}: cannot write" in err) == (1, True)
    assert stage.partitions() == tables
    (stage.folder / "event_audit_log").unlink()
    assert stage.run()[:2] == (0, "archived: 2\n")

    # The mount is gone: its folder is there and empty.
    (stage.folder / "mutt-archive.json").rename(stage.folder / "elsewhere")
    stage.fill(month_ago(7), 1)
    status, _, err = stage.run()
    assert (status, "is it mounted" in err) == (1, True)
    # Nor is it told that nothing was found.
    status, _, err = stage.run("--search")
    assert (status, "is it mounted" in err) == (1, True)


def test_by_a_wrong_clock_nothing_is_removed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.fill(OLD, 3)
    monkeypatch.setattr(archive_old_events, "CLOCKS_APART", timedelta(0))
    for arguments in ((), ("--expire",), ("--restore", MONTH)):
        status, _, err = stage.run(*arguments)
        assert (status, "the clocks of this machine and of the database are" in err) == (1, True)
    assert len(stage.rows(OLD)) == 3
