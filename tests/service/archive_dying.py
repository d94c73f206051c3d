"""Runs of the archiver that die by SIGKILL at a named step: `python -m tests.service.archive_dying URL FOLDER`.

Reads the name of a step a line and answers with how the run ended; each run is a process of its own.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from scripts.archiving.archiver import Archiver
from scripts.archiving.parts import Part
from scripts.archiving.store import FolderStore, Sink
from tests.service.archive_stage import month_ago

# In the order in which a run comes to them.
STEPS = (
    "reserved",
    "second file under way",
    "manifest under way",
    "manifest there",
    "written",
    "read back",
    "verified",
    "in the transaction of the detach",
    "detached",
    "in the transaction of the drop",
)


def die() -> None:
    """End as kill -9 does."""
    os.kill(os.getpid(), signal.SIGKILL)


class DyingStore(FolderStore):
    step = ""

    @contextmanager
    def writing(self, path: str) -> Iterator[Sink]:
        with super().writing(path) as sink:
            yield sink
            if (path[-13:], self.step) == ("00002.parquet", "second file under way"):
                die()
            if (path[-13:], self.step) == ("manifest.json", "manifest under way"):
                die()


class Dying(Archiver):
    step = ""

    def moved(self, part: Part, state: str, **values: Any) -> Part:
        if (state, self.step) in {("written", "manifest there"), ("verified", "read back")}:
            die()
        done = super().moved(part, state, **values)
        if (state, self.step) in {
            ("detached", "in the transaction of the detach"),
            ("archived", "in the transaction of the drop"),
        }:
            die()
        return done

    def carry(self, part: Part) -> None:
        if self.step == "reserved":
            die()
        super().carry(part)

    def _verify(self, part: Part) -> Part:
        return self._at("written", super()._verify, part)

    def _detach(self, part: Part) -> Part:
        return self._at("verified", super()._detach, part)

    def _settle(self, part: Part) -> Part:
        return self._at("detached", super()._settle, part)

    def _at(self, step: str, work: Callable[[Part], Part], part: Part) -> Part:
        if self.step == step:
            die()
        return work(part)


def run(url: str, folder: str, step: str) -> None:
    store = DyingStore(Path(folder))
    store.step = step
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET timezone = 'UTC'")
        archiver = Dying(connection, store, file_rows=20)
        archiver.step = step
        archiver.run(month_ago(3))


def main() -> None:
    url, folder = sys.argv[1:]
    for line in sys.stdin:
        # This process itself uses no threads, so that it may be forked: importing all once is what takes the time.
        child = os.fork()
        if child == 0:
            try:
                run(url, folder, line.strip())
            finally:
                sys.stderr.flush()
                os._exit(0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
