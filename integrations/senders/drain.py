"""mutt-trap --drain: hands the spooled traps to MUTT, oldest first; a file goes when MUTT has its event."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from integrations.senders.client import Client, Delivery, say
from integrations.senders.settings import read_settings
from integrations.senders.trap_names import Names
from integrations.senders.trap_spool import received, waiting
from integrations.senders.traps import TrapError, event, parse, record

AT_ONCE = 500  # traps in one request
PAUSE = 0.5  # seconds between two looks at an empty spool
DEBUG = 7


class SeveritiesError(Exception):
    """The file of severities cannot be used; the message says why."""


class Drain:
    """One process at a time, by a lock in the spool."""

    def __init__(self, spool: str, client: Client, names: Names, severities: Mapping[str, int]) -> None:
        self._spool = Path(spool)
        self._names = names
        self._severities = severities
        self._delivery = Delivery(client, self._put_aside)

    def all(self) -> int:
        """Hand over all that waits; returns how many traps that were."""
        names = waiting(str(self._spool))
        for start in range(0, len(names), AT_ONCE):
            self._hand_over(names[start : start + AT_ONCE])
        return len(names)

    def _hand_over(self, names: Sequence[str]) -> None:
        traps = {}
        for name in names:
            text = (self._spool / name).read_bytes()
            try:
                traps[name] = (parse(text), *received(name))
            except (TrapError, ValueError) as error:
                say(f"{name} cannot be read and is kept as {name}.bad: {error}")
                (self._spool / name).rename(self._spool / f"{name}.bad")
        self._names.learn(oid for trap, *_ in traps.values() for oid in trap.oids())
        events = [event(*trap, self._names, self._severities) for trap in traps.values()]
        self._delivery.deliver([record(made) for made in events])
        for name in traps:
            (self._spool / name).unlink()

    def _put_aside(self, made: bytes, why: str) -> None:
        say(f"MUTT refuses a trap, which is kept in rejected.ndjson: {why}")
        file = os.open(self._spool / "rejected.ndjson", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(file, "ab") as rejected:
            rejected.write(made + b"\n")


def drain(spool: str, settings: str, mibs: str | None, severities: str | None, *, once: bool) -> None:
    """Hand over what waits, and what comes, until the end of the process; with `once` only what waits."""
    client = Client(lambda: read_settings(settings))
    levels = read_severities(severities) if severities else {}
    os.makedirs(spool, mode=0o700, exist_ok=True)
    with (Path(spool) / ".lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        work = Drain(spool, client, Names(mibs), levels)
        while True:
            if work.all() == 0:
                if once:
                    return
                time.sleep(PAUSE)


def read_severities(path: str) -> dict[str, int]:
    """Read lines of an OID, or the beginning of one, and a severity; raises SeveritiesError."""
    levels = {}
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 2 or not words[1].isdigit() or int(words[1]) > DEBUG:  # noqa: PLR2004  # as it says
            raise SeveritiesError(f"{path}:{number}: an OID and a severity of 0 to 7 have to be there, not {line!r}")
        levels[words[0].strip(".")] = int(words[1])
    return levels
