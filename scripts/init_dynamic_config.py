"""Put explicitly set environment variables into Redis as the dynamic configuration's first values.

A key that Redis has already stays as it is. A variable that is not set, or empty, writes nothing: its default holds.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from redis.exceptions import RedisError

from mutt import keys
from mutt.dynamic_keys import ALL
from mutt.errors import MuttError, SettingsError
from mutt.server_settings import RedisSettings
from mutt.variables import read
from scripts.connections import script_secrets
from services import redis_connector


def first_values(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what the environment gives explicitly, by dynamic key; raises SettingsError naming each fault."""
    values: dict[str, str] = {}
    faults: list[str] = []
    for key in ALL.values():
        text = environ.get(key.variable or "", "").strip()
        if not text:
            continue
        try:
            values[key.name] = str(key.parse(text))
        except ValueError:
            faults.append(f"{key.variable}={text!r} cannot become {key.name}: {key.allowed()} is needed")
    if faults:
        raise SettingsError("\n".join(faults))
    return values


async def initialise(environ: Mapping[str, str]) -> list[str]:
    """Write what Redis lacks, announce each key written, and return a line for every key."""
    values = first_values(environ)
    client = redis_connector.connect(read(RedisSettings, environ), await script_secrets(environ))
    lines: list[str] = []
    try:
        for name, key in ALL.items():
            stored: Any = await client.get(keys.config(name))
            if stored is not None:
                lines.append(f"kept     {name} = {stored.decode('utf-8', 'replace')}")
            elif name not in values:
                lines.append(f"not set  {name}: the default holds")
            elif await client.set(keys.config(name), values[name], nx=True):
                await client.publish(keys.CONFIG_UPDATES, name)
                lines.append(f"written  {name} = {values[name]}, from {key.variable}")
            else:
                lines.append(f"kept     {name}: somebody else wrote it just now")
    finally:
        await client.aclose(close_connection_pool=True)
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 is success, 1 a variable that is not possible or a Redis that cannot be reached."""
    argparse.ArgumentParser(prog="init_dynamic_config.py", description=__doc__).parse_args(arguments)
    try:
        lines = asyncio.run(initialise(os.environ))
    except (MuttError, RedisError, OSError) as error:
        print(f"init_dynamic_config.py: {error}", file=sys.stderr)
        return 1
    print(*lines, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
