"""From a bare Python to the commands: the virtual environment, the locked packages, the tree on its path.

Standard library only. A second run finds the stamp of the same lock file and installs nothing.
"""

import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

TREE = Path(__file__).resolve().parent.parent.parent
# What `up` needs, and what tests, benchmarks and the developers' Vault need besides: the second holds the first.
DEVELOPMENT, TESTS = "development", "tests"
# Bytes: the environment takes 300 MB, or 1 GB with the tests' servers, and pip's downloads pass through the same disk.
NEEDED_SPACE = {DEVELOPMENT: 700 << 20, TESTS: 2000 << 20}

# What a processor may refuse: compiled code. Each optional one names what works in its place.
COMPILED = ("aiohttp", "ahocorasick_rs", "httptools", "msgspec", "psycopg", "psutil", "re2", "uvloop")
OPTIONAL = {"hiredis": "redis-py parses replies in Python instead, which is slower"}

INDEX_UNREACHABLE = (
    r"name resolution|NewConnectionError|Connection refused|Connection reset|Network is unreachable|timed out|"
    r"ProxyError|SSLError|CERTIFICATE|Max retries|Could not fetch URL|No route to host"
)
HELP_BY_SYMPTOM = {
    r"No space left on device|Errno 28": (
        "the disk is full. Free about 1 GB where the checkout is (and in the folder of TMPDIR), then run it again"
    ),
    r"Read-only file system|Errno 30|Permission denied|Errno 13": (
        "a folder cannot be written. Make the checkout writable for this user, or clone it to where it is"
    ),
    r"DO NOT MATCH THE HASHES": (
        "the package index served a file that requirements/*.txt do not list. Do not work around this: look at the "
        "index or mirror that pip is configured with (pip config list)"
    ),
    INDEX_UNREACHABLE: (
        "the package index cannot be reached. Check the network; behind a proxy set HTTPS_PROXY; with a mirror "
        "set PIP_INDEX_URL; without any network set PIP_NO_INDEX=1 and PIP_FIND_LINKS=FOLDER with the wheels"
    ),
    r"No matching distribution|Could not find a version": (
        "the package index has no wheel of it for this platform and Python. The developer mode runs on Linux "
        "(x86_64, aarch64; glibc) and macOS (arm64) with Python 3.11 to 3.14; an incomplete mirror looks the same"
    ),
}


class BootstrapError(Exception):
    """The environment cannot be made; the text says why and what to do."""


def main(arguments: Sequence[str]) -> NoReturn:
    """Make sure that the environment is there and current, and become `python -m scripts.devtools` in it."""
    try:
        python = ensure_environment(TREE, needed_by(arguments))
    except BootstrapError as error:
        sys.exit(f"muttdev: {error}")
    except OSError as error:
        sys.exit(f"muttdev: {explain(str(error))}")
    except KeyboardInterrupt:
        sys.exit("muttdev: interrupted; the next run goes on from here")
    os.execv(python, [str(python), "-P", "-m", "scripts.devtools", *arguments])  # noqa: S606


def needed_by(arguments: Sequence[str]) -> str:
    """Return which of the lock files the command on the line needs."""
    proves = bool(arguments) and arguments[0] in {"test", "chaos", "soak", "bench"}
    return TESTS if proves or "--vault" in arguments else DEVELOPMENT


def lock_file(tree: Path, name: str) -> Path:
    """Return where the lock file of that name is."""
    return tree / "requirements" / f"{name}.txt"


def stamp(tree: Path, name: str) -> Path:
    """Return where the environment keeps the sum of the lock file that it was last filled from."""
    return tree / ".venv" / f"installed-{name}.sha256"


def ensure_environment(tree: Path, name: str = DEVELOPMENT, say: Callable[[str], None] | None = None) -> Path:
    """Return the Python of `tree`'s environment, made and filled first where needed. Raises BootstrapError."""
    say = say or (lambda text: print(text, file=sys.stderr, flush=True))
    venv = tree / ".venv"
    python = venv / "bin" / "python"
    lock = lock_file(tree, name)
    if not _is_current(tree, name):
        with _one_at_a_time(lock, say):
            if not _is_current(tree, name):
                _check_space(tree, NEEDED_SPACE[name])
                before = os.umask(0o022)  # PostgreSQL's programs have to be open to the user that root drops to
                try:
                    _make_venv(venv, python, say)
                    _install(python, lock, say)
                    _check_compiled(python, say)
                    for filled in (DEVELOPMENT, TESTS) if name == TESTS else (DEVELOPMENT,):
                        stamp(tree, filled).write_text(_sum(lock_file(tree, filled)), encoding="ascii")
                finally:
                    os.umask(before)
    _put_on_path(venv, tree)
    return python


def _is_current(tree: Path, name: str) -> bool:
    # os.access follows the link: an environment whose Python has been removed is made anew.
    if not os.access(tree / ".venv" / "bin" / "python", os.X_OK):
        return False
    filled = stamp(tree, name)
    return filled.exists() and filled.read_text(encoding="ascii") == _sum(lock_file(tree, name))


def is_stamped(tree: Path) -> bool:
    """Tell whether the environment was filled from today's lock file of `up`."""
    return _is_current(tree, DEVELOPMENT)


def _sum(lock: Path) -> str:
    return hashlib.sha256(lock.read_bytes()).hexdigest()


@contextmanager
def _one_at_a_time(lock: Path, say: Callable[[str], None]) -> Iterator[None]:
    with lock.open("rb") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another muttdev is installing the packages: waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _check_space(tree: Path, needed: int) -> None:
    if not os.access(tree, os.W_OK):
        raise BootstrapError(
            f"{tree} cannot be written (another user's, or a read-only disk), and the environment .venv has to "
            "go there: make the checkout writable, or clone it to where it is"
        )
    free = shutil.disk_usage(tree).free
    if free < needed:
        raise BootstrapError(
            f"the disk of {tree} has {free >> 20} MB left and the packages need about {needed >> 20} MB: "
            "free some space, or clone to another disk"
        )


def _make_venv(venv: Path, python: Path, say: Callable[[str], None]) -> None:
    if os.access(python, os.X_OK):
        return  # there, but of an older lock file: pip brings it up to date
    if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
        raise BootstrapError(
            f"{sys.executable} has no ensurepip, so it cannot make a virtual environment. Debian/Ubuntu: "
            f"apt install python{sys.version_info[0]}.{sys.version_info[1]}-venv. Elsewhere: install the full "
            "Python of the distribution, or run muttdev with another one (/path/to/python3 scripts/muttdev.py …)"
        )
    say(f"making the virtual environment {venv} (Python {sys.version.split()[0]})")
    done = _run([sys.executable, "-m", "venv", "--clear", str(venv)])
    if done.returncode != 0:
        raise BootstrapError(f"the virtual environment could not be made: {explain(done.stderr or done.stdout)}")


def _install(python: Path, lock: Path, say: Callable[[str], None]) -> None:
    total = len(re.findall(r"(?m)^[A-Za-z0-9]\S*==", lock.read_text(encoding="utf-8")))
    say(f"installing {total} locked packages; the first time takes about a minute")
    command = [str(python), "-m", "pip", "install", "--require-hashes", "--only-binary", ":all:", "--no-deps"]
    command += ["--no-input", "--disable-pip-version-check", "--no-color", "--retries", "2", "--timeout", "20"]
    lines: list[str] = []
    with subprocess.Popen(
        [*command, "-r", str(lock)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=_clean_environment(),
    ) as process:
        seen = 0
        for line in process.stdout or ():
            lines.append(line)
            match = re.match(
                r"(?:Collecting|Processing|Requirement already satisfied:) (?:\S*/)?([A-Za-z0-9._]+)", line
            )
            if match:
                seen += 1
                _show(f"  {min(seen, total)}/{total} {match[1]}", last=False)
            elif line.startswith("Installing collected packages"):
                _show(f"  unpacking {seen} packages", last=False)
    _show("", last=True)
    if process.returncode != 0:
        raise BootstrapError(f"the packages could not be installed: {explain(''.join(lines))}")


def _show(text: str, *, last: bool) -> None:
    """Rewrite one line of a terminal; elsewhere say every 20th package, so that a log shows life and little else."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
    elif not last and (text.startswith("  unpacking") or re.match(r"  \d*[02468]?0/", text)):
        print(text, file=sys.stderr, flush=True)


def _check_compiled(python: Path, say: Callable[[str], None]) -> None:
    """Import what is compiled; a processor that lacks an instruction kills the import, not the install."""
    for module in (*COMPILED, *OPTIONAL):
        done = _run([str(python), "-c", f"import {module}"])
        if done.returncode == 0:
            continue
        reason = explain_end(done)
        if module not in OPTIONAL:
            raise BootstrapError(
                f"the package {module} does not run on this processor or system ({reason}): MUTT needs it. "
                "Use a machine with a newer processor (x86-64-v2, ARMv8), or not such a virtual one"
            )
        say(f"  {module} does not run on this processor ({reason}): done without it; {OPTIONAL[module]}")
        _run([str(python), "-m", "pip", "uninstall", "-y", "-q", module])


def _put_on_path(venv: Path, tree: Path) -> None:
    """Put the tree on the environment's path: mutt, services and scripts are imported from where they lie."""
    for packages in venv.glob("lib/python3*/site-packages"):
        entry = packages / "mutt.pth"
        if not entry.exists() or entry.read_text(encoding="utf-8") != f"{tree}\n":
            entry.write_text(f"{tree}\n", encoding="utf-8")


def explain(output: str) -> str:
    """Return what to do about a failed pip or venv, and the lines that say what happened."""
    told = next((text for pattern, text in HELP_BY_SYMPTOM.items() if re.search(pattern, output)), None)
    errors = [line for line in output.splitlines() if re.search(r"error|errno|denied|no space", line, re.IGNORECASE)]
    quoted = "\n".join(f"    {line.strip()[:300]}" for line in (errors or output.splitlines())[-3:])
    return f"{told}.\n{quoted}" if told else f"the last lines were:\n{quoted}"


def explain_end(done: "subprocess.CompletedProcess[str]") -> str:
    """Return how a process ended: the signal, or the last line that it printed."""
    if done.returncode < 0:
        return f"signal {-done.returncode}" + (", illegal instruction" if -done.returncode == signal.SIGILL else "")
    return (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]


def _run(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, check=False, env=_clean_environment())


def _clean_environment() -> dict[str, str]:
    # Either of these would let pip look at, or install into, another Python than the environment's.
    return {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME", "PIP_USER"}}
