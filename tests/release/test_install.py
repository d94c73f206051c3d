"""install.sh with small bundles: what it checks, keeps, switches and removes."""

import hashlib
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from scripts import make_release
from tests.harness.documents import command
from tests.release.bundles import WHEELS, install, run_installer, tiny, unpacked

FIRST, SECOND = "2.5.0-1", "2.5.0-2"
SETTINGS, SECRET = "etc/mutt/mutt.env", "etc/mutt/secrets/vault_secret_id"
UNITS = "usr/local/lib/systemd/system"


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an unpacked bundle."""
    return unpacked(tiny(FIRST), tmp_path_factory.mktemp("first"))


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the bundle after it: it drops a unit and ships other settings."""
    release = tiny(SECOND, **{"release/mutt.env": "VAULT_ADDR=https://vault.example\nNEW_SETTING=1\n"})
    del release.files["systemd/mutt-archive.timer"]
    return unpacked(release, tmp_path_factory.mktemp("second"))


@pytest.fixture
def copy(first: Path, tmp_path: Path) -> Path:
    """Return a bundle that the test may damage."""
    return shutil.copytree(first, tmp_path / "bundle")


def seal(bundle: Path) -> None:
    """Write the checksums of a changed bundle anew."""
    files = sorted(path for path in bundle.rglob("*") if path.is_file() and path.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(bundle)}\n" for path in files]
    (bundle / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


def refusal(script: Path, root: Path, *arguments: str) -> str:
    """Run install.sh, which has to refuse, and return what it said."""
    done = run_installer(script, root, *arguments)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def installed(first: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a root with the first release and settings of its operator; for tests to copy."""
    root = tmp_path_factory.mktemp("installed")
    for name in (FIRST, f".{FIRST}.partial"):  # as an interrupted run leaves them
        (root / "opt/mutt/releases" / name / "left-behind").mkdir(parents=True)
    assert f"installed {FIRST}" in install(first, root)
    (root / SETTINGS).write_text("REDIS_HOST=redis.example\n", encoding="ascii")
    (root / SECRET).write_text("secret", encoding="ascii")
    return root


@pytest.fixture(scope="module")
def upgraded(installed: Path, second: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return a copy of that root after the second release, and what its installation said."""
    root = copy_of(installed, tmp_path_factory.mktemp("upgraded"))
    return root, install(second, root)


def copy_of(root: Path, folder: Path) -> Path:
    """Copy a root: nothing in it depends on where it lies."""
    return shutil.copytree(root, folder / "root", symlinks=True)


def python(root: Path, program: str) -> "subprocess.Popen[str]":
    """Start the Python that the units name."""
    return subprocess.Popen(
        [str(root / "opt/mutt/venv/bin/python"), "-c", program],
        env={"PATH": os.environ["PATH"], "PYTHONSAFEPATH": "1"},
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def imported_from(root: Path) -> str:
    """Return the release that the units' Python imports from."""
    with python(root, "import mutt; print(mutt.__file__)") as process:
        return Path(process.communicate(timeout=60)[0].strip()).parent.parent.name


def test_an_upgrade_keeps_the_configuration_and_shows_the_new_one_beside_it(
    installed: Path, upgraded: tuple[Path, str]
) -> None:
    root, said = upgraded
    assert imported_from(installed) == FIRST
    assert imported_from(root) == SECOND
    assert "mutt.env.new" in said
    assert "install.sh rollback" in said
    assert (root / SETTINGS).read_text(encoding="ascii") == "REDIS_HOST=redis.example\n"
    assert (root / SECRET).read_text(encoding="ascii") == "secret"
    assert "NEW_SETTING" in (root / f"{SETTINGS}.new").read_text(encoding="ascii")
    assert not (root / UNITS / "mutt-archive.timer").exists(), "the second release has none"


def test_installing_what_is_installed_changes_nothing(installed: Path, first: Path, tmp_path: Path) -> None:
    root = copy_of(installed, tmp_path)
    assert "is there already" in install(first, root)
    assert not (root / f"{SETTINGS}.new").exists()
    assert [path.name for path in (root / "opt/mutt/releases").iterdir()] == [FIRST]


def test_a_rollback_is_one_command_and_brings_the_units_back_too(upgraded: tuple[Path, str], tmp_path: Path) -> None:
    root = copy_of(upgraded[0], tmp_path)
    installer = root / "opt/mutt/install.sh"
    done = run_installer(installer, root, "rollback")
    assert done.returncode == 0, done.stderr
    assert imported_from(root) == FIRST
    assert (root / UNITS / "mutt-archive.timer").exists()
    assert run_installer(installer, root, "list").stdout == f"* {FIRST}\n  {SECOND}\n"
    assert "is in use" in refusal(installer, root, "remove", FIRST)
    assert run_installer(installer, root, "remove", SECOND).returncode == 0
    assert "no release" in refusal(installer, root, "rollback")


def test_a_release_in_use_is_not_removed_by_another_spelling_of_its_name(installed: Path, tmp_path: Path) -> None:
    installer = installed / "opt/mutt/install.sh"
    for spelling in (f"{FIRST}/", f"../releases/{FIRST}", f"./{FIRST}", ".."):
        assert "is no name of a release" in refusal(installer, installed, "remove", spelling)
    assert imported_from(installed) == FIRST


def test_a_root_that_is_empty_is_not_the_system(first: Path) -> None:
    done = subprocess.run(
        ["sh", str(first / "install.sh"), "list", "--root", ""], capture_output=True, text=True, check=False
    )
    assert (done.returncode, "--root needs a value" in done.stderr) == (1, True)


def test_an_installation_that_is_killed_at_the_switch_can_be_rolled_back(
    upgraded: tuple[Path, str], second: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = copy_of(upgraded[0], tmp_path)
    base, tools = root / "opt/mutt", tmp_path / "bin"
    (base / "previous").unlink()
    (base / "current").unlink()
    (base / "current").symlink_to(f"releases/{FIRST}")
    command(tools, "mv", tmp_path / "mv")
    (tmp_path / "mv").write_text('#!/bin/sh\n/bin/mv "$@"\n[ "$1" != -T ] || kill -9 $PPID\n', encoding="ascii")
    (tmp_path / "mv").chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
        assert run_installer(second / "install.sh", root).returncode == -signal.SIGKILL
    assert imported_from(root) == SECOND
    assert run_installer(base / "install.sh", root, "rollback").returncode == 0
    assert imported_from(root) == FIRST


def test_a_full_disk_leaves_what_is_installed_as_it_was(installed: Path, second: Path, tmp_path: Path) -> None:
    # No file can grow beyond a size, which ends a writer as a full disk does.
    root = copy_of(installed, tmp_path)
    before = {path: path.read_bytes() for path in (root / UNITS).iterdir()}
    done = run_installer(second / "install.sh", root, before=("prlimit", "--fsize=9000"))
    assert done.returncode != 0
    assert [path.name for path in (root / "opt/mutt/releases").iterdir()] == [FIRST], "no half of the second one"
    assert {path: path.read_bytes() for path in (root / UNITS).iterdir()} == before
    assert imported_from(root) == FIRST
    # All of the release is there, and the units do not fit any more.
    done = run_installer(root / "opt/mutt/install.sh", root, "rollback", FIRST, before=("prlimit", "--fsize=300"))
    assert done.returncode != 0
    assert {path: path.read_bytes() for path in (root / UNITS).iterdir()} == before


def test_a_process_goes_on_with_the_libraries_of_its_own_release_after_a_switch(
    upgraded: tuple[Path, str], tmp_path: Path
) -> None:
    root = copy_of(upgraded[0], tmp_path)
    program = "print(1, flush=True); input(); import itsdangerous, mutt; print(itsdangerous.__file__, mutt.__file__)"
    with python(root, program) as process:
        assert process.stdout
        process.stdout.readline()
        assert run_installer(root / "opt/mutt/install.sh", root, "rollback").returncode == 0
        said, _ = process.communicate("\n", timeout=60)
    assert said.count(f"/releases/{SECOND}/") == 2


def test_uninstalling_keeps_what_an_operator_made_unless_it_is_purged(installed: Path, tmp_path: Path) -> None:
    root = copy_of(installed, tmp_path)
    installer = tmp_path / "install.sh"  # which outlives what it deletes
    shutil.copy(root / "opt/mutt/install.sh", installer)
    assert run_installer(installer, root, "uninstall").returncode == 0
    assert not (root / "opt/mutt").exists()
    assert not list((root / UNITS).iterdir())
    assert (root / SETTINGS).exists()
    (root / "var/lib/mutt/archive").mkdir(parents=True)
    done = run_installer(installer, root, "uninstall", "--purge")
    assert (done.returncode, "var/lib/mutt, which holds archived events" in done.stdout) == (0, True)
    assert not (root / SETTINGS).parent.exists()
    assert (root / "var/lib/mutt/archive").exists()


def test_a_damaged_bundle_is_refused_before_anything_is_written(copy: Path, tmp_path: Path) -> None:
    wheel = next((copy / "wheels").iterdir())
    wheel.write_bytes(wheel.read_bytes()[:-1] + b"!")
    said = refusal(copy / "install.sh", tmp_path / "root")
    assert "damaged" in said
    assert wheel.name in said
    assert not (tmp_path / "root").exists()


def test_a_file_that_no_checksum_covers_is_refused(copy: Path, tmp_path: Path) -> None:
    (copy / "tree/services/more.py").write_text("import os\n", encoding="ascii")
    assert "SHA256SUMS lists" in refusal(copy / "install.sh", tmp_path / "root")


def test_a_wheel_that_the_lock_file_does_not_know_is_refused_even_when_the_checksums_fit(
    copy: Path, tmp_path: Path
) -> None:
    lock, base = copy / "tree/requirements/runtime.txt", tmp_path / "root/opt/mutt"
    lock.write_text(re.sub(r"sha256:\w{64}", "sha256:" + "0" * 64, lock.read_text("utf-8")), encoding="utf-8")
    seal(copy)
    assert "HASHES" in refusal(copy / "install.sh", tmp_path / "root")
    assert not list((base / "releases").iterdir()), "what failed leaves no half of a release"
    assert not (base / "current").exists()


def test_what_an_interrupted_run_left_is_built_anew(installed: Path) -> None:
    releases = installed / "opt/mutt/releases"
    assert (releases / FIRST / "venv/bin/python").exists()
    assert not (releases / FIRST / "left-behind").exists()
    assert [path.name for path in releases.iterdir()] == [FIRST]


@pytest.mark.parametrize(
    ("name", "value", "answer"),
    [
        ("python", "3.99", "Python 3.99 is needed"),
        ("machine", "pdp11", "the bundle is for pdp11"),
        ("glibc", "99.1", "glibc 99.1 or newer"),
    ],
)
def test_a_bundle_for_another_system_says_so(copy: Path, tmp_path: Path, name: str, value: str, answer: str) -> None:
    release = copy / "RELEASE"
    release.write_text(re.sub(f"(?m)^{name}=.*$", f"{name}={value}", release.read_text("utf-8")), encoding="utf-8")
    seal(copy)
    assert answer in refusal(copy / "install.sh", tmp_path / "root")


def test_words_that_mean_nothing_are_named(first: Path, tmp_path: Path) -> None:
    assert "unknown command upgrade" in refusal(first / "install.sh", tmp_path, "upgrade")
    assert "unknown option --force" in refusal(first / "install.sh", tmp_path, "--force")
    assert "nothing is installed" in refusal(first / "install.sh", tmp_path, "list")


def test_the_same_commit_and_wheels_make_the_same_bytes(tmp_path: Path) -> None:
    one, other = (make_release.make_release(tiny(FIRST), tmp_path / name, WHEELS) for name in ("one", "other"))
    assert one.read_bytes() == other.read_bytes()
    (line,) = one.with_name(f"{one.name}.sha256").read_text("ascii").splitlines()
    assert line == f"{hashlib.sha256(one.read_bytes()).hexdigest()}  {one.name}"


def test_a_bundle_of_no_commit_is_refused_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert make_release.main(["--ref", "no-such-commit", "--output", str(tmp_path)]) == 1
    assert "git rev-parse" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
