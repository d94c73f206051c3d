"""syslog-ng with its http() destination and disk buffer, as integrations/syslog-ng/mutt.conf has them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import psutil
import pytest

from scripts.devtools.embedded import free_port
from tests.harness.credentials import INGEST_API_KEY
from tests.harness.programs import program
from tests.harness.proxy import Proxy
from tests.harness.waiting import wait_for
from tests.integrations.stage import Running, Stage, adapted, started
from tests.integrations.syslog import connected, rfc3164, rfc5424, send_tcp, send_udp

FAR_ZONE = "<+0530>-5:30"  # of syslog-ng's host: what it writes of a time without zone


@dataclass
class SyslogNg:
    """A running syslog-ng; `port` takes datagrams, `framed` lengths and messages."""

    folder: Path
    url: str
    end: Callable[[Running], Running]
    port: int = field(default_factory=free_port)
    framed: int = field(default_factory=free_port)
    running: Running | None = None

    def configure(self) -> None:
        """Write its configuration."""
        text = adapted(
            "syslog-ng/mutt.conf",
            {
                "port(514)": f'ip("127.0.0.1") port({self.port})',
                "port(601)": f'ip("127.0.0.1") port({self.framed})',
                "/var/lib/syslog-ng": str(self.folder),
                "time-reopen(5)": "time-reopen(1)",
            },
        )
        (self.folder / "syslog-ng.conf").write_text(f"@version: 3.38\n{text}", encoding="utf-8")

    def start(self) -> None:
        """Start it (again), on the same folder."""
        syslog_ng = program("syslog-ng")
        at = {"--persist-file": "persist", "--pidfile": "pid", "--control": "control", "-f": "syslog-ng.conf"}
        arguments = [part for option, name in at.items() for part in (option, str(self.folder / name))]
        modules = str(syslog_ng.companion("/usr/lib/syslog-ng/3.38"))
        arguments += ["-F", "-e", "--no-caps", "--module-path", modules]
        secrets = {"MUTT_URL": self.url, "MUTT_API_KEY": INGEST_API_KEY}
        self.running = self.end(started(syslog_ng, arguments, self.folder, TZ=FAR_ZONE, **secrets))
        connected(self.framed, self.running).close()

    def log(self) -> str:
        """Return what it printed."""
        assert self.running is not None
        return self.running.log()


@pytest.fixture
def syslog_ng(stage: Stage, tmp_path: Path, end: Callable[[Running], Running]) -> SyslogNg:
    made = SyslogNg(tmp_path, stage.url, end)
    made.configure()
    made.start()
    return made


def now() -> str:
    return datetime.now(timezone(timedelta(hours=-3))).isoformat(timespec="milliseconds")


def numbered(host: str, count: int, start: int = 0) -> list[bytes]:
    return [rfc5424(6, host, f"message {n:05}", now()) for n in range(start, start + count)]


def expected(count: int) -> list[str]:
    return [f"message {n:05}" for n in range(count)]


def messages(stage: Stage, host: str, count: int) -> list[str]:
    return sorted(row["message"] for row in stage.wait_rows(host, count))


def test_an_event_arrives_as_it_was_sent(stage: Stage, syslog_ng: SyslogNg, host: str) -> None:
    sent = datetime.now(UTC).replace(microsecond=123000)
    local = sent.astimezone(timezone(timedelta(hours=5, minutes=30)))
    send_tcp(syslog_ng.framed, [rfc5424(3, host, 'a "Küche" \\ 日本\nsecond line\ttab', sent.isoformat())])
    text = "Interface Gi1/0/1, changed state to down"
    send_udp(
        syslog_ng.port,
        [
            rfc3164(4, host, "%LINK-3-UPDOWN:", text, f"{local:%b %e %H:%M:%S}"),
            rfc5424(0, host, "by datagram", sent.isoformat()),
        ],
    )
    rows = {row["message"]: row for row in stage.wait_rows(host, 3)}
    first = rows['a "Küche" \\ 日本\nsecond line\ttab']
    assert (first["syslog_severity"], first["source"]) == (3, "syslog")
    assert first["event_timestamp"] == sent
    assert first["raw"]["program"] == "app"
    assert first["raw"]["pid"] == "4711"
    assert first["raw"]["syslog_facility"] == "local7"
    # Cisco's mnemonic, which syslog-ng takes for the program, stays in the text.
    cisco = rows[f"%LINK-3-UPDOWN: {text}"]
    assert cisco["syslog_severity"] == 4
    # RFC 3164 has no zone: it is that of syslog-ng's host.
    assert cisco["event_timestamp"] == sent.replace(microsecond=0)
    assert rows["by datagram"]["syslog_severity"] == 0
    assert rows["by datagram"]["event_timestamp"] == sent


def test_thousands_arrive_once_although_mutt_and_syslog_ng_are_killed(
    stage: Stage, syslog_ng: SyslogNg, host: str
) -> None:
    send_tcp(syslog_ng.framed, numbered(host, 1500))
    with stage.outage():
        send_tcp(syslog_ng.framed, numbered(host, 1500, 1500))
        wait_for(lambda: "time_reopen=" in syslog_ng.log(), "a failed try")
        # What it has read is in its disk buffer, and survives its own end; what still is in a socket would not.
        wait_for(lambda: syslog_ng.log().count("Syslog connection closed") >= 3, "the end of each connection")
        assert syslog_ng.running
        syslog_ng.running.kill()
        syslog_ng.start()
        send_tcp(syslog_ng.framed, numbered(host, 1000, 3000))
    rows = stage.wait_rows(host, 4000)
    assert sorted(row["message"] for row in rows) == expected(4000)
    assert len({row["correlation_id"] for row in rows}) == 4000


def test_a_full_queue_makes_it_try_again(stage: Stage, syslog_ng: SyslogNg, host: str) -> None:
    with stage.full_queue():
        send_tcp(syslog_ng.framed, numbered(host, 20))
        wait_for(lambda: "status_code='503'" in syslog_ng.log(), "a 503")
    assert messages(stage, host, 20) == expected(20)


def test_messages_whose_reply_was_lost_are_one_row_each(
    stage: Stage, lossy: Proxy, end: Callable[[Running], Running], tmp_path: Path, host: str
) -> None:
    syslog_ng = SyslogNg(tmp_path, lossy.url.rstrip("/"), end)
    syslog_ng.configure()
    syslog_ng.start()
    before = stage.accepted()
    lossy.lose_reply(b"POST")
    send_tcp(syslog_ng.framed, numbered(host, 20))
    wait_for(lossy.lost.is_set, "a lost reply")
    wait_for(lambda: stage.accepted() > before + 20, "events that are taken twice")
    assert messages(stage, host, 20) == expected(20)


def test_a_message_that_mutt_refuses_holds_up_no_other(stage: Stage, syslog_ng: SyslogNg, host: str) -> None:
    before = stage.quarantined()
    too_large = rfc5424(6, host, "x" * 65_400, now())
    send_tcp(syslog_ng.framed, [*numbered(host, 5), too_large, *numbered(host, 5, 5)])
    assert messages(stage, host, 10) == expected(10)
    assert stage.quarantined() == before + 1


def test_the_key_is_in_no_command_line(syslog_ng: SyslogNg) -> None:
    assert syslog_ng.running
    command = psutil.Process(syslog_ng.running.process.pid).cmdline()
    assert not any(INGEST_API_KEY in part for part in command)
