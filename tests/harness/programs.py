"""Outside programs that tests and benchmarks talk to: the machine's, or of Debian's packages unpacked into .tools/."""

import os
import shutil
import sysconfig
from pathlib import Path
from typing import NamedTuple

import pytest

TOOLS = Path(__file__).resolve().parent.parent.parent / ".tools"
POSTGRES = "postgresql/15/bin"
# The package that brings each program, as .ci/programs unpacks it.
PACKAGES = {
    "redis-server": "redis-server",
    "redis-cli": "redis-tools",
    "redis-benchmark": "redis-tools",
    "postgres": "postgresql-15",
    "initdb": "postgresql-15",
    "pg_ctl": "postgresql-15",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "amtool": "prometheus-alertmanager",
    "syslog-ng": "syslog-ng-core",
    "rsyslogd": "rsyslog",
    "snmptrapd": "snmptrapd",
    "snmptrap": "snmp",
    "snmptranslate": "snmp",
    "systemd-analyze": "systemd",
    "curl": "curl",
    "rsync": "rsync",
    "wrk": "wrk",
    "chromium-headless-shell": "chromium-headless-shell",
}
# Programs that are on no PATH.
FOLDERS = {"postgres": POSTGRES, "initdb": POSTGRES, "pg_ctl": POSTGRES, "chromium-headless-shell": "chromium"}


class Program(NamedTuple):
    """A program and the environment that it runs in."""

    path: Path
    environment: dict[str, str]

    @property
    def is_unpacked(self) -> bool:
        """Tell whether it lies in .tools/, where its modules and data files are too."""
        return self.path.is_relative_to(TOOLS)

    def companion(self, path: str) -> Path:
        """Return where a file of its package is: `/usr/lib/…` itself, or that path below .tools/."""
        return TOOLS / path.lstrip("/") if self.is_unpacked else Path(path)


def program(name: str) -> Program:
    """Return the program; skips the test, saying what is missing, where it is neither installed nor unpacked."""
    found = find(name)
    if found is None:
        pytest.skip(f"{name} is not here: bash .ci/programs unpacks Debian's {PACKAGES[name]} into .tools/")
    return found


def find(name: str) -> Program | None:
    """Return the program, or None where it is neither installed nor unpacked."""
    path = _find(name)
    if path is None:
        return None
    environment = dict(os.environ)
    if path.is_relative_to(TOOLS):
        libraries = [TOOLS / "usr" / "lib" / "syslog-ng", *sorted((TOOLS / "usr" / "lib").glob("*-linux-gnu*"))]
        libraries += sorted((TOOLS / "lib").glob("*-linux-gnu*"))
        environment["LD_LIBRARY_PATH"] = ":".join(map(str, libraries))
    return Program(path, environment)


def library_folder(of: Program) -> Path:
    """Return the folder of the machine's architecture that the program's modules lie in."""
    triplet = sysconfig.get_config_var("MULTIARCH") or f"{os.uname().machine}-linux-gnu"
    return of.companion(f"/usr/lib/{triplet}")


def _find(name: str) -> Path | None:
    if folder := FOLDERS.get(name):
        there = [Path("/usr/lib") / folder / name, TOOLS / "usr" / "lib" / folder / name]
        return next((path for path in there if path.exists()), None)
    places = [os.environ.get("PATH", ""), "/usr/sbin", "/sbin", str(TOOLS / "usr" / "bin"), str(TOOLS / "usr" / "sbin")]
    found = shutil.which(name, path=os.pathsep.join(places))
    return Path(found) if found else None
