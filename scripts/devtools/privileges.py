"""How a child process gets fewer rights than root, and how it dies with its parent.

PostgreSQL refuses to run as root, so root drops to an ordinary user for it. Where a folder on the way is
closed to that user (a checkout in /root, say) the server keeps one capability: to pass through such folders.
"""

import ctypes
import os
import pwd
import shutil
import signal
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

UNPRIVILEGED_USERS = ("nobody", "postgres", "daemon")
PR_SET_PDEATHSIG = 1
CAP_SETPCAP = 8  # linux/capability.h
PASSING_CAPABILITIES = {"dac_read_search": 2, "dac_override": 1}


class EmbeddedServerError(Exception):
    """A server cannot be made or started here; the text says why and what to do."""


@dataclass(frozen=True)
class Command:
    """What subprocess needs to run one server: the arguments and the other keywords of Popen."""

    arguments: list[str]
    options: dict[str, Any] = field(default_factory=dict)


def die_with_parent(signal_number: int = signal.SIGKILL) -> Callable[[], None] | None:
    """Return a preexec function that has Linux send `signal_number` to the child when its parent dies."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)  # loaded before the fork: afterwards is too late to import safely
    parent = os.getpid()

    def ask_for_signal() -> None:
        libc.prctl(PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0)
        if os.getppid() != parent:  # the parent died between fork and prctl
            os._exit(1)

    return ask_for_signal


def postgres_user() -> tuple[int, int] | None:
    """Return the user and group that PostgreSQL runs as, or None when it may be the caller's own."""
    if os.geteuid() != 0:
        return None
    for name in UNPRIVILEGED_USERS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return entry.pw_uid, entry.pw_gid
    raise EmbeddedServerError(
        "PostgreSQL refuses to run as root, and /etc/passwd lists none of "
        f"{', '.join(UNPRIVILEGED_USERS)} to run it as: add one of them, or run muttdev as an ordinary user"
    )


def closed_folder(path: Path, uid: int, gid: int) -> Path | None:
    """Return the first folder on the way to `path` (itself included) that the user may not pass through."""
    resolved = path.resolve()
    for folder in (*reversed(resolved.parents), resolved):
        if not folder.is_dir():
            continue
        found = folder.stat()
        if found.st_uid == uid:
            allowed = found.st_mode & 0o100
        elif found.st_gid == gid:
            allowed = found.st_mode & 0o010
        else:
            allowed = found.st_mode & 0o001
        if not allowed:
            return folder
    return None


def as_postgres_user(arguments: list[str], paths: Iterable[Path], death_signal: int | None = None) -> Command:
    """Return the command that runs `arguments` without root's rights, able to reach `paths`."""
    options: dict[str, Any] = {}
    if death_signal is not None:
        options["preexec_fn"] = die_with_parent(death_signal)
    user = postgres_user()
    if user is None:
        return Command(arguments, options)
    uid, gid = user
    closed = next(filter(None, (closed_folder(path, uid, gid) for path in paths)), None)
    if closed is None:
        return Command(arguments, {**options, "user": uid, "group": gid, "extra_groups": []})
    setpriv = shutil.which("setpriv")
    capability = _passing_capability()
    if setpriv is None or capability is None:
        raise EmbeddedServerError(
            f"PostgreSQL does not run as root, and its user instead (uid {uid}) may not enter {closed}. "
            f"Open that folder for passing through (chmod o+x {closed}), or move: a checkout elsewhere, or "
            "--data-dir DIR in a folder that everybody may enter"
        )
    prefix = [setpriv, f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--no-new-privs"]
    # access(), with which PostgreSQL looks at its programs, goes by root's rights alone unless this bit is set.
    prefix.append("--securebits=+no_setuid_fixup")
    prefix += [f"--inh-caps=-all,+{capability}", f"--ambient-caps=+{capability}"]
    if death_signal is not None:
        prefix.append(f"--pdeathsig={signal.Signals(death_signal).name}")  # a change of user had cleared it
    return Command([*prefix, "--", *arguments], options)


def _passing_capability() -> str | None:
    """Return a capability of this process that lets a user pass through closed folders; None off Linux."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return None
    held = int(next(line.split()[1] for line in status.splitlines() if line.startswith("CapPrm")), 16)
    if not held >> CAP_SETPCAP & 1:  # without it none can be handed on
        return None
    return next((name for name, bit in PASSING_CAPABILITIES.items() if held >> bit & 1), None)
