"""The supervisor, tested by killing what it supervises; the children are small programs of our own."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from scripts.devtools import supervisor
from scripts.devtools.privileges import Command, EmbeddedServerError, die_with_parent
from scripts.devtools.services import TREE
from scripts.devtools.supervisor import (
    HEALTHY,
    RESTARTING,
    STOPPED,
    UNHEALTHY,
    Program,
    Supervised,
    Supervisor,
    restart_delay,
)
from tests.harness.waiting import eventually, wait_for

SLEEPS = "import time; time.sleep(600)"
IGNORES_SIGTERM = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(sys.argv[1], "w").close()
time.sleep(600)
"""
NOTES_ITS_END = """
import signal, sys, time
def note(*_):
    with open(sys.argv[1], "a") as ends:
        ends.write(sys.argv[2] + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, note)
open(sys.argv[1] + "." + sys.argv[2], "w").close()
time.sleep(600)
"""


class Fixture:
    """A supervisor with what it said, and programs to give it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.supervisor = Supervisor(lambda: None, self.said.append)

    def program(
        self,
        name: str,
        code: str,
        *arguments: str,
        check: Callable[[], Awaitable[str]] | None = None,
        patience: float = 5,
    ) -> Program:
        command = Command([sys.executable, "-c", code, *arguments], {"preexec_fn": die_with_parent()})
        log = self.folder / f"{name}.log"
        return Program(name, lambda: command, check or well, log, stop_timeout=patience)

    def child(self, name: str) -> Supervised:
        return self.supervisor.programs[name]

    async def state(self, name: str, state: str) -> None:
        await eventually(lambda: self.child(name).status.state == state, f"{name} is {state}")

    async def replaced(self, name: str, pid: int) -> None:
        await eventually(lambda: self.child(name).status.pid not in {None, pid}, f"a new process of {name}")

    def running(self, name: str) -> bool:
        pid = self.child(name).status.pid
        return pid is not None and psutil.pid_exists(pid)


async def well() -> str:
    return ""


@pytest.fixture
async def fixture(tmp_path: Path) -> AsyncIterator[Fixture]:
    made = Fixture(tmp_path)
    yield made
    await made.supervisor.stop(tuple(made.supervisor.programs))


async def test_a_killed_program_is_back_within_two_seconds_and_counted(fixture: Fixture) -> None:
    fixture.supervisor.start(fixture.program("one", SLEEPS))
    await fixture.supervisor.healthy("one")
    lasted = []
    for times in range(1, 11):
        pid = fixture.child("one").status.pid
        assert pid is not None
        killed = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        await fixture.replaced("one", pid)
        lasted.append(time.monotonic() - killed)
        await fixture.state("one", HEALTHY)
        assert fixture.child("one").status.restarts == times
    assert min(lasted) < 2  # the others may have been the machine's time
    assert "one was killed by signal 9; starting it again" in fixture.said[0]


async def test_a_death_is_noticed_while_a_health_check_hangs(fixture: Fixture) -> None:
    async def hang() -> str:
        await asyncio.Event().wait()
        return ""

    fixture.supervisor.start(fixture.program("one", SLEEPS, check=hang))
    await eventually(lambda: fixture.child("one").status.pid, "a process")
    pid = fixture.child("one").status.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await fixture.replaced("one", pid)


async def test_a_program_that_keeps_dying_before_it_is_healthy_waits_longer_each_time(fixture: Fixture) -> None:
    async def never() -> str:
        return "not yet"

    fixture.supervisor.start(fixture.program("one", "import sys; sys.exit(3)", check=never))
    await eventually(lambda: len(fixture.said) >= 3, "three deaths")
    assert [line.split(" again in ")[1].split(" s ")[0] for line in fixture.said[:3]] == ["0.1", "1", "2"]
    assert "ended with exit status 3" in fixture.said[0]
    assert fixture.child("one").status.state == RESTARTING


def test_the_wait_between_early_deaths_grows_to_half_a_minute() -> None:
    assert [restart_delay(deaths) for deaths in range(9)] == [0.1, 0.1, 1, 2, 4, 8, 16, 30, 30]


async def test_a_program_that_cannot_be_started_is_named_and_tried_again(fixture: Fixture) -> None:
    def refuse() -> Command:
        raise EmbeddedServerError("no such server here")

    fixture.supervisor.start(Program("one", refuse, well, fixture.folder / "one.log"))
    await eventually(lambda: len(fixture.said) >= 2, "two attempts")
    assert "one cannot be started: no such server here" in fixture.said[0]


async def test_a_program_whose_check_complains_is_unhealthy_and_stays_running(fixture: Fixture) -> None:
    problems = [""]

    async def check() -> str:
        return problems[0]

    fixture.supervisor.start(fixture.program("one", SLEEPS, check=check))
    await fixture.state("one", HEALTHY)
    problems[0] = "redis: does not answer"
    await fixture.state("one", UNHEALTHY)
    assert fixture.child("one").status.detail == "redis: does not answer"
    assert fixture.running("one")
    problems[0] = ""
    await fixture.state("one", HEALTHY)
    assert fixture.child("one").status.restarts == 0


async def test_groups_stop_one_after_another(fixture: Fixture, tmp_path: Path) -> None:
    ends = tmp_path / "ends"
    names = ("ingestor", "alerter", "forwarder", "redis")
    fixture.supervisor.start(*(fixture.program(name, NOTES_ITS_END, str(ends), name) for name in names))
    for name in names:
        await eventually(Path(f"{ends}.{name}").exists, f"{name} is ready")
    await fixture.supervisor.stop(("ingestor",), ("alerter", "forwarder", "never-started"), ("redis",))
    order = ends.read_text().split()
    assert (order[0], {*order[1:3]}, order[3]) == ("ingestor", {"alerter", "forwarder"}, "redis")
    assert {child.status.state for child in fixture.supervisor.programs.values()} == {STOPPED}


async def test_a_program_that_ignores_sigterm_is_killed_after_its_patience(fixture: Fixture, tmp_path: Path) -> None:
    fixture.supervisor.start(fixture.program("deaf", IGNORES_SIGTERM, str(tmp_path / "deaf"), patience=0.3))
    await eventually((tmp_path / "deaf").exists, "it ignores SIGTERM")
    pid = fixture.child("deaf").status.pid
    assert pid is not None
    await fixture.supervisor.stop(("deaf",))
    assert not psutil.pid_exists(pid)


async def test_a_paused_program_can_be_stopped(fixture: Fixture) -> None:
    fixture.supervisor.start(fixture.program("paused", SLEEPS))
    await fixture.supervisor.healthy("paused")
    pid = fixture.child("paused").status.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    await fixture.supervisor.stop(("paused",))
    assert not psutil.pid_exists(pid)


async def test_stopping_ends_the_wait_for_the_next_start(fixture: Fixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "restart_delay", lambda _deaths: 3600.0)

    async def never() -> str:
        return "not yet"

    fixture.supervisor.start(fixture.program("one", "import sys; sys.exit(1)", check=never))
    await eventually(lambda: fixture.said, "a death")
    await asyncio.wait_for(fixture.supervisor.stop(("one",)), 60)


def test_a_killed_parent_takes_its_children_along(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time\n"
        "from scripts.devtools.privileges import die_with_parent\n"
        f"child = subprocess.Popen([sys.executable, '-c', {SLEEPS!r}], preexec_fn=die_with_parent())\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=TREE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert psutil.pid_exists(child)
        parent.kill()
    wait_for(lambda: not psutil.pid_exists(child), "the child is gone")
