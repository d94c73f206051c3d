"""What a killed supervisor may have left behind: processes without a parent, and logs that grew."""

from pathlib import Path

import psutil

from scripts.devtools.embedded import clear_postgres_leftovers
from scripts.devtools.instance import Instance

LARGEST_LOG = 20 << 20  # bytes; a larger one is set aside at the next start, replacing the one before
CLOCK_TOLERANCE = 5.0  # seconds between the start that we noted and the one that the system tells


def clear_leftovers(instance: Instance) -> list[str]:
    """End processes of an earlier run whose supervisor is gone and return their names; hold the lock when calling."""
    found = {}
    for name, service in instance.state().get("services", {}).items():
        process = _same_process(service.get("pid"), service.get("started_at"))
        if process is not None:
            found[name] = process
    for process in found.values():
        for member in (*process.children(recursive=True), process):
            _kill(member)
    psutil.wait_procs(list(found.values()), timeout=10)
    cluster = instance.folder / "postgres"
    if cluster.is_dir():
        clear_postgres_leftovers(cluster)
    return list(found)


def rotate(log: Path) -> None:
    """Set a log aside that has grown large."""
    if log.exists() and log.stat().st_size > LARGEST_LOG:
        log.replace(log.with_suffix(".log.1"))


def _same_process(pid: int | None, started_at: float | None) -> psutil.Process | None:
    """Return the process when it is the one that was started then, not a later one that got its number."""
    if pid is None or started_at is None:
        return None
    try:
        process = psutil.Process(pid)
        return process if abs(process.create_time() - started_at) < CLOCK_TOLERANCE else None
    except psutil.NoSuchProcess:
        return None


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return
