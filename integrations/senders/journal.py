"""What was taken from rsyslog and not yet by MUTT, in a file: a successor finds it there, however this process ended.

rsyslog does not send again what was answered with DEFER_COMMIT when its program dies before the commit (its issue
2420). So each message is in this file before it is answered. The page cache survives kill -9, therefore nothing is
synced here; at a power cut rsyslog ends as well, and its own disk queue still holds the whole batch.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

SUFFIX = ".journal"
REJECTED = "rejected.ndjson"


class Journal:
    """This process's file, and those that earlier ones left behind."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._left: list[tuple[Path, int]] = []
        self._file = self._make()
        self._size = 0

    def write(self, record: bytes) -> None:
        """Add a record."""
        line = record + b"\n"
        try:
            while line:
                line = line[os.write(self._file, line) :]
        except OSError:
            os.ftruncate(self._file, self._size)  # half a record would spoil the next one
            raise
        self._size += len(record) + 1

    def clear(self) -> None:
        """Forget what was written: MUTT has it."""
        os.ftruncate(self._file, 0)
        self._size = 0

    def adopt(self) -> list[bytes]:
        """Return the records of processes that are gone; they stay in their files until `forget_adopted`."""
        records: list[bytes] = []
        for path in sorted(self._folder.glob("*" + SUFFIX)):
            file = _taken(path)
            if file is not None:
                self._left.append((path, file))
                with os.fdopen(os.dup(file), "rb") as reader:
                    text = reader.read()
                # A last line without its end was never answered: rsyslog sends it again.
                records += [line for line in text[: text.rfind(b"\n") + 1].split(b"\n") if line]
        return records

    def forget_adopted(self) -> None:
        """Delete the files that `adopt` found: MUTT has their records."""
        for path, file in self._left:
            path.unlink(missing_ok=True)
            os.close(file)
        self._left.clear()

    def put_aside(self, record: bytes, why: str) -> None:
        """Keep a record that MUTT can never read, with the reason before it."""
        file = os.open(self._folder / REJECTED, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(file, "ab") as rejected:
            rejected.write(b"# " + " ".join(why.split()).encode() + b"\n" + record + b"\n")

    def _make(self) -> int:
        name = f"{time.time_ns()}-{os.getpid()}"
        path = self._folder / f".{name}"
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        # It gets its name once it is locked: otherwise another process might adopt it in between.
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.rename(self._folder / (name + SUFFIX))
        return file


def _taken(path: Path) -> int | None:
    """Open and lock a journal; None where its process lives, or another has adopted and deleted it."""
    with contextlib.suppress(OSError):
        file = os.open(path, os.O_RDWR)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.stat().st_ino == os.fstat(file).st_ino:
                return file
        except OSError:
            pass
        os.close(file)
    return None
