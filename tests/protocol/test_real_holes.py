"""Holes put into the real scripts and the real Worker: each is found on a short way that the sound code passes."""

import inspect
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from services.protocol import lane as lane_module
from services.protocol import recovery, script, worker
from services.protocol.script import Script
from tests.protocol import real_lane
from tests.protocol.lane_driver import Driver
from tests.protocol.lane_model import LaneModel

FAULTS = {"crash": 2, "stall": 2, "lost": 2, "stop": 1, "database": 1, "any": 4}
SAME = ("x", "x")
LUA = Path(script.__file__).parent / "lua"


class InScript(NamedTuple):
    """Words of a Lua script, and what stands there instead."""

    name: str
    old: str
    new: str

    def put(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        """Run the changed script instead."""
        changed = folder / f"{self.name}.lua"
        changed.write_text(replaced((LUA / changed.name).read_text(), self.old, self.new))
        holder: ModuleType = recovery if self.name == "recover" else worker
        monkeypatch.setattr(holder, f"_{self.name}", Script(changed))
        monkeypatch.setitem(real_lane.NAMES, Script(changed).digest, self.name)


class InMethod(NamedTuple):
    """Words of a method, and what stands there instead."""

    module: ModuleType
    owner: type
    name: str
    old: str
    new: str

    def put(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        """Run the changed method instead."""
        method: Callable[..., Any] = getattr(self.owner, self.name)
        source = replaced(textwrap.dedent(inspect.getsource(method)), self.old, self.new)
        made: dict[str, Any] = {}
        exec(compile(source, folder / "changed.py", "exec"), vars(self.module), made)  # noqa: S102  (our own words)
        monkeypatch.setattr(self.owner, self.name, made[self.name])


def replaced(text: str, old: str, new: str) -> str:
    """Return the text with the words replaced; they have to be there."""
    assert old in text, f"{old!r} is no longer there: put the hole where it is now"
    return text.replace(old, new)


def two(later: str = "", events: str = "ab", names: tuple[str, ...] = SAME) -> LaneModel:
    return LaneModel(events, FAULTS, names=names, later=later, blocking=True, pipelined=True)


TO_COMMIT = ["A claims ('a', 'b')", "A judges", "A commits"]
KILLED = ["A claims", "! A is killed", "the heartbeat of x expires"]
DISPLACED = ["A claims", "B takes the name", "B hands back"]
WAITING = [
    "A claims",
    "A judges",
    "! PostgreSQL goes",
    "A lets",
    "A settles",
    "PostgreSQL comes",
    "A claims the waiting",
]

# What it is: where it is put, on which model, and the way on which it is found.
HOLES: dict[str, tuple[InScript | InMethod, LaneModel, list[str]]] = {
    "settle that pushes without 'still found'": (
        InScript("settle", "if is_found(index) then", "if true then"),
        two(),
        [*TO_COMMIT, "! A settles", "A settles"],
    ),
    "LTRIM by count": (
        InScript("settle", "same = tail[count - i + 1] == ARGV[first + i - 1]", "same = true"),
        two(events="abcd"),
        [*TO_COMMIT, "A claims ('c', 'd')", "! A settles ('a', 'b')", "A settles ('a', 'b')"],
    ),
    "settle without the fence": (
        InScript("settle", "if redis.call('GET', KEYS[1]) ~= ARGV[1] then", "if false then"),
        two(),
        [*TO_COMMIT, "! the heartbeat of x expires", "A's settle of ('a', 'b') is refused"],
    ),
    "settle that keeps the recovery counts": (
        InScript("settle", "redis.call('HDEL', KEYS[3]", "redis.call('HGET', KEYS[3]"),
        two(),
        [*DISPLACED, "B claims", "B judges", "B commits", "B settles"],
    ),
    "wrong end at recovery": (
        InScript(
            "recover", "redis.call('RPUSH', KEYS[3], unpack(entries))", "redis.call('LPUSH', KEYS[3], unpack(entries))"
        ),
        two(events="abc", names=("x", "y")),
        [*KILLED, "the janitor of B"],
    ),
    "recovery that is not counted": (
        InScript("recover", "if ARGV[3] == '1' then", "if false then"),
        two(names=("x", "y")),
        [*KILLED, "the janitor of B"],
    ),
    "recovery that is pushed and not removed": (
        InScript("recover", "redis.call('LTRIM', KEYS[2], #entries, -1)", ""),
        two(names=("x", "y")),
        [*KILLED, "the janitor of B"],
    ),
    "blind hand-back at SIGTERM": (
        InScript("recover", "if value ~= ARGV[1] then", "if false then"),
        two(),
        [*DISPLACED, "B claims", "! A is asked to stop", "A hands back what it holds"],
    ),
    "release without compare": (
        InScript("release", "if redis.call('GET', KEYS[1]) == ARGV[1] then", "if true then"),
        two(),
        [*DISPLACED, "! A is asked to stop", "A hands back what it holds", "A releases"],
    ),
    "claim of a recovered entry with others": (
        InScript("claim", "count ~= recoveries or ", ""),
        two(events="a", later="b"),
        [*DISPLACED, "b comes", "B claims ('a',)"],
    ),
    "claim of entries in a group that were recovered twice": (
        InScript("claim", "count > 1 or ", ""),
        two(),
        [*DISPLACED, "B claims ('a', 'b')", "! B is killed", "B takes the name", "B hands back", "B claims ('a',)"],
    ),
    "claim without the fence": (
        InScript("claim", "if redis.call('GET', KEYS[1]) ~= ARGV[1] then", "if false then"),
        two(events="", later="a"),
        ["A waits", "a comes", "! the heartbeat of x expires", "A's BLMOVE brings a", "A's claim is refused"],
    ),
    "claim that is pushed and not removed": (
        InScript("claim", "redis.call('LTRIM', KEYS[3], 0, -(size + 1))", ""),
        two(),
        ["A claims"],
    ),
    "heartbeat of another that is refreshed": (
        InScript("beat", "if value ~= ARGV[1] then", "if false then"),
        two(),
        [*DISPLACED, "A finds itself displaced"],
    ),
    "same token re-taken after expiry": (
        InMethod(worker, worker.Worker, "_beat_once", "fresh = Lease(lease.pod, _new_token())", "fresh = lease"),
        two(),
        [*TO_COMMIT, "! the heartbeat of x expires", "A finds its heartbeat absent", "A's settle of"],
    ),
    "name taken back": (
        InMethod(worker, worker.Worker, "_beat_once", 'f"{lease.pod[:54]}.{random_source.token_hex(4)}"', "lease.pod"),
        two(),
        [*DISPLACED, "A finds itself displaced"],
    ),
    "take-over that is no recovery": (
        InMethod(
            worker, worker.Worker, "start", "await recover_all(self._redis, self.lane, lease.pod, lease.token)", "0"
        ),
        two(),
        DISPLACED,
    ),
    "own list not adopted": (
        InMethod(worker, worker.Claims, "doubt", "self._adopt_at = 0.0", "pass"),
        two(later="c"),
        ["A claims", "A judges", "A commits", "A settles", "c comes", "! A claims", "A adopts"],
    ),
    "adoption that sees what is in flight as lost": (
        InMethod(worker, worker.Claims, "_adopt", "(before | self._held)", "Counter()"),
        two(events="abcd"),
        ["A claims ('a', 'b')", "A judges", "! A claims", "A adopts ('c', 'd')"],
    ),
    "pending rows that go home as events": (
        InMethod(lane_module, lane_module.Lane, "lists", "self.side.home", "self.source"),
        two(events="a", names=("x", "y")),
        [*WAITING, "! A is killed", "the heartbeat of x expires", "the janitor of B"],
    ),
    "hand-back at an orderly end that is counted": (
        InMethod(worker, worker.Worker, "finish", "lease.token, orderly=True", "lease.token"),
        two(),
        ["A claims", "! A is asked to stop", "A hands back what it holds"],
    ),
}


async def follow(url: str, model: LaneModel, way: list[str]) -> None:
    driver = Driver(url, model)
    try:
        await driver.begin()
        for label in way:
            await driver.follow(driver.find(label))
    finally:
        await driver.close()


@pytest.mark.parametrize("hole", HOLES)
async def test_a_hole_in_the_real_code_is_found(
    hole: str, redis_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    change, model, way = HOLES[hole]
    await follow(redis_url, model, way)
    change.put(monkeypatch, tmp_path)
    with pytest.raises((AssertionError, pytest.fail.Exception)) as found:
        await follow(redis_url, model, way)
    assert "no longer there" not in str(found.value)
