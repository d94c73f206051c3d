"""Lua scripts as files beside their caller, run by their digest and loaded again when Redis has forgotten them."""

from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha1
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

Argument = str | bytes | int | float


class Script:
    """One `.lua` file; calling it runs it on a client and returns Redis's reply, bytes undecoded."""

    def __init__(self, path: Path) -> None:
        self.source = path.read_bytes()
        self.digest = sha1(self.source, usedforsecurity=False).hexdigest()

    async def __call__(self, client: Redis, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        """Run the script; raises redis.exceptions.RedisError as the client does."""
        run: Callable[..., Awaitable[Any]] = client.execute_command
        try:
            return await run("EVALSHA", self.digest, len(keys), *keys, *args)
        except NoScriptError:
            # Refused before it ran, so that running it now is no repetition; EVAL also loads it.
            return await run("EVAL", self.source, len(keys), *keys, *args)


def beside(module_file: str, name: str) -> Script:
    """Return the script `lua/{name}.lua` beside the module whose `__file__` is given."""
    return Script(Path(module_file).parent / "lua" / f"{name}.lua")
