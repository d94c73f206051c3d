"""The logs, psql and a small Redis console."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import redis as redis_client
from redis.exceptions import ResponseError

from scripts.devtools.embedded import postgres_binary
from scripts.devtools.instance import Instance
from scripts.devtools.running import tail

FOLLOW_PAUSE = 0.2  # seconds


def show_logs(paths: Mapping[str, Path], lines: int, *, follow: bool) -> None:
    """Print the last lines of each log, and with `follow` what is added, each behind its service's name."""
    width = max(map(len, paths)) if len(paths) > 1 else 0
    positions = {}
    for name, path in paths.items():
        positions[name] = path.stat().st_size if path.exists() else 0
        for line in tail(path, lines) if lines else ():
            _print(name, line, width)
    while follow:
        for name, path in paths.items():
            positions[name] = _print_added(name, path, positions[name], width)
        time.sleep(FOLLOW_PAUSE)


def _print_added(name: str, path: Path, position: int, width: int) -> int:
    if not path.exists():
        return 0
    if path.stat().st_size < position:  # set aside or deleted, and begun anew
        position = 0
    with path.open("rb") as log:
        log.seek(position)
        for line in log:
            if not line.endswith(b"\n"):  # half a line: it is whole at the next look
                return log.tell() - len(line)
            _print(name, line.decode(errors="replace").rstrip("\n"), width)
        return log.tell()


def _print(name: str, line: str, width: int) -> None:
    # A log may quote what a stranger sent: no control character reaches the terminal.
    safe = "".join(c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in line)
    print(f"{name:<{width}} | {safe}" if width else safe, flush=True)


def psql(instance: Instance, arguments: Sequence[str]) -> int:
    """Run psql on the instance's database and return its exit status."""
    # The address goes through the environment: a command line can be read by everybody on the machine.
    environment = {
        **os.environ,
        "PGDATABASE": instance.database_url,
        "PSQL_HISTORY": str(instance.folder / "psql_history"),
    }
    program = str(postgres_binary("psql"))
    return subprocess.run(
        [program, "-d", _without_password(instance), *arguments],
        env={**environment, "PGPASSWORD": instance.secret("DB_PASS_CURRENT")},
        check=False,
    ).returncode


def _without_password(instance: Instance) -> str:
    return instance.database_url.replace(f":{instance.secret('DB_PASS_CURRENT')}@", "@")


def redis(instance: Instance, words: Sequence[str]) -> int:
    """Run one Redis command, or read them from standard input; 1 when the one command was refused."""
    with redis_client.Redis.from_url(instance.redis_url) as client:
        client.response_callbacks.clear()  # show what Redis said, not what the client makes of it
        if words:
            return _run(client, words)
        if sys.stdin.isatty():
            print("Redis commands, one a line; Ctrl-D ends.", file=sys.stderr)
        while True:
            try:
                line = input("redis> " if sys.stdin.isatty() else "")
                if line.strip():
                    _run(client, shlex.split(line))
            except EOFError:
                return 0
            except ValueError as error:
                print(f"(error) {error}")


def _run(client: "redis_client.Redis", words: Sequence[str]) -> int:
    try:
        print(render(client.execute_command(*words)))  # type: ignore[no-untyped-call]
    except ResponseError as error:
        print(f"(error) {error}")
        return 1
    return 0


def render(reply: object, indent: str = "") -> str:
    """Return a reply of Redis as text, lists numbered as redis-cli does."""
    if reply is None:
        return "(nil)"
    if isinstance(reply, bytes):
        return reply.decode(errors="backslashreplace")
    if isinstance(reply, int):
        return f"(integer) {reply}"
    if isinstance(reply, dict):
        reply = [part for pair in reply.items() for part in pair]
    if isinstance(reply, list):
        lines = [f"{number}) {render(part, indent + '   ')}" for number, part in enumerate(reply, 1)]
        return f"\n{indent}".join(lines) or "(empty)"
    return str(reply)
