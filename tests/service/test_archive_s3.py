"""The archive in a bucket of a real S3 server, and the search over it."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from pyarrow import fs

from scripts import archive_old_events
from scripts.archiving.archiver import Archiver
from scripts.archiving.parts import Part
from tests.harness.proxy import Proxy
from tests.harness.s3 import ACCESS_KEY, SECRET_KEY, S3Server
from tests.service.archive_stage import Stage, month_ago

OLD, OLDER = month_ago(6), month_ago(7)
MONTH = f"{OLD:%Y-%m}"


@pytest.fixture(scope="module")
def s3(server_folder: Path) -> Iterator[S3Server]:
    server = S3Server(server_folder / "s3")
    server.start()
    client = fs.S3FileSystem(
        access_key=ACCESS_KEY,
        secret_key=SECRET_KEY,
        endpoint_override=f"127.0.0.1:{server.port}",
        scheme="http",
        allow_bucket_creation=True,
    )
    client.create_dir("archive")
    yield server
    server.kill()


def environment(server: S3Server, prefix: str, **more: str) -> dict[str, str]:
    return {
        "ARCHIVE_LOCATION": f"s3://archive/{prefix}",
        "ARCHIVE_S3_ENDPOINT": server.url,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        **more,
    }


@pytest.fixture
def stage(database_url: str, tmp_path: Path, s3: S3Server, request: pytest.FixtureRequest) -> Stage:
    return Stage(database_url, tmp_path, environment(s3, f"test-{abs(hash(request.node.name))}"))


def test_a_month_goes_to_the_bucket_and_back(stage: Stage) -> None:
    stage.fill(OLD, awkward=True)
    before = stage.all_rows(OLD)
    assert stage.run()[:2] == (0, "archived: 2\n")
    assert stage.rows(OLD) == []
    assert stage.run("--restore", MONTH)[:2] == (0, "restored: 2\n")
    assert stage.all_rows(OLD) == before
    stage.sql("UPDATE archives SET restored_until = NULL")
    stage.sql("UPDATE archives SET month = month - interval '8 years'")
    assert stage.run("--expire")[:2] == (0, "expired: 2\n")
    assert stage.run("--search")[1].splitlines()[1:] == []


def test_a_server_that_is_lost_in_the_middle_loses_no_row(
    database_url: str, tmp_path: Path, s3: S3Server, proxy: Callable[[str], Proxy]
) -> None:
    line = proxy(f"{s3.url}/")
    stage = Stage(database_url, tmp_path, environment(s3, "lost", ARCHIVE_S3_ENDPOINT=line.url.rstrip("/")))
    stage.fill(OLD, 30)
    before = stage.all_rows(OLD)

    class Losing(Archiver):
        def moved(self, part: Part, state: str, **values: Any) -> Part:
            if state == "written":
                line.cut()  # all is there, and cannot be read back
            return super().moved(part, state, **values)

    with mock.patch.object(archive_old_events, "Archiver", Losing):
        status, _, err = stage.run()
    assert (status, "cannot read" in err, "Traceback" in err) == (1, True, False), err
    assert stage.states() == [("event_audit_log", 1, "written")]
    assert stage.run()[0] == 1
    assert stage.all_rows(OLD) == before
    line.mend()
    assert stage.run()[0] == 0
    assert stage.run("--restore", MONTH)[0] == 0
    assert stage.all_rows(OLD) == before


@pytest.mark.parametrize(
    "wrong", [{"AWS_ACCESS_KEY_ID": "stranger"}, {"AWS_SECRET_ACCESS_KEY": "wrong"}], ids=["key", "secret"]
)
def test_wrong_keys_are_refused_by_the_name_of_their_settings(
    database_url: str, tmp_path: Path, s3: S3Server, wrong: dict[str, str]
) -> None:
    stage = Stage(database_url, tmp_path, environment(s3, "refused", **wrong))
    stage.fill(OLD, 3)
    for arguments in ((), ("--search",)):
        status, out, err = stage.run(*arguments)
        assert status == 1
        assert "the server refuses AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in err
        assert "wrong" not in out + err
    assert len(stage.rows(OLD)) == 3


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"ARCHIVE_LOCATION": ""}, "ARCHIVE_LOCATION is not set"),
        ({"ARCHIVE_LOCATION": "archive"}, "an absolute path or s3:// is needed"),
        ({"ARCHIVE_LOCATION": "s3://me:secret@archive"}, "without credentials"),
        ({"ARCHIVE_LOCATION": "s3://archive", "ARCHIVE_S3_ENDPOINT": "here"}, "ARCHIVE_S3_ENDPOINT='here'"),
        (
            {"ARCHIVE_LOCATION": "s3://archive", "ARCHIVE_S3_ENDPOINT": "https://me:secret@here"},
            "without credentials or path",
        ),
        ({"ARCHIVE_LOCATION": "s3://archive", "AWS_ACCESS_KEY_ID": "x"}, "belong together"),
    ],
)
def test_a_setting_that_is_not_possible_is_named(tmp_path: Path, settings: dict[str, str], problem: str) -> None:
    status, _, err = Stage("postgresql://127.0.0.1:9/none", tmp_path, settings).run("--search")
    assert (status, problem in err, "secret@" in err) == (2, True, False), err


def found(stage: Stage, *arguments: str) -> list[dict[str, object]]:
    status, out, err = stage.run("--search", "--format", "json", *arguments)
    assert status == 0, err
    return [json.loads(line) for line in out.splitlines()]


def test_what_is_archived_is_searched_where_it_lies(stage: Stage) -> None:
    for month in (OLD, OLDER):
        stage.fill(month, 40)
    stage.late(OLD, '=cmd("x")\n\u202eevil')
    rows = stage.sql("SELECT event_id::text, correlation_id::text FROM event_audit_log ORDER BY event_timestamp DESC")
    newest = [row[0] for row in rows]
    stage.run()
    stage.late(OLD, "Grün zu spät")
    stage.run()
    # Neither the database nor a restored month is needed.
    away = Stage("postgresql://127.0.0.1:9/none", stage.folder, stage.more)

    assert [row["event_id"] for row in found(away, "--end", f"{OLDER:%Y-%m}-05", "--limit", "7")] == newest[-40:][:7]
    assert len(found(away, "--limit", "1000")) == 82
    assert [row["message"] for row in found(away, "--q", "GRÜN zu")] == ["Grün zu spät"]
    assert [row["event_id"] for row in found(away, "--event-id", newest[20].upper())] == [newest[20]]
    assert [row["correlation_id"] for row in found(away, "--correlation-id", str(rows[9][1]))] == [rows[9][1]]
    hosts = found(away, "--hostname", "HOST3.", "--start", f"{OLD:%Y-%m}-01T00:30:00Z")
    assert {row["hostname"] for row in hosts} == {"host3"}
    assert len(hosts) == 5
    assert {row["rule_id"] for row in found(away, "--rule-id", "2")} == {2}
    assert found(away, "--handling", "suppress") == []
    assert len(found(away, "--handling", "log_only", "--limit", "1000")) == 82
    assert found(away, "--q", "message 1")[0]["raw"] == {"n": 19, "text": 'ä"\n', "none": None, "real": 1.50}

    # What came with an event moves no cursor, and is no formula of a spreadsheet.
    status, out, _ = away.run("--search", "--q", "cmd")
    assert (status, '=cmd("x")<LF><RLO>evil' in out, "\u202e" in out) == (0, True, False)
    _, out, _ = away.run("--search", "--q", "cmd", "--format", "csv")
    (row,) = csv.DictReader(io.StringIO(out))
    assert row["message"] == '\'=cmd("x")\n\u202eevil'
    listed = stage.run("--list")[1].splitlines()
    assert listed[0].split()[:4] == ["table_name", "month", "part", "state"]
    assert len(listed) == 1 + 5
