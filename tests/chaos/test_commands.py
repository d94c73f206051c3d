"""The commands `muttdev chaos` and `muttdev soak` in short: what is struck, judged and told, and how they end."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from scripts.devtools.services import TREE
from tests.chaos.stage import SECONDS, TIMEOUT, chosen_seed
from tests.harness.waiting import wait_for


@contextmanager
def proof(output: Path, module: str, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a proof, what it prints in a file; everything of it is ended with the test."""
    with (
        output.open("wb") as file,
        subprocess.Popen(
            [sys.executable, "-m", f"tests.chaos.{module}", *arguments], cwd=TREE, stdout=file, stderr=file
        ) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()


@pytest.mark.timeout(TIMEOUT + 120)
def test_everything_that_befalls_mutt_at_random_loses_and_doubles_nothing(tmp_path: Path) -> None:
    seed = chosen_seed()
    said = tmp_path / "said"
    minutes = SECONDS / 60
    with proof(said, "random_blows", "--minutes", f"{minutes:.2f}", "--seed", str(seed)) as process:
        status = process.wait()
    assert status == 0, said.read_text(encoding="utf-8")
    text = said.read_text(encoding="utf-8")
    assert "verdict: every promise held" in text
    assert re.search(r"\d gone, 0:\d\d left: [\d,]+ events acknowledged, \d+ blows", text)
    assert f"--seed {seed}" in text


@pytest.mark.timeout(180)
def test_ctrl_c_ends_a_soak_with_what_was_seen_and_leaves_nothing_behind(tmp_path: Path) -> None:
    said = tmp_path / "said"
    with proof(said, "soak", "--minutes", "30", "--instances", "1", "--seed", "1") as process:
        wait_for(lambda: said.read_text(encoding="utf-8").count(" gone, ") >= 2, "two lines of progress", 120)
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) > 10  # itself, servers, services, senders
        os.kill(process.pid, signal.SIGINT)
        status = process.wait()
    text = said.read_text(encoding="utf-8")
    assert status == 0, text
    assert "verdict: every promise held" in text
    for measured in ("alerter-0: memory, KB", "webui-0: file handles", "Redis: clients of mutt-", "PostgreSQL: conn"):
        assert measured in text
    assert not psutil.wait_procs(family, timeout=10)[1]
