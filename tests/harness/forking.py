"""A `python` that forks one process which has imported a script's modules already: importing is what most starts cost.

forking_python(folder, "scripts.archive_old_events") puts it into a folder of a PATH while the context lasts.
"""

import json
import os
import runpy
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

LARGEST = 1 << 20


@contextmanager
def forking_python(folder: Path, *modules: str) -> Iterator[None]:
    """Put a `python` into a folder; it runs scripts as python does, in forks of a process with these modules."""
    folder.mkdir(exist_ok=True)
    address = folder / "python.socket"
    file = folder / "python"
    # -I -S starts in a few milliseconds.
    file.write_text(f"#!/bin/sh\nexec '{sys.executable}' -I -S '{__file__}' '{address}' \"$@\"\n", encoding="utf-8")
    file.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen()
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.harness.forking", str(listener.fileno()), *modules],
            cwd=Path(__file__).resolve().parent.parent.parent,
            pass_fds=[listener.fileno()],
        )
    # From here the socket is the process's alone: when that ends, nobody waits for its answer.
    with server:
        try:
            yield
        finally:
            server.kill()


def serve(listener: socket.socket) -> None:
    """Run each script that is asked for, one after another."""
    while True:
        connection, _ = listener.accept()
        with connection:
            text, descriptors, _, _ = socket.recv_fds(connection, LARGEST, 3)
            child = os.fork()
            if child == 0:
                os._exit(_run(json.loads(text), descriptors))
            for descriptor in descriptors:
                os.close(descriptor)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            connection.sendall(bytes([status if status >= 0 else 128 - status]))


def _run(asked: dict[str, object], descriptors: list[int]) -> int:
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    os.chdir(str(asked["folder"]))
    os.environ.clear()
    os.environ.update(dict(asked["environment"]))  # type: ignore[call-overload]
    sys.argv = list(asked["arguments"])  # type: ignore[call-overload]
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001  # as python does at its end
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def ask(address: str, arguments: list[str]) -> int:
    """Let the process run a script with this one's environment and files; return its status."""
    asked = {"folder": os.getcwd(), "environment": dict(os.environ), "arguments": arguments}  # noqa: PTH109
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        socket.send_fds(connection, [json.dumps(asked).encode()], [0, 1, 2])
        reply = connection.recv(1)
    return reply[0] if reply else 1


if __name__ == "__main__":
    if sys.argv[1].isdecimal():
        for name in sys.argv[2:]:
            import_module(name)
        serve(socket.socket(fileno=int(sys.argv[1])))
    sys.exit(ask(sys.argv[1], sys.argv[2:]))
