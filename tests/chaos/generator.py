"""The overload's senders as a process, and what a proof may know of it: what was taken, refused, and how fast."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scripts.devtools.privileges import die_with_parent
from scripts.devtools.services import TREE
from tests.harness.credentials import INGEST_API_KEY

FIRST_APART = 1 << 32  # numbers of batches that one generator has for itself


@dataclass(frozen=True)
class Asked:
    """One sender of a plan; `rate` is events a second of all its connections, 0: as fast as the replies come."""

    name: str
    source: str
    connections: int
    rate: float = 0.0
    events: int = 100
    gzip: bool = False


class Seen:
    """What the senders of one plan saw."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self.seconds: float = answer["seconds"]
        self.senders: dict[str, dict[str, Any]] = answer["senders"]

    def answers(self, *names: str) -> Counter[str]:
        """Return the requests by the answer's status, of the senders whose names begin so, or of all."""
        found: Counter[str] = Counter()
        for sender in self._of(names):
            found.update(sender["answers"])
        return found

    def rate(self, *names: str, status: str = "") -> float:
        """Return the events a second, of one status or of all."""
        events = sum(
            sender["events"] * (sender["answers"].get(status, 0) if status else sum(sender["answers"].values()))
            for sender in self._of(names)
        )
        return float(events / self.seconds)

    def worst(self, quantile: str, *names: str) -> float:
        """Return the largest of the senders' quantiles of accepted requests, in ms: p50, p99, p100."""
        return max((sender[quantile] for sender in self._of(names)), default=0.0)

    def complaints(self) -> list[str]:
        """Return what a sender must never be told."""
        return [complaint for sender in self.senders.values() for complaint in sender["complaints"]]

    def share(self, *names: str) -> float:
        """Return the share of the requests that were accepted."""
        answers = self.answers(*names)
        return answers["200"] / max(1, answers.total())

    def _of(self, names: Sequence[str]) -> list[dict[str, Any]]:
        return [sender for name, sender in self.senders.items() if not names or name.startswith(tuple(names))]


class Generator:
    """A process of tests/chaos/flood.py."""

    def __init__(self, folder: Path, number: int) -> None:
        self._ledger = folder / f"flood-{number}.txt"
        self._ledger.touch()
        command = [sys.executable, "-m", "tests.chaos.flood", str(number * FIRST_APART)]
        with (folder / f"flood-{number}.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=TREE,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                preexec_fn=die_with_parent(),  # noqa: PLW1509  # one system call, no lock
            )
        self._log = folder / f"flood-{number}.log"

    def begin(self, port: int, seconds: float, senders: Sequence[Asked], *, until_refused: bool = False) -> None:
        """Begin to carry out a plan."""
        assert self._process.stdin is not None
        plan = {
            "port": port,
            "key": INGEST_API_KEY,
            "seconds": seconds,
            "until_refused": until_refused,
            "ledger": str(self._ledger),
            "senders": [asdict(sender) for sender in senders],
        }
        self._process.stdin.write(json.dumps(plan) + "\n")
        self._process.stdin.flush()

    def end(self) -> Seen:
        """Wait for the plan's end."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError(f"the generator failed: {self._log.read_text(encoding='utf-8')[-2000:]}")
        return Seen(json.loads(line))

    def stop(self) -> None:
        """End the plan early; its end comes with what was seen so far."""
        self._process.terminate()

    def ledger(self) -> dict[str, tuple[int, str]]:
        """Return each batch of the plans that have ended: its events and what became of it."""
        found = {}
        for line in self._ledger.read_text(encoding="ascii").splitlines():
            batch, events, outcome = line.split()
            found[batch] = int(events), outcome
        return found

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
