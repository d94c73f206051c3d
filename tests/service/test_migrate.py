import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from psycopg import AsyncConnection

from mutt.errors import MisconfiguredError
from scripts import migrate as script
from scripts.migrate import DATABASE, MigrationError, migrate, steps
from services import schema
from services.schema import SCHEMA_VERSION, check_schema, schema_version
from tests.harness.servers import Databases

LAST = steps()[-1].version


@pytest.fixture
def database_folder(tmp_path: Path) -> Path:
    """Copy database/, so that a test may add steps to it."""
    return Path(shutil.copytree(DATABASE, tmp_path / "database"))


def add_step(folder: Path, name: str, text: str) -> None:
    (folder / "migrations" / name).write_text(text, encoding="utf-8")


def name(ahead: int, words: str) -> str:
    return f"{LAST + ahead:04d}_{words}"


def versions(url: str) -> list[tuple[int, str]]:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT version, name FROM schema_version ORDER BY version").fetchall()


def test_the_code_knows_the_last_step() -> None:
    assert steps()[-1].version == SCHEMA_VERSION


def test_an_empty_database_gets_everything_and_then_nothing(empty_database_url: str) -> None:
    assert migrate(empty_database_url) == [str(step) for step in steps()]
    assert migrate(empty_database_url) == []
    assert versions(empty_database_url)[0] == (1, "base")


def test_a_database_loaded_by_psql_lacks_no_base(empty_database_url: str) -> None:
    with psycopg.connect(empty_database_url) as connection:
        for path in steps()[0].files:
            connection.execute(path.read_bytes())
    assert "0001_base" not in migrate(empty_database_url)


def test_steps_are_applied_in_order_and_once(database_url: str, database_folder: Path) -> None:
    names = [name(1, "add_a_colour"), name(2, "paint")]
    add_step(database_folder, f"{names[0]}.sql", "ALTER TABLE alert_rules ADD COLUMN IF NOT EXISTS colour text;")
    add_step(database_folder, f"{names[1]}.sql", "UPDATE alert_rules SET colour = 'red'; -- 100% of them\nSELECT 1;")
    before = versions(database_url)

    assert migrate(database_url, database_folder) == names
    assert migrate(database_url, database_folder) == []
    assert versions(database_url) == [*before, (LAST + 1, "add_a_colour"), (LAST + 2, "paint")]


def test_the_base_files_still_load_after_the_last_step(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        before = versions(database_url)
        for path in steps()[0].files:
            connection.execute(path.read_bytes())
    assert versions(database_url) == before


def test_a_step_that_fails_leaves_nothing_and_is_named(database_url: str, database_folder: Path) -> None:
    bad = name(2, "bad")
    add_step(database_folder, f"{name(1, 'good')}.sql", "CREATE TABLE good (id integer);")
    add_step(database_folder, f"{bad}.sql", "CREATE TABLE half (id integer);\n\nSELECT nothing FROM nowhere;\n")
    add_step(database_folder, f"{name(3, 'later')}.sql", "CREATE TABLE later (id integer);")

    with pytest.raises(MigrationError, match=rf"{bad} was rolled back: {bad}\.sql, line 3: .*nowhere"):
        migrate(database_url, database_folder)

    assert versions(database_url)[-1] == (LAST + 1, "good")
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT to_regclass('half'), to_regclass('later')").fetchone() == (None, None)


@pytest.mark.parametrize(
    "wrong", [f"{LAST + 2:04d}_gap.sql", f"{LAST + 1}_short.sql", f"{LAST + 1:04d}_Capital.sql", "0001_again.sql"]
)
def test_a_step_out_of_order_is_refused_before_anything_runs(
    empty_database_url: str, database_folder: Path, wrong: str
) -> None:
    add_step(database_folder, wrong, "SELECT 1;")
    with pytest.raises(
        MigrationError,
        match=rf"{wrong}: the step after {'0001_base' if wrong[0:4] == '0001' else steps()[-1]} has to be",
    ):
        migrate(empty_database_url, database_folder)
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("SELECT to_regclass('alert_rules')").fetchone() == (None,)


def test_two_steps_of_one_number_are_refused(database_folder: Path) -> None:
    for letter in "ab":
        add_step(database_folder, f"{name(1, letter)}.sql", "SELECT 1;")
    with pytest.raises(MigrationError, match=rf"{name(1, 'b')}\.sql"):
        steps(database_folder)


def test_the_web_uis_role_may_read_what_is_archived(databases: Databases, empty_database_url: str) -> None:
    with psycopg.connect(databases.server.url(), autocommit=True) as admin:
        admin.execute("CREATE ROLE mutt_webui")
        try:
            migrate(empty_database_url)
            with psycopg.connect(empty_database_url) as connection:
                rights = "has_table_privilege('mutt_webui', 'archives', %s)"
                found = connection.execute(f"SELECT {rights}, {rights}".encode(), ("SELECT", "UPDATE")).fetchone()
                assert found == (True, False)
                connection.execute("REVOKE ALL ON archives FROM mutt_webui")
        finally:
            admin.execute("DROP ROLE mutt_webui")


def test_many_at_once_apply_each_step_once(empty_database_url: str, database_folder: Path) -> None:
    counting = name(1, "count")
    add_step(database_folder, f"{counting}.sql", "CREATE TABLE runs (id integer); INSERT INTO runs VALUES (1);")
    with ThreadPoolExecutor(4) as workers:
        applied = list(workers.map(lambda _: migrate(empty_database_url, database_folder), range(4)))

    assert sorted(step for names in applied for step in names) == [*map(str, steps()), counting]


def test_a_database_that_is_not_utf8_is_refused(databases: Databases) -> None:
    with psycopg.connect(databases.server.url(), autocommit=True) as admin:
        admin.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
        with pytest.raises(MigrationError, match="encoded in LATIN1, events need UTF8"):
            migrate(databases.server.url("latin"))
        admin.execute("DROP DATABASE latin")


def test_the_command_says_what_it_did(
    empty_database_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_database_url)

    assert script.main([]) == 0
    assert script.main([]) == 0
    assert script.main(["--list"]) == 0

    out = capsys.readouterr().out
    assert out.startswith("applied 0001_base\n")
    assert "nothing to do: the schema is current\n0001_base" in out


def test_the_command_says_why_it_could_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert script.main(["--database-url", "postgresql://127.0.0.1:9/mutt_db"]) == 1
    assert "PostgreSQL cannot be reached" in capsys.readouterr().err


def test_the_command_runs_by_its_path_from_anywhere(database_url: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, script.__file__, "--database-url", database_url],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "nothing to do: the schema is current\n"


async def test_services_take_the_schema_before_and_after_theirs(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await AsyncConnection.connect(database_url, autocommit=True) as connection:
        await connection.execute("INSERT INTO schema_version VALUES (3, 'y'), (4, 'z')")
        assert await schema_version(connection) == 4
        for known in (3, 4, 5):
            monkeypatch.setattr(schema, "SCHEMA_VERSION", known)
            assert await check_schema(connection) == 4
        monkeypatch.setattr(schema, "SCHEMA_VERSION", 6)
        with pytest.raises(
            MisconfiguredError, match=r"is version 4, this release works on 5 and 6: run scripts/migrate"
        ):
            await check_schema(connection)
        monkeypatch.setattr(schema, "SCHEMA_VERSION", 2)
        with pytest.raises(MisconfiguredError, match=r"is version 4, this release works up to 3: install the release"):
            await check_schema(connection)


async def test_a_database_without_schema_is_said_to_be_so(empty_database_url: str) -> None:
    async with await AsyncConnection.connect(empty_database_url) as connection:
        assert await schema_version(connection) == 0
        with pytest.raises(MisconfiguredError, match=r"holds no MUTT schema: run scripts/migrate\.py"):
            await check_schema(connection)
