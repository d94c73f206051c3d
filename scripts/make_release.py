"""Make a bundle that installs without a network: the tree, a wheelhouse by the lock file, install.sh and checksums.

The same commit and the same wheels give the same bytes, on any machine: files are sorted, times are the commit's, and
the archive is not compressed, since wheels are.
"""

import argparse
import fcntl
import hashlib
import io
import platform
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

TREE = Path(__file__).resolve().parent.parent
LOCK, TOOLS_LOCK = "requirements/runtime.txt", "requirements/release.txt"
INSTALLER, ENV_FILE = "release/install.sh", "release/mutt.env"
# What a machine in production has no use for.
LEFT_OUT = (
    "tests/",
    "benchmarks/",
    "release/",
    "scripts/devtools/",
    "scripts/muttdev.py",
    "requirements/development",
    "requirements/tests",
)
HIDDEN = "."
# The oldest glibc whose wheels are taken, so that a bundle made on a new system installs on RHEL 8 and Debian 11.
GLIBC = "2.28"
MANYLINUX = ("_2_28", "_2_27", "_2_26", "_2_24", "_2_17", "2014", "_2_12", "2010", "_2_5", "1")
EXECUTABLE, PLAIN = 0o755, 0o644


class ReleaseError(Exception):
    """No bundle can be made; the message says why and what to do."""


class File(NamedTuple):
    """One file of the bundle."""

    content: bytes
    mode: int = PLAIN


class Source(NamedTuple):
    """What of the repository is bundled."""

    version: str
    commit: str
    time: int
    files: dict[str, File]


def read_source(ref: str, *, working_tree: bool = False, tree: Path = TREE) -> Source:
    """Return the files of a commit, or with `working_tree` those of the checkout but for what git ignores."""
    commit = _git(tree, "rev-parse", "--verify", f"{ref}^{{commit}}").decode().strip()
    time = int(_git(tree, "show", "-s", "--format=%ct", commit))
    files = _checkout(tree) if working_tree else _archive(_git(tree, "archive", "--format=tar", commit))
    for needed in (LOCK, TOOLS_LOCK, INSTALLER, ENV_FILE, "pyproject.toml"):
        if needed not in files:
            raise ReleaseError(f"{ref} holds no {needed}: there is nothing to make a bundle of")
    number = tomllib.loads(files["pyproject.toml"].content.decode())["project"]["version"]
    version = f"{number}-{commit[:12]}"
    if working_tree and _git(tree, "status", "--porcelain"):
        version += "-dirty"
    return Source(version, commit, time, files)


def _checkout(tree: Path) -> dict[str, File]:
    found = {}
    for name in _git(tree, "ls-files", "-z", "--cached", "--others", "--exclude-standard").decode().split("\0"):
        path = tree / name
        if name and path.is_file():
            found[name] = File(path.read_bytes(), EXECUTABLE if path.stat().st_mode & 0o100 else PLAIN)
    return found


def _archive(data: bytes) -> dict[str, File]:
    found = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isreg() else None
            if content is not None:
                found[member.name] = File(content.read(), EXECUTABLE if member.mode & 0o100 else PLAIN)
    return found


def _git(tree: Path, *arguments: str) -> bytes:
    try:
        done = subprocess.run(["git", "-C", str(tree), *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        raise ReleaseError("git is not installed, and a bundle is made of a commit") from None
    if done.returncode != 0:
        raise ReleaseError(f"git {arguments[0]}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def fill_wheelhouse(folder: Path, lock: str) -> dict[str, File]:
    """Return the wheels that the lock names for this Python; only what `folder` lacks is downloaded to it."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = _locked(lock)
    with (folder / ".lock").open("w", encoding="ascii") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)  # two that download into one folder would spoil each other's files
        if len(_chosen(folder, wanted)) < len(wanted):
            _download(folder, wanted)
        chosen = _chosen(folder, wanted)
    missing = sorted(wanted.keys() - chosen.keys())
    if missing:
        raise ReleaseError(f"{folder} lacks a wheel of {', '.join(missing)} that the lock file knows by its hash")
    return {path.name: File(path.read_bytes()) for path in chosen.values()}


def _locked(lock: str) -> dict[str, set[str]]:
    """Return the hashes of each `name==version` that some patch release of this Python needs."""
    try:
        from packaging.requirements import Requirement
    except ModuleNotFoundError:
        raise ReleaseError(
            f"{sys.executable} lacks the library packaging: use the checkout's own Python, .venv/bin/python, which "
            "scripts/muttdev.py makes"
        ) from None
    found: dict[str, set[str]] = {}
    for line in lock.replace("\\\n", " ").splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        text, *hashes = line.split(" --hash=sha256:")
        requirement = Requirement(text.strip())
        patches = ({"python_full_version": f"{_python()}.{patch}"} for patch in (0, 99))
        if requirement.marker is None or any(map(requirement.marker.evaluate, patches)):
            found[f"{requirement.name}{requirement.specifier}"] = {value.strip() for value in hashes}
    return found


def _chosen(folder: Path, wanted: dict[str, set[str]]) -> dict[str, Path]:
    hashes = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in sorted(folder.glob("*.whl"))}
    chosen = {name: next((hashes[h] for h in sorted(known) if h in hashes), None) for name, known in wanted.items()}
    return {name: path for name, path in chosen.items() if path is not None}


def _download(folder: Path, wanted: dict[str, set[str]]) -> None:
    lock_file = folder / "wanted.txt"  # without the lock's conditions, which pip would judge by its own patch release
    lines = (f"{name} {' '.join(f'--hash=sha256:{value}' for value in hashes)}\n" for name, hashes in wanted.items())
    lock_file.write_text("".join(lines), encoding="ascii")
    machine = platform.machine()
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--require-hashes", "--no-deps", "--only-binary", ":all:", "--dest", str(folder), "-r", str(lock_file)]
    command += ["--implementation", "cp", "--python-version", _python(), "--abi", f"cp{_python().replace('.', '')}"]
    command += ["--abi", "abi3", "--abi", "none"]
    for tag in MANYLINUX:
        command += ["--platform", f"manylinux{tag}_{machine}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        errors = "\n".join(line for line in done.stderr.splitlines() if not line.startswith("WARNING"))
        raise ReleaseError(f"the wheels cannot be downloaded:\n{errors}")


def _python() -> str:
    return ".".join(map(str, sys.version_info[:2]))


def pack(source: Source, wheels: dict[str, File], tools: dict[str, File]) -> bytes:
    """Return the bundle as a tar archive."""
    release = {
        "version": source.version,
        "commit": source.commit,
        "python": _python(),
        "machine": platform.machine(),
        "glibc": GLIBC,
    }
    tree = {name: file for name, file in source.files.items() if not name.startswith((*LEFT_OUT, HIDDEN))}
    files = {f"tree/{name}": file for name, file in tree.items()}
    files |= {f"wheels/{name}": file for name, file in wheels.items()}
    files |= {f"tools/{name}": file for name, file in tools.items()}
    files["install.sh"] = File(source.files[INSTALLER].content, EXECUTABLE)
    files["mutt.env"] = source.files[ENV_FILE]
    files["RELEASE"] = File("".join(f"{name}={value}\n" for name, value in release.items()).encode())
    sums = (f"{hashlib.sha256(file.content).hexdigest()}  {name}\n" for name, file in sorted(files.items()))
    files["SHA256SUMS"] = File("".join(sums).encode())
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, file in sorted(files.items()):
            member = tarfile.TarInfo(f"mutt-{source.version}/{name}")
            member.size, member.mode, member.mtime = len(file.content), file.mode, source.time
            member.uname = member.gname = "root"
            tar.addfile(member, io.BytesIO(file.content))
    return archive.getvalue()


def make_release(source: Source, output: Path, wheelhouse: Path) -> Path:
    """Write the bundle and, beside it, its checksum; returns the bundle's path."""
    wheels, tools = (fill_wheelhouse(wheelhouse, source.files[lock].content.decode()) for lock in (LOCK, TOOLS_LOCK))
    bundle = output / f"mutt-{source.version}.tar"
    content = pack(source, wheels, tools)
    output.mkdir(parents=True, exist_ok=True)
    bundle.write_bytes(content)
    line = f"{hashlib.sha256(content).hexdigest()}  {bundle.name}\n"
    bundle.with_name(f"{bundle.name}.sha256").write_text(line, encoding="ascii")
    return bundle


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 is success, 1 no bundle."""
    parser = argparse.ArgumentParser(prog="make_release.py", description=__doc__)
    parser.add_argument("--ref", default="HEAD", help="the commit to bundle (default: HEAD)")
    parser.add_argument("--working-tree", action="store_true", help="bundle the checkout as it is, to try it")
    parser.add_argument("--output", type=Path, default=TREE / "dist", help="folder of the bundle (default: dist)")
    parser.add_argument("--wheels", type=Path, help="folder that keeps wheels between bundles (default: OUTPUT/wheels)")
    options = parser.parse_args(arguments)
    try:
        source = read_source(options.ref, working_tree=options.working_tree)
        bundle = make_release(source, options.output, options.wheels or options.output / "wheels")
    except (ReleaseError, OSError) as error:
        print(f"make_release.py: {error}", file=sys.stderr)
        return 1
    print(f"{bundle}: Python {_python()}, {platform.machine()}, {bundle.stat().st_size >> 20} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
