"""This machine's system below overlays: what is installed there as root vanishes with the test, and is nowhere else."""

import ctypes
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.harness.processes import ServiceProcess, find_service
from tests.release.units import Unit

CHANGED = ("opt", "etc", "usr/local", "var/log")
SETUP = """
set -e
mount -t tmpfs -o mode=755 tmpfs "$0"
for folder in "$@"; do
    mkdir -p "$0/upper/$folder" "$0/work/$folder"
    mount -t overlay overlay -o "lowerdir=/$folder,upperdir=$0/upper/$folder,workdir=$0/work/$folder" "/$folder"
done
echo ready
read -r _
"""
IN_FOLDER = 'cd "$0" && exec "$@"'
UNITS = "usr/local/lib/systemd/system"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PR_SET_MDWE, MDWE_REFUSE_EXEC_GAIN = 65, 1
_libc = ctypes.CDLL(None)


class System:
    """That system, for as long as its first process lives; `root` leads into it from outside."""

    def __init__(self, holder: int) -> None:
        self._holder = holder
        self.root = Path(f"/proc/{holder}/root")

    def prefix(self, folder: Path | str, *, network: bool = True) -> list[str]:
        """Return what has to stand in front of a command to run it there, in `folder`."""
        denied = [] if network else ["unshare", "-n"]
        return ["nsenter", "-t", str(self._holder), "-m", *denied, "sh", "-c", IN_FOLDER, str(folder)]

    def unit(self, name: str) -> Unit:
        """Return an installed unit."""
        return Unit(self.root / UNITS / name)


@contextmanager
def overlaid_system(folder: Path) -> Iterator[System]:
    """Make such a system with its changes in `folder`, in memory; skips where only a real root could."""
    folder.mkdir()
    with subprocess.Popen(
        ["unshare", "-m", "bash", "-c", SETUP, str(folder), *CHANGED],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stderr is not None
        if holder.stdout.readline() != "ready\n":
            pytest.skip(f"the system cannot be overlaid here (root and overlayfs are needed): {holder.stderr.read()}")
        try:
            yield System(holder.pid)
        finally:
            holder.kill()


class UnitProcess(ServiceProcess):
    """A service as its installed unit starts it: that command, user, folder and environment, and nothing else."""

    def __init__(self, system: System, name: str, log_file: Path) -> None:
        super().__init__(find_service(name), {}, log_file)
        self.unit = system.unit(f"mutt-{name}.service")
        self.environment = self.unit.environment(system.root)
        self.ports = {use: int(self.environment[variable]) for use, (variable, _) in self.service.ports.items()}
        self._command = unit_command(system, self.unit)

    def start(self, *, wait: bool = True) -> None:
        """Start it."""
        with self.log_file.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=_deny_executable_memory,  # noqa: PLW1509  # one system call, no lock
            )
        if wait:
            self.wait_healthy()


def run_unit(system: System, name: str) -> "subprocess.CompletedProcess[str]":
    """Do what `systemctl start` does with a unit that runs and ends."""
    unit = system.unit(name)
    return subprocess.run(
        unit_command(system, unit),
        env=unit.environment(system.root),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        preexec_fn=_deny_executable_memory,  # as above
    )


def unit_command(system: System, unit: Unit) -> list[str]:
    """Return a unit's command as its user, without any right of root's; systemd says more, and this as well."""
    user, group = unit.one("User"), unit.one("Group")
    rights = ["--no-new-privs", "--inh-caps=-all", "--bounding-set=-all", "--pdeathsig=KILL"]
    drop = ["setpriv", f"--reuid={user}", f"--regid={group}", "--init-groups", *rights]
    return [*system.prefix(unit.one("WorkingDirectory")), *drop, *unit.command()]


def _deny_executable_memory() -> None:
    """Take away what MemoryDenyWriteExecute takes away, where the kernel can do so for a process."""
    _libc.prctl(PR_SET_MDWE, MDWE_REFUSE_EXEC_GAIN, 0, 0, 0)
