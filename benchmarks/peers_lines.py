"""The benchmarks' events as syslog lines over one TCP connection, and how many of them the receiver had read.

As a process of its own it makes the lines, prints `ready` and its port, sends at a line on its input, prints how many
bytes the kernel took, and keeps the connection until its input ends.
"""

import argparse
import json
import socket
import subprocess
import sys
from pathlib import Path

from benchmarks.machine import TREE
from benchmarks.peers_loss import wait_still
from benchmarks.workload import events

FACILITY = 23  # local7
CHUNK = 1 << 18


def lines(count: int, seed: int = 1) -> bytes:
    """Return what `workload.events` yields as lines of RFC 5424."""
    made = []
    for event in map(json.loads, events(count, seed)):
        priority = FACILITY * 8 + event["syslog_severity"]
        head = f"<{priority}>1 {event['timestamp']} {event['hostname']} {event['program']} - - - "
        made.append(f"{head}{event['message']}\n")
    return "".join(made).encode()


class LineSender:
    """The sending process: made first, started later."""

    def __init__(self, port: int, count: int, seed: int = 1) -> None:
        self._peer, self._count, self._seed = port, count, seed
        command = [sys.executable, "-m", "benchmarks.peers_lines", str(port), str(count), str(seed)]
        self._process = subprocess.Popen(
            command, cwd=TREE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        word, self._port = self._read().split()
        if word != "ready":
            raise SystemExit("the sender of lines did not start")

    def start(self) -> None:
        """Begin to send."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")

    def unread(self) -> int:
        """Return the bytes between sender and receiver, in either one's kernel buffer."""
        between = 0
        for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
            columns = line.split()
            ends = {int(columns[place].rpartition(":")[2], 16) for place in (1, 2)}
            if ends == {self._peer, int(self._port)}:
                between += sum(int(size, 16) for size in columns[4].split(":"))
        return between

    def wait_still(self) -> int:
        """Wait until nothing moves between sender and a receiver that is stopped; return the bytes between them."""
        return wait_still(self.unread, 0.3, "the end of the lines' way")

    def taken(self, unread: int) -> int:
        """Return how many lines the receiver had read, once it is gone."""
        sent = int(self._read())
        return lines(self._count, self._seed)[: sent - unread].count(b"\n")

    def stop(self) -> None:
        """Close the connection."""
        self._process.communicate()

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


def main() -> None:
    """Make, wait for the start, send, report, stay."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("count", type=int)
    parser.add_argument("seed", type=int)
    options = parser.parse_args()
    made = memoryview(lines(options.count, options.seed))
    sent = 0
    with socket.create_connection(("127.0.0.1", options.port)) as connection:
        print("ready", connection.getsockname()[1], flush=True)
        if not sys.stdin.readline():
            return  # the benchmark has ended without us
        try:
            while sent < len(made):
                sent += connection.send(made[sent : sent + CHUNK])
        except ConnectionError:
            pass  # it was killed
        print(sent, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
