"""The folder between snmptrapd and MUTT: a trap is a file that is synced, and named, before snmptrapd goes on.

snmptrapd waits for its handler, so this part is kept quick: it imports little and reads nothing of the trap but the
community, which is left out.
"""

from __future__ import annotations

import os
import time

DEFAULT_SPOOL = "/var/spool/mutt-trap"
SUFFIX = ".trap"
SIZE_MOST = 1 << 20  # bytes: the largest datagram comes to a fifth of it, as snmptrapd writes it
COMMUNITY = (b".1.3.6.1.6.3.18.1.4.", b"SNMP-COMMUNITY-MIB::snmpTrapCommunity")


def store(folder: str, text: bytes) -> str:
    """Keep a trap as snmptrapd hands it over; returns the file's path. Raises OSError where it cannot be kept."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    name = f"{time.time_ns():020}-{_uuid4()}"
    hidden, path = os.path.join(folder, "." + name), os.path.join(folder, name + SUFFIX)
    file = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        try:
            rest = without_community(text)
            while rest:
                rest = rest[os.write(file, rest) :]
            os.fsync(file)
        finally:
            os.close(file)
        os.rename(hidden, path)
    except OSError:
        os.unlink(hidden)  # half of a trap would keep a full disk full
        raise
    _sync_folder(folder)
    return path


def without_community(text: bytes) -> bytes:
    """Leave out the community that snmptrapd adds to a trap of version 1, on however many lines it stands."""
    kept = []
    inside = False
    for line in text.split(b"\n"):
        if inside:
            inside = not line.rstrip().endswith(b'"')
        elif line.startswith(COMMUNITY):
            value = line.partition(b" ")[2].strip()
            inside = value.startswith(b'"') and (value == b'"' or not value.endswith(b'"'))
        else:
            kept.append(line)
    return b"\n".join(kept)


def waiting(folder: str) -> list[str]:
    """Return the names of the traps that wait, oldest first."""
    try:
        return sorted(name for name in os.listdir(folder) if name.endswith(SUFFIX))
    except FileNotFoundError:
        return []


def received(name: str) -> tuple[int, str]:
    """Return when a trap came, in nanoseconds, and its id."""
    moment, _, identity = name.removesuffix(SUFFIX).partition("-")
    return int(moment), identity


def _uuid4() -> str:
    digits = os.urandom(16).hex()
    return (
        f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{'89ab'[int(digits[16], 16) & 3]}{digits[17:20]}-{digits[20:]}"
    )


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
