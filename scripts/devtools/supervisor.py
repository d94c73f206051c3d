"""Keeps programs running: starts them, notices at once when one dies, starts it again, stops all in order."""

import asyncio
import contextlib
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.devtools.privileges import Command, EmbeddedServerError

RESTART_DELAY = 0.1  # seconds; a program that dies is back well within 2 s
LONGEST_DELAY = 30.0  # seconds
POLL_STARTING, POLL_HEALTHY = 0.15, 1.0  # seconds between two looks at a program's health
CHECK_TIMEOUT = 3.0  # seconds

STARTING, HEALTHY, UNHEALTHY, RESTARTING, STOPPED = "starting", "healthy", "unhealthy", "restarting", "stopped"


@dataclass(frozen=True)
class Program:
    """What to keep running. `command` is asked anew for each start; `check` returns "" when healthy, else why not."""

    name: str
    command: Callable[[], Command]
    check: Callable[[], Awaitable[str]]
    log: Path
    ports: Mapping[str, int] = field(default_factory=dict)
    stop_signal: int = signal.SIGTERM
    stop_timeout: float = 25.0  # seconds, then SIGKILL


@dataclass
class Status:
    """What is known of a program now."""

    ports: Mapping[str, int]
    state: str = STOPPED
    pid: int | None = None
    started_at: float | None = None  # epoch seconds
    restarts: int = 0
    detail: str = ""


def restart_delay(early_deaths: int) -> float:
    """Return the seconds to wait after `early_deaths` deaths in a row before the program was ever healthy."""
    return RESTART_DELAY if early_deaths <= 1 else min(LONGEST_DELAY, 2.0 ** (early_deaths - 2))


class Supervised:
    """One program under supervision; `changed` is called after each change of `status`."""

    def __init__(self, program: Program, changed: Callable[[], None], say: Callable[[str], None]) -> None:
        self.program = program
        self.status = Status(program.ports)
        self._changed = changed
        self._say = say
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._seen_healthy = asyncio.Event()
        self._was_healthy = False  # in the run under way
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the program and keep it running from now on."""
        self._task = asyncio.create_task(self._keep_running(), name=self.program.name)

    async def stop(self) -> None:
        """Stop the program, with SIGKILL when it does not end in time, and do not start it again."""
        self._stopping.set()
        if self._process is not None and self._process.returncode is None:
            self._signal(self.program.stop_signal)
            try:
                async with asyncio.timeout(self.program.stop_timeout):
                    await self._process.wait()
            except TimeoutError:
                self._say(f"{self.program.name} did not stop within {self.program.stop_timeout:g} s: killed")
                self._signal(signal.SIGKILL)
        if self._task is not None:
            await self._task

    async def healthy(self) -> None:
        """Return once the program has been seen healthy."""
        await self._seen_healthy.wait()

    async def _keep_running(self) -> None:
        early_deaths = 0
        while not self._stopping.is_set():
            ending, was_healthy = await self._run_once()
            if self._stopping.is_set():
                break
            early_deaths = 0 if was_healthy else early_deaths + 1
            delay = restart_delay(early_deaths)
            self.status.restarts += 1
            self._say(f"{self.program.name} {ending}; starting it again in {delay:g} s (see {self.program.log})")
            self._set(RESTARTING, ending, pid=None)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._stopping.wait()
        self._set(STOPPED, "", pid=None)

    async def _run_once(self) -> tuple[str, bool]:
        """Run the program until it ends; return how it ended and whether it had been healthy."""
        try:
            self._process = await self._spawn()
        except (OSError, EmbeddedServerError) as error:
            return f"cannot be started: {error}", False
        self.status.started_at = time.time()
        self._set(STARTING, "", pid=self._process.pid)
        watch = asyncio.create_task(self._watch())
        code = await self._process.wait()
        watch.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watch
        ending = f"was killed by signal {-code}" if code < 0 else f"ended with exit status {code}"
        return ending, self._was_healthy

    async def _spawn(self) -> asyncio.subprocess.Process:
        self._was_healthy = False
        command = self.program.command()
        with self.program.log.open("ab") as output:
            return await asyncio.create_subprocess_exec(
                *command.arguments,
                **command.options,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    async def _watch(self) -> None:
        while True:
            try:
                async with asyncio.timeout(CHECK_TIMEOUT):  # wait_for of Python 3.11 may swallow a cancellation
                    problem = await self.program.check()
            except TimeoutError:
                problem = f"no answer within {CHECK_TIMEOUT:g} s"
            if not problem:
                self._was_healthy = True
                self._seen_healthy.set()
                self._set(HEALTHY, "")
            else:
                self._set(UNHEALTHY if self._was_healthy else STARTING, problem)
            await asyncio.sleep(POLL_STARTING if problem else POLL_HEALTHY)

    def _set(self, state: str, detail: str, **more: Any) -> None:
        before = (self.status.state, self.status.detail, self.status.pid)
        self.status.state, self.status.detail = state, detail
        for name, value in more.items():
            setattr(self.status, name, value)
        if before != (state, detail, self.status.pid):
            self._changed()

    def _signal(self, number: int) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGCONT)  # a paused process hears nothing but SIGKILL
                self._process.send_signal(number)


class Supervisor:
    """Programs in the order of their start; they stop in the order of `stop_groups`, each group at once."""

    def __init__(self, changed: Callable[[], None], say: Callable[[str], None]) -> None:
        self.programs: dict[str, Supervised] = {}
        self._changed = changed
        self._say = say

    def start(self, *programs: Program) -> None:
        """Start programs at once and keep them running."""
        for program in programs:
            supervised = Supervised(program, self._changed, self._say)
            self.programs[program.name] = supervised
            supervised.start()

    async def healthy(self, *names: str) -> None:
        """Return once each of the named programs has been seen healthy."""
        await asyncio.gather(*(self.programs[name].healthy() for name in names))

    async def stop(self, *groups: tuple[str, ...]) -> None:
        """Stop the named groups one after another, the members of each at once; names that never started are fine."""
        for group in groups:
            await asyncio.gather(*(self.programs[name].stop() for name in group if name in self.programs))
