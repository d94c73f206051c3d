"""Bundles as the tests need them, unpacked, and install.sh run on a root of its own without any network."""

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from scripts.make_release import TREE, File, Source, make_release, read_source

WHEELS = TREE / "dist" / "wheels"  # kept between runs: the download takes longer than everything else
# As much of the tree as an installation cannot do without, and of the libraries one that is small.
TINY_FILES = (
    "mutt/__init__.py",
    "services/__init__.py",
    "scripts/__init__.py",
    "release/",
    "systemd/",
    "pyproject",
    "requirements/",
)
TINY_LIBRARY = "itsdangerous"
NOWHERE = "http://127.0.0.1:9"


@cache
def checkout() -> Source:
    """Return this checkout as it is now."""
    return read_source("HEAD", working_tree=True)


def tiny(version: str, **changed: str) -> Source:
    """Return a release of a few files; `changed` gives other contents: systemd={"mutt.target": "…"}."""
    files = {name: file for name, file in checkout().files.items() if name.startswith(TINY_FILES)}
    lock = checkout().files["requirements/runtime.txt"].content.decode()
    start = lock.index(f"\n{TINY_LIBRARY}==") + 1
    files["requirements/runtime.txt"] = File(lock[start : lock.index("    # via", start)].encode())
    files |= {name: File(text.encode()) for name, text in changed.items()}
    return checkout()._replace(version=version, files=files)


def unpacked(source: Source, folder: Path) -> Path:
    """Make a bundle below `folder`, unpack it and return where."""
    with tarfile.open(make_release(source, folder, WHEELS)) as archive:
        archive.extractall(folder, filter="data")
    return folder / f"mutt-{source.version}"


def network_is_deniable() -> bool:
    """Whether a process can be started here that has no network at all, not even the loopback."""
    tool = shutil.which("unshare")
    return bool(tool) and subprocess.run([str(tool), "-n", "true"], capture_output=True, check=False).returncode == 0


def run_installer(
    script: Path, root: Path, *arguments: str, before: Sequence[str] = ()
) -> "subprocess.CompletedProcess[str]":
    """Run install.sh on `root`; with no network where the system can deny it, else with a proxy that is not there."""
    denied = ["unshare", "-n"] if network_is_deniable() else []
    environment = {
        "PATH": f"{Path(sys.executable).resolve().parent}:{os.environ['PATH']}",
        "HTTPS_PROXY": NOWHERE,
        "HTTP_PROXY": NOWHERE,
        "PIP_INDEX_URL": NOWHERE,
    }
    return subprocess.run(
        [*denied, *before, "sh", str(script), *arguments, "--root", str(root)],
        env=environment,
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def install(bundle: Path, root: Path, *arguments: str) -> str:
    """Install a bundle and return what it said; fails when it did not install."""
    done = run_installer(bundle / "install.sh", root, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
