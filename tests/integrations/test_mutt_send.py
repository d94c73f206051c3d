"""mutt-send as a process, spoken to as rsyslog's omprog speaks."""

import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from scripts.devtools.embedded import free_port
from scripts.devtools.services import HOST
from tests.harness.credentials import INGEST_API_KEY
from tests.harness.waiting import wait_for
from tests.integrations.stage import INTEGRATIONS, Stage, write_settings

Start = Callable[..., "Sender"]


class Sender:
    """The process; `say` writes a line and returns the answer."""

    def __init__(self, folder: Path, settings: Path) -> None:
        self.folder = folder
        program = str(INTEGRATIONS / "rsyslog" / "mutt-send")
        arguments = ["--settings", str(settings), "--journal", str(folder / "journal")]
        with (folder / "told").open("ab") as told:
            self.process = subprocess.Popen(
                [sys.executable, "-IS", program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=told
            )

    def told(self) -> str:
        return (self.folder / "told").read_text(encoding="utf-8")

    def write(self, line: bytes) -> None:
        assert self.process.stdin
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def answer(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().decode().rstrip("\n")

    def say(self, line: bytes) -> str:
        self.write(line)
        return self.answer()

    def begin(self, *records: bytes) -> None:
        assert self.say(b"BEGIN TRANSACTION") == "OK"
        assert [self.say(record) for record in records] == ["DEFER_COMMIT"] * len(records)

    def commit(self) -> str:
        return self.say(b"COMMIT TRANSACTION")

    def close(self) -> int:
        assert self.process.stdin
        self.process.stdin.close()
        return self.process.wait(30)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()
        if self.process.stdin:
            self.process.stdin.close()


@pytest.fixture
def start(tmp_path: Path, settings_file: Path) -> Iterator[Start]:
    with ExitStack() as stack:

        def begin(settings: Path = settings_file) -> Sender:
            sender = Sender(tmp_path, settings)
            stack.callback(sender.kill)
            return sender

        yield begin


def record(host: str, message: str, **more: Any) -> bytes:
    fields = {"timestamp": datetime.now(UTC).isoformat(), "hostname": host, "message": message}
    return json.dumps({"correlation_id": str(uuid.uuid4()), **fields, **more}).encode()


def test_a_successor_hands_over_what_a_killed_one_had_taken(stage: Stage, start: Start, host: str) -> None:
    first = start()
    assert first.answer() == "OK"
    records = [record(host, f"message {n}") for n in range(3)]
    first.begin(*records)
    first.kill()
    second = start()
    assert second.answer() == "OK"
    assert len(stage.wait_rows(host, 3)) == 3
    # rsyslog sends the last one again, which it had no answer for: the same bytes, the same row.
    second.begin(records[-1], record(host, "message 3"))
    assert second.commit() == "OK"
    assert sorted(row["message"] for row in stage.wait_rows(host, 4)) == [f"message {n}" for n in range(4)]
    assert second.close() == 0
    assert not any(path.stat().st_size for path in (second.folder / "journal").glob("*.journal"))


def test_a_live_process_keeps_its_journal(start: Start, host: str) -> None:
    first, second = start(), start()
    assert [first.answer(), second.answer()] == ["OK", "OK"]
    first.begin(record(host, "of the first"))
    third = start()
    assert third.answer() == "OK"
    assert "had not handed over" not in third.told()


def test_what_one_leaves_that_ends_after_its_successor_began_goes_with_the_next_transaction(
    stage: Stage, start: Start, host: str
) -> None:
    first, second = start(), start()
    assert [first.answer(), second.answer()] == ["OK", "OK"]
    first.begin(record(host, "of the first"))
    first.kill()
    second.begin(record(host, "of the second"))
    assert second.commit() == "OK"
    assert len(stage.wait_rows(host, 2)) == 2


def test_a_full_disk_keeps_no_half_of_a_message_and_costs_none(stage: Stage, start: Start, host: str) -> None:
    sender = start()
    assert sender.answer() == "OK"
    sender.begin(record(host, "before"))
    (journal,) = (sender.folder / "journal").glob("*.journal")
    size, later = journal.stat().st_size, record(host, "while the disk is full")
    process = psutil.Process(sender.process.pid)
    process.rlimit(psutil.RLIMIT_FSIZE, (size + 10, psutil.RLIM_INFINITY))
    assert "the journal cannot be written" in sender.say(later)
    assert journal.stat().st_size == size
    process.rlimit(psutil.RLIMIT_FSIZE, (psutil.RLIM_INFINITY, psutil.RLIM_INFINITY))
    sender.begin(later)  # rsyslog tries again
    assert sender.commit() == "OK"
    assert len(stage.wait_rows(host, 2)) == 2


def test_a_commit_waits_until_mutt_is_there(stage: Stage, start: Start, host: str) -> None:
    sender = start()
    assert sender.answer() == "OK"
    sender.begin(record(host, "patience"))
    with stage.outage():
        sender.write(b"COMMIT TRANSACTION")
        wait_for(lambda: "no answer" in sender.told(), "the first try")
    assert sender.answer() == "OK"
    assert len(stage.wait_rows(host, 1)) == 1


def test_a_connection_that_was_closed_meanwhile_is_no_failure(stage: Stage, start: Start, host: str) -> None:
    sender = start()
    assert sender.answer() == "OK"
    sender.begin(record(host, "on a new connection"))
    assert sender.commit() == "OK"
    stage.ingestor.restart()
    sender.begin(record(host, "on a stale one"))
    assert sender.commit() == "OK"
    assert len(stage.wait_rows(host, 2)) == 2
    assert sender.told() == ""


def test_it_ends_while_mutt_is_away_and_keeps_what_it_has(start: Start, settings_file: Path, host: str) -> None:
    write_settings(settings_file, f"http://{HOST}:{free_port()}", MUTT_LONGEST_PAUSE="3600")
    sender = start()
    assert sender.answer() == "OK"
    sender.begin(record(host, "kept"))
    sender.write(b"COMMIT TRANSACTION")
    wait_for(lambda: "no answer" in sender.told(), "the first try")
    assert sender.close() == 0
    assert b"kept" in b"".join(path.read_bytes() for path in (sender.folder / "journal").glob("*.journal"))


def test_what_cannot_be_read_is_put_aside_and_all_else_goes(stage: Stage, start: Start, host: str) -> None:
    sender = start()
    assert sender.answer() == "OK"
    sender.begin(b"{broken", b"[1, 2")
    assert sender.commit() == "OK"
    sender.begin(record(host, "good"), b"{broken in a batch", record(host, "good too"), record("h" * 300, "bad host"))
    assert sender.commit() == "OK"
    assert len(stage.wait_rows(host, 2)) == 2
    rejected = (sender.folder / "journal" / "rejected.ndjson").read_text(encoding="utf-8").splitlines()
    assert [line for line in rejected if not line.startswith("#")] == ["{broken", "[1, 2"]
    assert "keeps 2 records in its quarantine" in sender.told()


def test_a_wrong_key_costs_no_message_and_is_read_again(stage: Stage, start: Start, host: str, tmp_path: Path) -> None:
    settings = write_settings(tmp_path / "wrong.env", stage.url, MUTT_API_KEY="not-the-key")
    sender = start(settings)
    assert sender.answer() == "OK"
    sender.begin(record(host, "after the right key"))
    sender.write(b"COMMIT TRANSACTION")
    wait_for(lambda: "401" in sender.told(), "the refusal")
    write_settings(settings, stage.url)
    assert sender.answer() == "OK"
    assert len(stage.wait_rows(host, 1)) == 1


def test_large_transactions_go_packed_and_in_parts(stage: Stage, start: Start, host: str, tmp_path: Path) -> None:
    sender = start(write_settings(tmp_path / "gzip.env", stage.url, MUTT_GZIP="yes"))
    assert sender.answer() == "OK"
    padding = "ä" * 10_000
    sender.begin(*(record(host, f"{n} {padding}") for n in range(100)))  # 6 MB as JSON, more than one request
    assert sender.commit() == "OK"
    assert len({row["message"] for row in stage.wait_rows(host, 100)}) == 100


def test_the_key_is_kept_from_others(start: Start, settings_file: Path) -> None:
    sender = start()
    assert sender.answer() == "OK"
    assert not any(INGEST_API_KEY in part for part in psutil.Process(sender.process.pid).cmdline())
    (journal,) = (sender.folder / "journal").glob("*.journal")
    assert journal.stat().st_mode & 0o077 == 0
    assert journal.parent.stat().st_mode & 0o077 == 0
    settings_file.chmod(0o644)
    careless = start()
    assert careless.answer() == ""
    assert careless.process.wait(30) == 78
    assert "has mode 0644: chmod 600" in careless.told()
    assert INGEST_API_KEY not in careless.told()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"MUTT_URL": "127.0.0.1:8080"}, "MUTT_URL has to be http://HOST:PORT"),
        ({"MUTT_URL": "http://mutt.example:808080"}, "MUTT_URL has to be http://HOST:PORT"),
        ({"MUTT_URL": "http://[::1"}, "MUTT_URL has to be http://HOST:PORT"),
        ({"MUTT_API_KEY": ""}, "MUTT_API_KEY is missing"),
        ({"MUTT_API_KEY": "schlüssel"}, "no HTTP header can carry"),
        ({"MUTT_TIMEOUT": "soon"}, "MUTT_TIMEOUT has to be"),
    ],
)
def test_settings_that_cannot_work_are_named(
    start: Start, tmp_path: Path, stage: Stage, changes: dict[str, str], words: str
) -> None:
    sender = start(write_settings(tmp_path / "bad.env", changes.pop("MUTT_URL", stage.url), **changes))
    assert sender.process.wait(30) == 78
    assert words in sender.told()
