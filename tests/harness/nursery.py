"""Starts services by a fork of a process that has imported them already: a second less for each start.

What runs is the entry file as `__main__`, in a process of its own with its own environment, output and signals. Starts
by the command itself are tested where they are the matter: restarts, the developer mode, units, images.

A time that a service waits by a constant, where a test has to wait too, is shortened by a variable of the environment:
TEST_CONSTANTS='{"services.web_ui.watcher.LOOK_SECONDS": 2}'.
"""

import contextlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path

from scripts.devtools.privileges import die_with_parent

LARGEST = 1 << 20  # bytes of one message; an environment is a few kilobytes
CONSTANTS = "TEST_CONSTANTS"
READY_TIMEOUT = 60.0  # seconds for the imports


class Child:
    """A process that a nursery made, with as much of `subprocess.Popen` as tests need."""

    def __init__(self, nursery: "Nursery", pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._nursery = nursery

    def poll(self) -> int | None:
        """Return the exit status, negative after a signal; None while it runs."""
        self._nursery.hear(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status once it has ended; raises subprocess.TimeoutExpired."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.returncode is None:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
            self._nursery.hear(left)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it ended just now: its parent has reaped it
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Nursery:
    """The process that has imported one service, and the children that it made.

    `program` may be another one than this file, whose children become something else (see `serve`).
    """

    def __init__(self, entry: Path, program: Path = Path(__file__)) -> None:
        self._children: dict[int, Child] = {}
        self._born: list[int] = []
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(program), str(entry), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                preexec_fn=die_with_parent(),  # noqa: PLW1509  # one system call, no lock
            )

    def start(self, environment: Mapping[str, str], output: Path) -> Child:
        """Start the service with this environment alone; what it prints is added to `output`."""
        with contextlib.suppress(BrokenPipeError):  # told below, with how it ended
            self._line.send(json.dumps({"environment": dict(environment), "output": str(output)}).encode())
        deadline = time.monotonic() + READY_TIMEOUT
        while not self._born:
            if time.monotonic() > deadline:
                raise AssertionError(f"no child within {READY_TIMEOUT:g} s")
            self.hear(deadline - time.monotonic())
        child = Child(self, self._born.pop())
        self._children[child.pid] = child
        return child

    def hear(self, timeout: float | None) -> None:
        """Take what the process tells, waiting at most `timeout` seconds for it."""
        while select.select([self._line], [], [], timeout)[0]:
            message = self._line.recv(LARGEST)
            if not message:
                raise AssertionError(f"the process that starts services has ended with {self._process.wait()}")
            told = json.loads(message)
            if "ended" in told:
                self._children.pop(told["pid"]).returncode = told["ended"]
            else:
                self._born.append(told["pid"])
            timeout = 0

    def close(self) -> None:
        """End the process, and so all of its children."""
        self._process.kill()
        self._process.wait()
        self._line.close()


def serve(descriptor: int, become: Callable[[Mapping[str, str]], None]) -> None:
    """Fork at each request; in a child, `become` something with the environment that the request brings."""
    line = socket.socket(fileno=descriptor)
    woken, waker = socket.socketpair()
    waker.setblocking(False)
    signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        ready = select.select([line, woken], [], [])[0]
        if woken in ready:
            woken.recv(4096)
            _tell_ended(line)
        if line not in ready:
            continue
        if not (request := line.recv(LARGEST)):
            return
        die = die_with_parent()  # of this process, whose pid it has to remember
        if not (pid := os.fork()):
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for opened in (line, woken, waker):
                opened.close()
            if die is not None:
                die()
            told = json.loads(request)
            _settle_in(told["environment"], told["output"])
            become(told["environment"])
            return
        line.send(json.dumps({"pid": pid}).encode())


def _tell_ended(line: socket.socket) -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            line.send(json.dumps({"pid": pid, "ended": os.waitstatus_to_exitcode(status)}).encode())


def _settle_in(environment: Mapping[str, str], output: str) -> None:
    opened = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(opened, 1)
    os.dup2(opened, 2)
    os.close(opened)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir("/")  # whatever a service reads by a relative path would be missed here


def run(entry: str, *arguments: str) -> None:
    """Run a file as `python` does."""
    sys.argv = [entry, *arguments]
    runpy.run_path(entry, run_name="__main__")


def _warm(service: str) -> None:
    """Import the service, and make what each of its children would else make anew at its first requests."""
    for module in (f"services.{service}", "uvicorn.protocols.http.auto", "uvicorn.protocols.websockets.auto"):
        import_module(module)
    if service == "web_ui_service":
        from services.web_ui.pages.templates import ENVIRONMENT

        for name in ENVIRONMENT.list_templates():
            ENVIRONMENT.get_template(name)


def _become(entry: str) -> None:
    for path, value in json.loads(os.environ.pop(CONSTANTS, "{}")).items():
        module, name = path.rsplit(".", 1)
        if type(value) is not type(getattr(sys.modules[module], name)):
            raise AssertionError(f"{path} is no constant of the type of {value!r}")
        setattr(sys.modules[module], name, value)
    run(entry)


if __name__ == "__main__":
    _warm(Path(sys.argv[1]).stem)
    serve(int(sys.argv[2]), lambda _: _become(sys.argv[1]))
