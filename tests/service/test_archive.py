"""Old months go into the archive and come back, and no row is lost or changed on the way."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from psycopg import Copy

from scripts.archiving import files
from scripts.archiving.archiver import Archiver
from scripts.archiving.keeping import check_store
from scripts.archiving.listening import Listener, Progress
from scripts.archiving.store import FolderStore, Sink
from tests.harness.waiting import wait_for
from tests.service.archive_stage import Stage, month_ago

OLD = month_ago(6)
EVENTS, DELIVERIES = f"event_audit_log_{OLD:%Y_%m}", f"delivery_log_{OLD:%Y_%m}"
MONTH = f"{OLD:%Y-%m}"
NOTHING = "nothing to do: no month is old enough\n"


@pytest.fixture
def stage(database_url: str, tmp_path: Path) -> Stage:
    folder = tmp_path / "archive"
    folder.mkdir()
    return Stage(database_url, folder)


def test_a_month_comes_back_as_it_was_and_leaves_again(stage: Stage) -> None:
    stage.fill(OLD, awkward=True)
    before, recent = stage.all_rows(OLD), stage.partitions() - {EVENTS, DELIVERIES}

    assert stage.run()[:2] == (0, "archived: 2\n")
    assert stage.partitions() == recent
    assert stage.all_rows(OLD) == {"event_audit_log": [], "delivery_log": []}
    parts = [("delivery_log", 1, "archived"), ("event_audit_log", 1, "archived")]
    assert stage.states() == parts

    assert stage.run("--restore", MONTH, "--days", "3")[:2] == (0, "restored: 2\n")
    assert stage.all_rows(OLD) == before
    # Bounded, and until then neither archived again nor dropped; a second time only prolongs it.
    assert stage.run()[:2] == (0, "kept: 2\n")
    assert stage.run("--restore", MONTH, "--days", "9")[:2] == (0, "restored: 2\n")
    until = stage.sql("SELECT min(restored_until) - now() BETWEEN '8 days' AND '9 days' FROM archives")
    assert (until, stage.all_rows(OLD)) == ([(True,)], before)

    stage.sql("UPDATE archives SET restored_until = now()")
    assert stage.run()[:2] == (0, "released: 2\n")
    assert (stage.partitions(), stage.states()) == (recent, parts)
    assert stage.sql("SELECT count(restored_until) FROM archives") == [(0,)]
    assert stage.run()[:2] == (0, NOTHING)


def test_rows_that_come_late_become_further_parts(stage: Stage) -> None:
    stage.fill(OLD, 20)
    stage.run()
    stage.late(OLD, "after the archive")
    assert stage.run()[:2] == (0, "archived: 1, empty: 1\n")

    stage.late(OLD, "waits while its month is restored")
    assert stage.run("--restore", MONTH)[0] == 0
    stage.late(OLD, "into the restored month")
    whole = stage.all_rows(OLD)
    assert len(whole["event_audit_log"]) == 23

    stage.sql("UPDATE archives SET restored_until = now()")
    assert stage.run()[:2] == (0, "archived: 1, released: 2\n")
    assert [part for part in stage.states() if part[0] == "event_audit_log"] == [
        ("event_audit_log", number, "archived") for number in (1, 2, 3, 4)
    ]
    assert stage.sql("SELECT array_agg(rows ORDER BY part) FROM archives WHERE table_name = 'event_audit_log'") == [
        ([20, 1, 1, 1],)
    ]
    assert stage.run("--restore", MONTH)[0] == 0
    assert stage.all_rows(OLD) == whole


def test_rows_that_come_while_a_month_is_written_make_no_part_wrong(stage: Stage) -> None:
    stage.fill(OLD, 10)

    class Late(Listener):
        @contextmanager
        def counts(self, what: str, total: int | None) -> Iterator[Progress]:
            if what == f"event_audit_log {MONTH} part 1: writing" and total == 10:
                stage.late(OLD, "between the count and the copy")
            with super().counts(what, total) as progress:
                yield progress

    with stage.connected() as connection:
        run = stage.archiver(connection, listener=Late())
        check_store(connection, run.store)
        assert sum(part.rows or 0 for part in run.run(month_ago(3)).archived) == 11 + 5
    assert stage.run("--restore", MONTH)[0] == 0
    assert len(stage.rows(OLD)) == 11


def test_a_restored_month_from_which_somebody_deleted_costs_the_archive_nothing(stage: Stage) -> None:
    stage.fill(OLD, 20)
    before = stage.all_rows(OLD)
    stage.run()
    stage.run("--restore", MONTH)
    stage.sql(f"DELETE FROM {EVENTS} WHERE syslog_severity = 3")
    stage.sql(f"DROP TABLE {DELIVERIES}")
    stage.sql("UPDATE archives SET restored_until = now()")
    assert stage.run()[:2] == (0, "released: 1\n")
    assert stage.sql("SELECT count(restored_until) FROM archives") == [(0,)]  # else it would never expire
    assert stage.run("--restore", MONTH)[0] == 0
    assert stage.all_rows(OLD) == before


def test_only_months_that_ended_before_the_limit_go_and_nothing_happens_on_a_dry_run(stage: Stage) -> None:
    last_month = month_ago(1)
    stage.fill(OLD, 5)
    stage.fill(last_month, 5)
    tables = stage.partitions()

    status, out, _ = stage.run("--dry-run")
    assert (status, f"{EVENTS}: would be archived, 5 rows\n" in out) == (0, True)
    assert stage.run("--dry-run", "--older-than", "3650")[1] == "nothing to do\n"
    assert (stage.partitions(), list(stage.folder.iterdir())) == (tables, [])

    status, out, _ = stage.run("--older-than", "365", "--json")
    assert (status, json.loads(out)["archived"]) == (0, [])
    status, out, _ = stage.run("--json")
    assert status == 0
    assert [(part["table_name"], part["month"], part["rows"]) for part in json.loads(out)["archived"]] == [
        ("event_audit_log", MONTH, 5),
        ("delivery_log", MONTH, 5),
    ]
    assert len(stage.rows(last_month)) == 5


def test_what_lies_in_the_archive_can_be_read_by_any_program(stage: Stage) -> None:
    stage.fill(OLD, 30)
    with stage.connected() as connection:
        run = stage.archiver(connection, schema=2, file_rows=8)
        check_store(connection, run.store)
        done = run.run(month_ago(3))
    part = next(part for part in done.archived if part.table_name == "event_audit_log")
    folder = stage.folder / part.location
    manifest = json.loads((folder / "manifest.json").read_bytes())

    assert (manifest["rows"], manifest["schema_version"], manifest["part"]) == (30, 2, 1)
    assert manifest["columns"][:3] == [
        ["event_id", "uuid"], ["correlation_id", "uuid"], ["event_timestamp", "timestamptz"]
    ]  # fmt: skip
    assert [file["rows"] for file in manifest["files"]] == [8, 8, 8, 6]
    assert {file.name for file in folder.iterdir()} == {"manifest.json", *(f["name"] for f in manifest["files"])}
    tables = [pq.read_table(folder / file["name"]) for file in manifest["files"]]
    times = [time for table in tables for time in table.column("event_timestamp").to_pylist()]
    assert times == sorted(times)
    assert (times[0], times[-1]) == (part.first_at, part.last_at)
    assert times[0] == datetime(OLD.year, OLD.month, 1, tzinfo=UTC)
    assert stage.run("--restore", MONTH)[0] == 0
    assert len(stage.rows(OLD)) == 30


def test_a_month_is_read_no_further_ahead_than_the_archive_takes(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a slow archive has the month in memory, however large it is."""
    stage.fill(OLD, 400)
    for name, value in (("CHUNK_BYTES", 2000), ("GROUP_ROWS", 50)):
        monkeypatch.setattr(files, name, value)
    sent, ahead = 0, []
    read = Copy.read

    def counted(copy: Copy) -> Any:
        nonlocal sent
        sent += 1
        return read(copy)

    class Slow(FolderStore):
        @contextmanager
        def writing(self, path: str) -> Iterator[Sink]:
            with super().writing(path) as sink:
                yield sink
            if path.startswith("event_audit_log") and path.endswith(".parquet"):
                ahead.append(sent - int(path[-13:-8]) * 100)

    monkeypatch.setattr(Copy, "read", counted)
    with stage.connected() as connection:
        slow = Archiver(connection, Slow(stage.folder), file_rows=100)
        check_store(connection, slow.store)
        slow.run(month_ago(3))
    assert len(ahead) == 4
    assert max(ahead) <= 60  # the group that the next file begins with
    assert stage.run("--restore", MONTH)[0] == 0
    assert len(stage.rows(OLD)) == 400


def test_two_runs_do_not_meet_and_a_hung_reader_only_delays(stage: Stage) -> None:
    stage.fill(OLD, 10)
    with stage.connected() as reader, reader.transaction():
        reader.execute("SELECT count(*) FROM event_audit_log")
        with stage.process() as run:
            wait_for(lambda: "verified" in [state for _, _, state in stage.states()], "the run waits for its lock")
            status, _, err = stage.run()
            assert (status, "another run" in err) == (3, True)
            # Meanwhile a writer gets through: nobody waits behind the detach for longer than its short try.
            stage.late(OLD, "while it waits")
            assert run.poll() is None
            reader.execute("ROLLBACK")
            assert run.wait(60) == 0, run.stderr and run.stderr.read()
    assert stage.run("--restore", MONTH)[0] == 0
    assert len(stage.rows(OLD)) == 11


def test_archives_expire_after_seven_years_and_the_record_of_changes_never(stage: Stage) -> None:
    kept, gone = month_ago(83), month_ago(85)
    stage.sql(
        "INSERT INTO config_audit_log (changed_at, changed_by, operation, table_name) VALUES (%s, 'a', 'b', 'c')",
        (gone,),
    )
    for month in (kept, gone):
        stage.fill(month, 3)
    stage.run()
    status, out, _ = stage.run("--expire", "--dry-run")
    assert (status, out.count("would be removed")) == (0, 2)
    stage.sql("UPDATE archives SET restored_until = now() + interval '1 day' WHERE month = %s", (gone,))
    assert stage.run("--expire")[1] == NOTHING  # it may be looked at still
    stage.sql("UPDATE archives SET restored_until = NULL")
    # What cannot be removed, a lock of the bucket say, holds up no month that is to be archived.
    for folder in stage.folder.glob(f"*/{gone:%Y-%m}/*"):
        (folder / "in the way").mkdir()
    stage.fill(OLD, 3)
    status, out, err = stage.run()
    assert (status, out, "cannot remove" in err) == (1, "archived: 2\n", True)
    for folder in stage.folder.glob(f"*/{gone:%Y-%m}/*"):
        (folder / "in the way").rmdir()
    assert stage.run()[:2] == (0, "expired: 2\n")
    assert stage.run("--expire")[1] == NOTHING
    assert not list(stage.folder.glob(f"*/{gone:%Y-%m}/*"))
    assert stage.run("--restore", f"{gone:%Y-%m}")[0] == 1
    assert stage.run("--restore", f"{kept:%Y-%m}")[0] == 0
    assert len(stage.rows(kept)) == 3
    assert stage.sql("SELECT count(*) FROM config_audit_log") == [(1,)]


def test_a_database_that_was_made_anew_is_told_what_the_archive_has(stage: Stage) -> None:
    stage.fill(OLD, 10)
    before = stage.all_rows(OLD)
    stage.run()
    stage.sql("DELETE FROM archives")
    assert stage.run("--adopt")[0] == 0
    assert stage.run("--adopt")[1] == NOTHING
    assert stage.run("--restore", MONTH)[0] == 0
    assert stage.all_rows(OLD) == before

    # A backup from before the archive brings the month back: it is not archived twice, and what is new in it is.
    stage.sql("DELETE FROM archives")
    stage.late(OLD, "since the backup")
    whole = stage.all_rows(OLD)
    assert stage.run("--adopt")[0] == 0
    assert stage.run()[:2] == (0, "archived: 1, released: 2\n")
    assert stage.sql("SELECT array_agg(rows ORDER BY rows) FROM archives") == [([1, 5, 10],)]
    assert stage.run("--restore", MONTH)[0] == 0
    assert stage.all_rows(OLD) == whole


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--older-than", "30"], "no number from 31"),
        (["--restore", "2026-3"], "write it like 2026-03"),
        (["--search", "--event-id", "x"], "no UUID"),
        (["--search", "--handling", "loud"], "there are Page_and_ticket"),
        (["--search", "--start", "yesterday"], "no date or time"),
        (["--search", "--q", "\udcff"], "is not UTF-8"),
        (["--search", "--list"], "not allowed with"),
        (["--adopt", "--dry-run"], "goes with the archive's run"),
    ],
)
def test_a_wrong_argument_is_named_with_what_is_possible(tmp_path: Path, arguments: list[str], problem: str) -> None:
    status, _, err = Stage("postgresql://127.0.0.1:9/none", tmp_path).run(*arguments)
    assert (status, problem in err) == (2, True), err


def test_a_database_without_the_table_or_away_is_named(empty_database_url: str, tmp_path: Path) -> None:
    assert "run scripts/migrate.py" in Stage(empty_database_url, tmp_path).run()[2]
    status, _, err = Stage("postgresql://127.0.0.1:9/none", tmp_path).run()
    assert (status, "Traceback" in err, "connection" in err) == (1, False, True)
