"""curl with the script of integrations/curl/."""

import json
import os
import subprocess
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from scripts.devtools.embedded import free_port
from scripts.devtools.services import HOST
from tests.harness.credentials import INGEST_API_KEY
from tests.harness.programs import program
from tests.harness.proxy import Proxy
from tests.harness.waiting import wait_for
from tests.integrations.stage import INTEGRATIONS, Running, Stage, write_settings

POST = str(INTEGRATIONS / "curl" / "mutt-post")
Done = subprocess.CompletedProcess[str]
Post = Callable[..., Done]


@pytest.fixture
def environment() -> dict[str, str]:
    curl = program("curl")
    needed = {name: value for name, value in curl.environment.items() if name == "LD_LIBRARY_PATH"}
    return {**needed, "PATH": f"{curl.path.parent}:{os.environ['PATH']}"}


@pytest.fixture
def post(settings_file: Path, environment: dict[str, str]) -> Post:
    def run(*arguments: str, text: str = "", settings: Path = settings_file) -> Done:
        return subprocess.run(
            ["sh", POST, "--settings", str(settings), *arguments],
            input=text,
            env=environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    return run


@pytest.fixture
def begin(
    settings_file: Path, environment: dict[str, str], tmp_path: Path, end: Callable[[Running], Running]
) -> Callable[..., Running]:
    """Start it and do not wait for it."""

    def run(*arguments: str) -> Running:
        command = ["sh", POST, "--settings", str(settings_file), *arguments]
        return end(Running(command, environment, tmp_path / "log", tmp_path))

    return run


def record(host: str, message: str, **more: Any) -> dict[str, Any]:
    fields = {"timestamp": datetime.now(UTC).isoformat(), "hostname": host, "message": message}
    return {"correlation_id": str(uuid.uuid4()), **fields, **more}


def test_one_event_arrives_as_it_was_told(stage: Stage, post: Post, host: str) -> None:
    message = 'a "Küche" \\ 日本\nsecond line\ttab\x01'
    done = post("--event", "err", message, host)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "queued"
    (row,) = stage.wait_rows(host, 1)
    assert row["message"] == message
    assert row["syslog_severity"] == 3
    assert abs(row["event_timestamp"] - datetime.now(UTC)) < timedelta(minutes=1)
    assert str(row["correlation_id"]) == json.loads(done.stdout)["correlation_id"]


def test_a_file_of_events_goes_as_it_is(stage: Stage, post: Post, host: str) -> None:
    sent = "\n".join(json.dumps(record(host, f"message {n}")) for n in range(1000))
    done = post(text=sent)
    assert json.loads(done.stdout)["accepted"] == 1000
    assert len({row["message"] for row in stage.wait_rows(host, 1000)}) == 1000


def test_it_waits_for_mutt_and_shows_nobody_the_key(stage: Stage, begin: Callable[..., Running], host: str) -> None:
    with stage.outage():
        running = begin("--event", "3", "patience", host)
        wait_for(lambda: "not taken (000)" in running.log(), "the first try")
        shown = [part for child in children(running) for part in child]
        assert not any(INGEST_API_KEY in part for part in shown)
    assert running.process.wait(60) == 0, running.log()
    assert len(stage.wait_rows(host, 1)) == 1


def children(running: Running) -> list[list[str]]:
    found = []
    for child in psutil.Process(running.process.pid).children(recursive=True):
        try:
            found.append(child.cmdline())
        except psutil.NoSuchProcess:
            continue
    return found


def test_a_full_queue_makes_it_try_again(stage: Stage, begin: Callable[..., Running], host: str) -> None:
    with stage.full_queue():
        running = begin("--event", "3", "again", host)
        wait_for(lambda: running.log().count("not taken (503)") > 1, "two tries")
    assert running.process.wait(60) == 0, running.log()
    assert len(stage.wait_rows(host, 1)) == 1


def test_an_event_whose_reply_was_lost_is_one_row(
    stage: Stage, post: Post, proxy: Callable[[str], Proxy], host: str, tmp_path: Path
) -> None:
    between = proxy(f"{stage.url}/")
    between.lose_reply(b"POST")
    done = post("--event", "3", "sent twice", host, settings=write_settings(tmp_path / "lossy.env", between.url))
    assert done.returncode == 0, done.stderr
    assert between.lost.is_set()
    assert done.stderr.count("not taken") == 1
    assert len(stage.wait_rows(host, 1)) == 1


def test_what_mutt_refuses_is_not_sent_again(stage: Stage, post: Post, host: str) -> None:
    done = post(text="{broken")
    assert done.returncode == 1
    assert "MUTT will not take this (400)" in done.stderr
    done = post(text=json.dumps([record(host, "good"), {"message": "bad"}]))
    assert (done.returncode, json.loads(done.stdout)["rejected"]) == (0, 1)
    assert len(stage.wait_rows(host, 1)) == 1


def test_it_gives_up_in_time_and_says_so(post: Post, tmp_path: Path, host: str) -> None:
    nobody = write_settings(tmp_path / "nobody.env", f"http://{HOST}:{free_port()}", MUTT_PATIENCE="2")
    done = post("--event", "3", "lost?", host, settings=nobody)
    assert done.returncode == 75
    assert "send it again" in done.stderr


def test_settings_that_others_can_read_are_refused(post: Post, settings_file: Path) -> None:
    settings_file.chmod(0o644)
    done = post("--event", "3", "x")
    assert done.returncode == 78
    assert "chmod 600" in done.stderr
    assert post("--event").returncode == 78
    settings_file.chmod(0o600)
    assert post("--event").returncode == 2
