"""PostgreSQL does not run as root, and still gets to where it lies."""

import os
import subprocess
from pathlib import Path

import pytest

from scripts.devtools import privileges
from scripts.devtools.privileges import EmbeddedServerError, as_postgres_user, closed_folder, postgres_user


def test_a_command_leaves_root_and_reaches_a_program_in_a_closed_folder(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    program = closed / "program"
    # `test -x` looks by access(), as PostgreSQL does at its programs.
    program.write_text('#!/bin/sh\n[ "$(id -u)" != 0 ] && [ -x "$0" ] && echo reached\n', encoding="utf-8")
    program.chmod(0o755)
    command = as_postgres_user([str(program)], [program])
    done = subprocess.run(command.arguments, **command.options, cwd="/", capture_output=True, text=True, check=False)
    assert done.stdout == "reached\n", done.stderr


def test_the_first_closed_folder_on_the_way_is_found(tmp_path: Path) -> None:
    deep = tmp_path / "open" / "closed" / "deep"
    deep.mkdir(parents=True)
    tmp_path.chmod(0o755)
    (tmp_path / "open").chmod(0o755)
    (tmp_path / "open" / "closed").chmod(0o700)
    stranger = 54_321
    found = closed_folder(deep, stranger, stranger)
    assert found is not None
    if found.is_relative_to(tmp_path):  # else a folder above, which pytest keeps to itself
        assert found == tmp_path / "open" / "closed"
    owner = deep.stat()
    assert closed_folder(Path("/"), owner.st_uid, owner.st_gid) is None


def test_without_a_way_in_the_folder_and_what_to_do_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setattr(privileges, "postgres_user", lambda: (54_321, 54_321))
    monkeypatch.setattr(privileges, "_passing_capability", lambda: None)
    with pytest.raises(EmbeddedServerError, match=r"may not enter /.*chmod o\+x /.*--data-dir"):
        as_postgres_user(["postgres"], [tmp_path])


def test_root_is_the_only_one_who_has_to_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert postgres_user() is None
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    user = postgres_user()
    assert user is not None
    assert user[0] != 0
