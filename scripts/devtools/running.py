"""Starting and stopping an instance from the outside: the supervisor is a process of its own."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import psutil

from scripts.devtools.instance import Instance, UserError
from scripts.devtools.leftovers import clear_leftovers, rotate
from scripts.devtools.privileges import die_with_parent
from scripts.devtools.services import HOST
from scripts.devtools.supervisor import HEALTHY

START_PATIENCE = 120.0  # seconds until `up` stops waiting for the last service to become healthy
STOP_PATIENCE = 90.0  # seconds until `down` kills
NEEDED_SPACE = 300 << 20  # bytes; an empty PostgreSQL with its first log segments takes 100 MB
PAUSE = 0.1  # seconds between two looks at the supervisor's state


class StartError(UserError):
    """The instance did not start; the text says why."""


def check_before_start(instance: Instance) -> None:
    """Refuse, saying what to do, what would otherwise fail later and less clearly."""
    free = shutil.disk_usage(instance.folder).free
    if free < NEEDED_SPACE:
        raise UserError(
            f"the disk of {instance.folder} has {free >> 20} MB left, and PostgreSQL and Redis need at least "
            f"{NEEDED_SPACE >> 20} MB: free some space, or give --data-dir a folder on another disk"
        )
    taken = []
    for name in instance.names:
        for use, port in instance.ports(name).items():
            if port > 65535:  # noqa: PLR2004  # the highest port there is
                raise UserError(f"{name} would get port {port}: --port-offset can be at most 57000")
            if not is_free(port):
                taken.append(f"{port} ({name}{'' if use == 'port' else ' ' + use}{owner_of(port)})")
    if taken:
        raise UserError(
            f"in use already: port {', '.join(taken)}. Stop what listens there, or let this instance use others: "
            f"--port-offset N adds N to every port, for example --port-offset {instance.options.port_offset + 1000}"
        )


def is_free(port: int) -> bool:
    """Return whether a server could listen on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: old connections are no matter
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def owner_of(port: int) -> str:
    """Return ", process 12 NAME" of what listens on the port, "" where that is hidden from this user."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:2] == (port,) and connection.pid:
                return f", process {connection.pid} {psutil.Process(connection.pid).name()}"
    return ""


def start(instance: Instance, lock: IO[str], *, detached: bool) -> "subprocess.Popen[bytes]":
    """Start the supervisor of an instance whose lock is held here; the lock passes to it."""
    clear_leftovers(instance)
    check_before_start(instance)
    rotate(instance.own_log)
    instance.write_state({})
    command = [sys.executable, "-P", "-m", "scripts.devtools", "supervise", "--data-dir", str(instance.folder)]
    with instance.own_log.open("ab") as log:
        return subprocess.Popen(
            [*command, "--lock-handle", str(lock.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[lock.fileno()],
            start_new_session=True,  # Ctrl-C reaches `up` alone, which then stops all in order
            preexec_fn=None if detached else die_with_parent(signal.SIGTERM),  # noqa: PLW1509  # one system call
            cwd="/",
        )


def wait_until_healthy(
    instance: Instance, supervisor: "subprocess.Popen[bytes]", show: Callable[[dict[str, str]], None]
) -> None:
    """Return when all is healthy; `show` is given each name's state. Raises StartError."""
    deadline = time.monotonic() + START_PATIENCE
    while True:
        state = instance.state()
        services = state.get("services", {})
        show({name: service["state"] for name, service in services.items()})
        if state.get("phase") == "running":
            return
        if supervisor.poll() is not None:
            raise StartError(state.get("message") or f"the supervisor ended; see {instance.own_log}")
        if time.monotonic() > deadline:
            raise StartError(unhealthy_message(instance, services))
        time.sleep(PAUSE)


def unhealthy_message(instance: Instance, services: dict[str, dict[str, str]]) -> str:
    """Say what is not healthy, why as far as known, and where to look."""
    lines = [f"not healthy after {START_PATIENCE:g} s:"]
    for name, service in services.items():
        if service["state"] not in {HEALTHY, "external"}:
            lines.append(f"  {name}: {service['state']}, {service['detail'] or 'no answer yet'}")
            lines += [f"      {line}" for line in tail(instance.logs / f"{name}.log", 3)]
    return "\n".join(lines)


def tail(path: Path, count: int) -> list[str]:
    """Return the last lines of a log, [] where there is none."""
    try:
        with path.open("rb") as handle:
            handle.seek(max(0, path.stat().st_size - count * 1000))
            return handle.read().decode(errors="replace").splitlines()[-count:]
    except FileNotFoundError:
        return []


def stop(instance: Instance, say: Callable[[str], None]) -> bool:
    """Stop the instance in order; return False when nothing ran."""
    pid = instance.state().get("supervisor", {}).get("pid")
    if instance.running and pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        held = _wait_for_lock(instance, STOP_PATIENCE)
        if held is None:
            say(f"it did not stop within {STOP_PATIENCE:g} s: killing it")
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            held = _wait_for_lock(instance, 10)
        if held is None:
            raise UserError(f"process {pid} holds {instance.folder / 'lock'} and cannot be stopped: look at it with ps")
        with held:
            clear_leftovers(instance)
        return True
    held = instance.lock()
    if held is None:
        raise UserError("the instance is just being started by another `up`: wait for it, then run `down` again")
    with held:
        orphans = clear_leftovers(instance)
    if orphans:
        say(f"its supervisor was gone; ended what it left: {', '.join(orphans)}")
    return bool(orphans)


def _wait_for_lock(instance: Instance, seconds: float) -> IO[str] | None:
    deadline = time.monotonic() + seconds
    while (held := instance.lock()) is None and time.monotonic() < deadline:
        time.sleep(PAUSE)
    return held
