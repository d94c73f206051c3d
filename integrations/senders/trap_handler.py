"""mutt-trap as snmptrapd starts it, once for each trap."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from integrations.senders.trap_spool import DEFAULT_SPOOL, SIZE_MOST, store


def main(arguments: Sequence[str]) -> int:
    """Keep the trap on standard input; returns the exit status."""
    spool = DEFAULT_SPOOL
    if arguments:
        if len(arguments) != 2 or arguments[0] != "--spool":  # noqa: PLR2004  # a name and its value
            sys.stderr.write("mutt-trap: only --spool FOLDER, or --drain; see mutt-trap --help\n")
            return 2
        spool = arguments[1]
    try:
        store(spool, _read())
    except OSError as error:
        _tell(f"mutt-trap: a trap is lost, since {spool} cannot be written: {error}")
        return 1
    return 0


def _read() -> bytes:
    parts, size = [], 0
    while size < SIZE_MOST and (part := os.read(0, 1 << 16)):
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def _tell(text: str) -> None:
    import syslog

    sys.stderr.write(text + "\n")
    syslog.openlog("mutt-trap")
    syslog.syslog(syslog.LOG_ERR, text)
