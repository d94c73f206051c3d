"""From a bare Python to the environment: every message that a user can meet there says what to do."""

import ast
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from scripts.devtools import bootstrap
from scripts.devtools.bootstrap import BootstrapError, ensure_environment, explain
from scripts.devtools.services import TREE

DOOR = TREE / "scripts" / "muttdev.py"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a checkout that needs one package which is nowhere to be had."""
    (tmp_path / "requirements").mkdir()
    lock = f"no-such-package==1.0 --hash=sha256:{'0' * 64}\n"
    for name in (bootstrap.DEVELOPMENT, bootstrap.TESTS):
        bootstrap.lock_file(tmp_path, name).write_text(lock, encoding="utf-8")
    return tmp_path


def test_a_python_that_is_too_old_is_named_with_what_to_do() -> None:
    code = f"import sys, runpy; sys.version_info = (3, 9, 2); runpy.run_path({str(DOOR)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "needs Python 3.11 or newer" in done.stderr
    assert "is Python 3.9" in done.stderr
    assert "python3.12 scripts/muttdev.py" in done.stderr


def test_the_door_is_readable_to_old_pythons() -> None:
    ast.parse(DOOR.read_text(encoding="utf-8"), feature_version=(3, 6))


@pytest.mark.parametrize("name", [bootstrap.DEVELOPMENT, bootstrap.TESTS])
def test_a_current_environment_installs_nothing(tree: Path, name: str) -> None:
    python = tree / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    packages = tree / ".venv" / "lib" / "python3.11" / "site-packages"
    packages.mkdir(parents=True)
    wanted = hashlib.sha256(bootstrap.lock_file(tree, name).read_bytes()).hexdigest()
    bootstrap.stamp(tree, name).write_text(wanted, encoding="ascii")
    said: list[str] = []
    assert ensure_environment(tree, name, said.append) == python
    assert said == []
    assert (packages / "mutt.pth").read_text(encoding="utf-8") == f"{tree}\n"


def test_without_ensurepip_the_package_to_install_is_named(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ensurepip" else found(name))
    with pytest.raises(BootstrapError, match=r"no ensurepip.*apt install python3\.\d+-venv"):
        ensure_environment(tree)


def test_a_disk_that_is_nearly_full_is_named_before_anything_is_installed(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=5 << 20))
    with pytest.raises(BootstrapError, match=r"has 5 MB left and the packages need about 700 MB: free some space"):
        ensure_environment(tree)
    assert not (tree / ".venv").exists()


def test_without_a_network_the_message_says_what_can_be_set(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    said: list[str] = []
    with pytest.raises(BootstrapError, match=r"package index cannot be reached.*HTTPS_PROXY.*PIP_INDEX_URL"):
        ensure_environment(tree, bootstrap.DEVELOPMENT, said.append)
    assert said[0].startswith("making the virtual environment")
    assert not bootstrap.stamp(tree, bootstrap.DEVELOPMENT).exists()


@pytest.mark.parametrize(
    ("line", "needed"),
    [
        ("up --detach", bootstrap.DEVELOPMENT),
        ("", bootstrap.DEVELOPMENT),
        ("send --count 5", bootstrap.DEVELOPMENT),
        ("test tests/unit", bootstrap.TESTS),
        ("chaos --points", bootstrap.TESTS),
        ("soak --hours 1", bootstrap.TESTS),
        ("bench --quick", bootstrap.TESTS),
        ("up --detach --vault", bootstrap.TESTS),
    ],
)
def test_only_what_a_command_needs_is_installed(line: str, needed: str) -> None:
    assert bootstrap.needed_by(line.split()) == needed


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk is full"),
        ("OSError: [Errno 30] Read-only file system: '/mnt/checkout/.venv'", "cannot be written"),
        ("PermissionError: [Errno 13] Permission denied: '.venv'", "cannot be written"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE", "Do not work around this"),
        ("NewConnectionError: Failed to establish: Temporary failure in name resolution", "cannot be reached"),
        ("ERROR: No matching distribution found for uvloop==0.23.0", "no wheel of it for this platform"),
        ("something nobody foresaw", "the last lines were"),
    ],
)
def test_what_pip_says_is_translated_into_what_to_do(output: str, told: str) -> None:
    assert told in explain(output)
    assert output[:60] in explain(output)


def fake_python(tmp_path: Path, refuses: str) -> Path:
    """Return a program that takes a Python's arguments and dies of an illegal instruction at one import."""
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\ncase "$2" in "import {refuses}") kill -ILL $$ ;; esac\n',
        encoding="utf-8",
    )
    python.chmod(0o755)
    return python


def test_an_optional_package_that_the_processor_refuses_is_done_without(tmp_path: Path) -> None:
    said: list[str] = []
    bootstrap._check_compiled(fake_python(tmp_path, "hiredis"), said.append)
    assert "hiredis does not run on this processor (signal 4, illegal instruction): done without it" in said[0]
    assert "pip uninstall -y -q hiredis" in (tmp_path / "calls").read_text(encoding="utf-8")


def test_a_needed_package_that_the_processor_refuses_stops_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BootstrapError, match=r"msgspec does not run on this processor.*Use a machine"):
        bootstrap._check_compiled(fake_python(tmp_path, "msgspec"), print)
