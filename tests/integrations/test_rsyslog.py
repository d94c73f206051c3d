"""rsyslog with omprog and mutt-send, as integrations/rsyslog/mutt.conf has them."""

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from scripts.devtools.embedded import free_port
from tests.harness.programs import library_folder, program
from tests.harness.proxy import Proxy
from tests.harness.waiting import wait_for
from tests.integrations.stage import INTEGRATIONS, Running, Stage, adapted, descendants, started
from tests.integrations.syslog import connected, rfc3164, rfc5424, send_tcp, send_udp

SEND = INTEGRATIONS / "rsyslog" / "mutt-send"
FAR_ZONE = "<+0530>-5:30"  # of rsyslog's host: what it writes of a time without zone


@dataclass
class Rsyslog:
    """A running rsyslogd on a configuration of its own."""

    port: int
    folder: Path
    end: Callable[[Running], Running]
    running: Running | None = None

    def start(self) -> None:
        """Start it (again), on the same folders."""
        rsyslogd = program("rsyslogd")
        modules = str(library_folder(rsyslogd) / "rsyslog")
        arguments = ["-n", "-i", "none", "-M", modules, "-f", str(self.folder / "rsyslog.conf")]
        self.running = self.end(started(rsyslogd, arguments, self.folder, TZ=FAR_ZONE))
        connected(self.port, self.running).close()  # a datagram that comes before it listens is gone

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self.running is not None
        return self.running.process.pid

    def senders(self) -> list[int]:
        """Return the process ids of its mutt-send."""
        return descendants(self.pid, "mutt-send")

    def told(self) -> str:
        """Return what mutt-send wrote for the operator."""
        log = self.folder / "mutt-send.log"
        return log.read_text(encoding="utf-8") if log.exists() else ""


@pytest.fixture
def queue(request: pytest.FixtureRequest) -> dict[str, str]:
    """Return what the test's mark `parametrize` changes of the queue."""
    changes: dict[str, str] = getattr(request, "param", {})
    return changes


@pytest.fixture
def rsyslog(settings_file: Path, tmp_path: Path, end: Callable[[Running], Running], queue: dict[str, str]) -> Rsyslog:
    port = free_port()
    (tmp_path / "spool").mkdir()
    text = adapted(
        "rsyslog/mutt.conf",
        {
            'port="514"': f'address="127.0.0.1" port="{port}"',
            "/opt/mutt/integrations/rsyslog/mutt-send": f"{sys.executable} -IS {SEND}",
            "/etc/mutt/sender.env": str(settings_file),
            "/var/spool/rsyslog": str(tmp_path / "spool"),
            "/var/log/mutt-send.log": str(tmp_path / "mutt-send.log"),
            **queue,
        },
    )
    (tmp_path / "rsyslog.conf").write_text(f'global(workDirectory="{tmp_path}")\n{text}', encoding="utf-8")
    made = Rsyslog(port, tmp_path, end)
    made.start()
    return made


def now() -> str:
    return datetime.now(timezone(timedelta(hours=2))).isoformat(timespec="milliseconds")


def numbered(host: str, count: int, start: int = 0) -> list[bytes]:
    return [rfc5424(6, host, f"message {n:05}", now()) for n in range(start, start + count)]


def messages(stage: Stage, host: str, count: int) -> list[str]:
    return [row["message"] for row in stage.wait_rows(host, count)]


def test_an_event_arrives_as_it_was_sent(stage: Stage, rsyslog: Rsyslog, host: str) -> None:
    sent = datetime.now(UTC).replace(microsecond=123000)
    local = sent.astimezone(timezone(timedelta(hours=5, minutes=30)))
    send_tcp(
        rsyslog.port,
        [
            rfc5424(3, host, 'a "Küche" \\ 日本\nsecond line\ttab', sent.isoformat()),
            rfc3164(4, host, "%LINK-3-UPDOWN:", "Interface Gi1/0/1, changed state to down", f"{local:%b %e %H:%M:%S}"),
        ],
    )
    first, second = sorted(stage.wait_rows(host, 2), key=lambda row: row["message"], reverse=True)
    assert first["message"] == 'a "Küche" \\ 日本\nsecond line\ttab'
    assert (first["syslog_severity"], first["source"]) == (3, "syslog")
    assert first["event_timestamp"] == sent
    assert first["raw"]["program"] == "app"
    assert first["raw"]["pid"] == "4711"
    assert first["raw"]["syslog_facility"] == "local7"
    assert first["raw"]["sender_address"] == "127.0.0.1"
    assert second["message"] == "%LINK-3-UPDOWN: Interface Gi1/0/1, changed state to down"
    assert second["syslog_severity"] == 4
    # RFC 3164 has no zone: it is that of rsyslog's host.
    assert second["event_timestamp"] == sent.replace(microsecond=0)


def kill_in_a_transaction(rsyslog: Rsyslog) -> None:
    """Kill mutt-send when it has taken the first messages of a transaction, for which it has not answered yet.

    rsyslog sends what was confirmed before that message no more: only the journal has it.
    """
    (sender,) = wait_for(rsyslog.senders, "a mutt-send")
    folder = rsyslog.folder / "spool" / "mutt-send"
    deadline = time.monotonic() + 45
    while not any(journal.stat().st_size for journal in folder.glob("*.journal")):
        assert time.monotonic() < deadline, "nothing came to the journal"
    os.kill(sender, signal.SIGKILL)


def test_thousands_arrive_once_although_mutt_send_is_killed_within_transactions(
    stage: Stage, rsyslog: Rsyslog, host: str
) -> None:
    count, part = 3000, 1000
    send_tcp(rsyslog.port, numbered(host, 1))
    stage.wait_rows(host, 1)
    for start in range(1, count, part):
        send_tcp(rsyslog.port, numbered(host, min(part, count - start), start))
        kill_in_a_transaction(rsyslog)
    rows = stage.wait_rows(host, count)
    assert sorted(row["message"] for row in rows) == [f"message {n:05}" for n in range(count)]
    assert len({row["correlation_id"] for row in rows}) == count
    assert "that an earlier mutt-send had not handed over" in rsyslog.told()


def test_what_comes_while_mutt_is_away_arrives_when_it_is_back(stage: Stage, rsyslog: Rsyslog, host: str) -> None:
    send_udp(rsyslog.port, numbered(host, 1))
    stage.wait_rows(host, 1)
    with stage.outage():
        send_tcp(rsyslog.port, numbered(host, 300, 1))
        wait_for(lambda: "no answer" in rsyslog.told(), "mutt-send to notice")
        # rsyslog itself is stopped and started meanwhile: it keeps its queue, mutt-send its journal.
        assert rsyslog.running
        rsyslog.running.terminate()
        rsyslog.start()
        send_tcp(rsyslog.port, numbered(host, 300, 301))
    assert messages(stage, host, 601) == [f"message {n:05}" for n in range(601)]


@pytest.mark.parametrize(
    "queue",
    [{'queue.type="LinkedList"': 'queue.type="Disk" queue.checkpointInterval="1" queue.syncQueueFiles="on"'}],
    ids=["on disk"],
    indirect=True,
)
def test_a_queue_on_disk_survives_a_kill_of_rsyslog(
    stage: Stage, queue: dict[str, str], rsyslog: Rsyslog, host: str
) -> None:
    with stage.outage():
        send_tcp(rsyslog.port, numbered(host, 201))
        # The last one may be lost: rsyslog may not have noted yet that it was written.
        wait_for(lambda: last_is_on_disk(rsyslog, b"message 00200"), "the last message in the queue's file")
        assert rsyslog.running
        rsyslog.running.kill()
        rsyslog.start()
    found = messages(stage, host, 200)
    assert found[:200] == [f"message {n:05}" for n in range(200)]
    assert found[200:] in ([], ["message 00200"])


def last_is_on_disk(rsyslog: Rsyslog, text: bytes) -> bool:
    return any(text in path.read_bytes() for path in (rsyslog.folder / "spool").glob("mutt.0*"))


def test_a_full_queue_makes_it_try_again(stage: Stage, rsyslog: Rsyslog, host: str) -> None:
    with stage.full_queue():
        send_tcp(rsyslog.port, numbered(host, 20))
        wait_for(lambda: "503" in rsyslog.told(), "a 503")
        refused = stage.refused("queue_full")  # one transaction at a time, of however many messages
        wait_for(lambda: stage.refused("queue_full") > refused, "another try")
    assert messages(stage, host, 20) == [f"message {n:05}" for n in range(20)]
    assert "takes events again" in rsyslog.told()


def test_messages_whose_reply_was_lost_are_one_row_each(
    stage: Stage, lossy: Proxy, rsyslog: Rsyslog, host: str
) -> None:
    lossy.lose_reply(b"POST")
    send_tcp(rsyslog.port, numbered(host, 20))
    wait_for(lossy.lost.is_set, "a lost reply")
    wait_for(lambda: "takes events again" in rsyslog.told(), "the second try")
    assert messages(stage, host, 20) == [f"message {n:05}" for n in range(20)]


def test_a_message_that_mutt_refuses_holds_up_no_other(stage: Stage, rsyslog: Rsyslog, host: str) -> None:
    send_tcp(rsyslog.port, [*numbered(host, 5), rfc5424(6, "h" * 256, "its host's name is too long", now())])
    send_tcp(rsyslog.port, numbered(host, 5, 5))
    assert messages(stage, host, 10) == [f"message {n:05}" for n in range(10)]
    wait_for(lambda: "quarantine" in rsyslog.told(), "the word of it")


def test_bytes_that_are_no_utf_8_arrive_marked(stage: Stage, rsyslog: Rsyslog, host: str) -> None:
    send_udp(rsyslog.port, [rfc5424(6, host, "caf", now()) + b"\xe9 \xff"])
    (row,) = stage.wait_rows(host, 1)
    assert row["message"] == "caf\ufffd \ufffd"
