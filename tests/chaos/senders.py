"""The senders of a proof as a process of their own, and the ledger that they keep where no blow can hurt it."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from scripts.devtools.privileges import die_with_parent
from scripts.devtools.services import TREE
from tests.chaos.load import PAUSE, Ledger


class Senders:
    """The process `python -m tests.chaos.load`, its orders and its ledger, all in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ledger = folder / "ledger.ndjson"
        self._log = folder / "senders.log"
        self._pause = PAUSE
        self._process: subprocess.Popen[bytes] | None = None

    def order(self, urls: list[str], key: str, pause: tuple[float, float] | None = None) -> None:
        """Say where to send, the first address being one that has every door, with which key, and how fast."""
        self._pause = pause or self._pause
        orders = {"urls": urls, "doors": urls[:1], "key": key, "pause": self._pause}
        replace(self._folder / "orders.json", json.dumps(orders))

    def start(self, seed: int, count: int, words: Mapping[str, int]) -> None:
        """Start them."""
        command = [sys.executable, "-m", "tests.chaos.load", str(self._folder), "--seed", str(seed)]
        command += ["--senders", str(count), "--words", json.dumps(dict(words))]
        self._ledger.touch()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=TREE,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent(),  # noqa: PLW1509  # one system call, no lock
            )

    def stop(self) -> list[str]:
        """Let them repeat their last bodies until these are acknowledged; what went wrong is a fault."""
        if self._process is None:
            return []
        self._process.terminate()
        status = self._process.wait()
        said = self._log.read_text(encoding="utf-8")
        if status == 0 and not said:
            return []
        return [f"a sender's last body was never acknowledged, or the senders failed: {said[-500:]}"]

    def read(self, ledger: Ledger, position: int) -> int:
        """Add what the ledger's file got since a position to `ledger`; return the next position."""
        with self._ledger.open("rb") as file:
            file.seek(position)
            lines = file.readlines()
        if lines and not lines[-1].endswith(b"\n"):
            lines.pop()
        ledger.read(lines)
        return position + sum(map(len, lines))

    def close(self) -> None:
        """End them at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def replace(path: Path, text: str) -> None:
    """Write a file in one step: who reads it sees the old or the new."""
    fresh = path.with_suffix(".fresh")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)
