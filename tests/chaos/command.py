"""What the proofs that run as commands share: Ctrl-C reaches them and nobody else, one line tells how far they are.

raise SystemExit(command.alone(run))        run() returns the exit status; Ctrl-C is a KeyboardInterrupt in it
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping

from scripts.devtools.privileges import die_with_parent

EVERY_SECONDS = 5.0  # between two lines of progress where there is no terminal
INTERRUPTED = 130


def alone(run: Callable[[], int]) -> int:
    """Run in a child of its own process group: what a terminal's Ctrl-C means for the proof, its services never hear.

    Nothing outlives this process: its children die with it, and theirs with them.
    """
    die = die_with_parent(signal.SIGTERM)
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        if die is not None:
            die()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.default_int_handler)
        try:
            return run()
        except KeyboardInterrupt:
            tell("interrupted before there was anything to judge")
            return INTERRUPTED
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: os.kill(child, signal.SIGINT))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status if status >= 0 else 128 - status


def tell(text: str) -> None:
    """Print a line now, whoever reads."""
    print(text, flush=True)  # noqa: T201  (the command's output)


def clock(seconds: float) -> str:
    """Return seconds as 1:23 or 1:02:03."""
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Progress:
    """One line: how much time has passed and is left, what happens, and counts."""

    def __init__(self, seconds: float) -> None:
        self._began = time.monotonic()
        self._seconds = seconds
        self._told = 0.0

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self._began + self._seconds - time.monotonic()

    def show(self, counts: Callable[[], str]) -> None:
        """Rewrite the line of a terminal each second; elsewhere print one every few seconds."""
        is_terminal = sys.stdout.isatty()
        now = time.monotonic()
        if now - self._told < (1.0 if is_terminal else EVERY_SECONDS):
            return
        self._told = now
        line = f"{clock(now - self._began)} gone, {clock(self.left)} left: {counts()}"
        if is_terminal:
            print(f"\r\x1b[K{line[: os.get_terminal_size().columns - 1]}", end="", flush=True)  # noqa: T201
        else:
            tell(line)

    def end(self) -> None:
        """Leave the line."""
        if sys.stdout.isatty():
            tell("")


def figures(title: str, values: Mapping[str, object]) -> None:
    """Print a table of figures."""
    tell(f"\n{title}")
    width = max(map(len, values), default=0)
    for name, value in values.items():
        tell(f"  {name:<{width}}  {value:,}" if isinstance(value, int) else f"  {name:<{width}}  {value}")


def verdict(faults: list[str], again: str) -> int:
    """Print the verdict and how to repeat the run, and return the exit status."""
    tell("")
    for fault in faults:
        tell(f"  BAD  {fault}")
    tell(f"verdict: {f'{len(faults)} promises broken' if faults else 'every promise held'}; repeat it with: {again}")
    return int(bool(faults))
