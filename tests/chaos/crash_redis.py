"""Wraps what is sent to Redis."""

import asyncio
import re
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha1
from pathlib import Path
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError

from services.ingestor.wire import Wire
from tests.chaos.killer import Killer, Visit
from tests.chaos.points import AFTER, BEFORE, SENT, TREE

# What only looks, or concerns the connection alone.
HARMLESS = frozenset(
    b"GET MGET HGET HMGET HGETALL LRANGE LLEN LINDEX LPOS ZCARD ZCOUNT ZRANGE ZRANGEBYSCORE EXISTS TTL PTTL TYPE INFO"
    b" PING TIME ROLE SCAN HELLO AUTH SELECT SUBSCRIBE UNSUBSCRIBE MULTI EXEC WATCH UNWATCH WAIT CONFIG CLIENT".split()
)
CALLED = re.compile(rb"redis\.p?call\('(\w+)'")


def wrap_redis(killer: Killer) -> None:
    """Wrap what is sent to Redis; a step is over when its first reply is read."""
    scripts = {
        sha1(source, usedforsecurity=False).hexdigest().encode(): name if changes(source) else ""
        for name, source in ((path.stem, path.read_bytes()) for path in Path(TREE, "services").rglob("*.lua"))
    }
    under_way: weakref.WeakKeyDictionary[Any, Visit] = weakref.WeakKeyDictionary()

    def effect_of(data: bytes) -> str | None:
        commands = list(_commands(data))
        found = [effect for command in commands if (effect := _effect(command, scripts))]
        return "pipeline" if found and len(commands) > 1 else next(iter(found), None)

    send, read = AbstractConnection.send_packed_command, AbstractConnection.read_response

    async def send_packed_command(self: Any, command: Any, check_health: bool = True) -> None:
        data = command if isinstance(command, bytes) else b"".join(command)
        effect = effect_of(data)
        if effect is None:
            await send(self, data, check_health)
            return
        step = killer.comes_to(effect, sys._getframe(1))
        killer.at(step, BEFORE)
        await send(self, data, check_health)
        killer.at(step, SENT)
        if step is not None:
            under_way[self] = step

    async def read_response(self: Any, *args: Any, **options: Any) -> Any:
        visit = under_way.pop(self, None)
        try:
            return await read(self, *args, **options)
        except NoScriptError:
            # Nothing was done: the script itself is sent now.
            killer.take_back(visit)
            visit = None
            raise
        finally:
            killer.at(visit, AFTER)

    AbstractConnection.send_packed_command = send_packed_command  # type: ignore[method-assign]
    AbstractConnection.read_response = read_response  # type: ignore[method-assign]
    _wrap_wire(killer, effect_of)


def _wrap_wire(killer: Killer, effect_of: Callable[[bytes], str | None]) -> None:
    """Wrap the ingestor's own connection: it bypasses the client."""
    send, receive = Wire.send, Wire.replies
    under_way: weakref.WeakKeyDictionary[Wire, Visit | None] = weakref.WeakKeyDictionary()

    def sent(self: Wire, data: bytes, wanted: int) -> None:
        effect = effect_of(data)
        step = None if effect is None else killer.comes_to(effect, sys._getframe(1))
        killer.at(step, BEFORE)
        send(self, data, wanted)
        under_way[self] = step

    async def replies(self: Wire, within: float) -> list[Any]:
        step = under_way.pop(self, None)
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # by now the loop has written what was sent
        killer.at(step, SENT)
        found = await receive(self, within)
        if isinstance(found[0], NoScriptError):
            killer.take_back(step)  # nothing was done: the script itself is sent now
        else:
            killer.at(step, AFTER)
        return found

    Wire.send = sent  # type: ignore[method-assign]
    Wire.replies = replies  # type: ignore[method-assign]


def changes(script: bytes) -> bool:
    """Tell whether a script's text has a command that does more than look."""
    return any(name.upper() not in HARMLESS for name in CALLED.findall(script))


def _commands(data: bytes) -> Iterator[list[bytes]]:
    """Take apart what a client sends: the first three words of each command."""
    at = 0
    while at < len(data):
        end = data.index(b"\r\n", at)
        count, at, words = int(data[at + 1 : end]), end + 2, []
        for number in range(count):
            end = data.index(b"\r\n", at)
            size, start = int(data[at + 1 : end]), end + 2
            if number < 3:
                words.append(data[start : start + size])
            at = start + size + 2
        yield words


def _effect(words: list[bytes], scripts: Mapping[bytes, str]) -> str | None:
    name = words[0].upper()
    if name in {b"EVALSHA", b"EVAL"}:
        digest = words[1] if name == b"EVALSHA" else sha1(words[1], usedforsecurity=False).hexdigest().encode()
        script = scripts.get(digest, "unknown")
        return f"lua {script}" if script else None
    if name == b"CLIENT" and words[1].upper() == b"UNBLOCK":
        return "CLIENT UNBLOCK"
    return None if name in HARMLESS else name.decode()
