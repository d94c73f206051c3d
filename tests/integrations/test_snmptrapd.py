"""snmptrapd with mutt-trap, as integrations/snmptrapd/ has them."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from scripts.devtools.embedded import free_port
from scripts.devtools.services import HOST
from tests.harness.credentials import INGEST_API_KEY
from tests.harness.programs import program
from tests.harness.waiting import wait_for
from tests.integrations.stage import INTEGRATIONS, Running, Stage, adapted, started

TRAP = INTEGRATIONS / "snmptrapd" / "mutt-trap"
COMMUNITY = "a-secret-community"
ENGINE = "0x8000000001020304"
PASSPHRASES = ("first-passphrase", "second-passphrase")
LINK_DOWN, LINK_UP = ".1.3.6.1.6.3.1.1.5.3", ".1.3.6.1.6.3.1.1.5.4"
IF_INDEX, IF_DESCR, IF_PHYS = ".1.3.6.1.2.1.2.2.1.1", ".1.3.6.1.2.1.2.2.1.2", ".1.3.6.1.2.1.2.2.1.6"
IF_ADMIN, IF_OPER = ".1.3.6.1.2.1.2.2.1.7", ".1.3.6.1.2.1.2.2.1.8"
OWN = ".1.3.6.1.4.1.99999"
MIB = """
MUTT-TEST-MIB DEFINITIONS ::= BEGIN
muttTest OBJECT IDENTIFIER ::= { iso 3 6 1 4 1 99999 }
muttTestDoor OBJECT IDENTIFIER ::= { muttTest 1 }
muttTestDoorOpen OBJECT IDENTIFIER ::= { muttTest 0 7 }
END
"""


@dataclass
class Snmptrapd:
    """A running snmptrapd whose traps lie in `spool`, and the programs that drain it."""

    folder: Path
    settings: Path
    end: Callable[[Running], Running]
    port: int = field(default_factory=free_port)

    @property
    def spool(self) -> Path:
        return self.folder / "spool"

    def start(self) -> None:
        snmptrapd = program("snmptrapd")
        text = adapted(
            "snmptrapd/snmptrapd.conf",
            {
                "the-community": COMMUNITY,
                f"#createUser -e {ENGINE}": f"createUser -e {ENGINE}",
                "#authUser": "authUser",
                "the-passphrase": PASSPHRASES[0],
                "the-other-passphrase": PASSPHRASES[1],
                "/opt/mutt/integrations/snmptrapd/mutt-trap": f"{sys.executable} -IS {TRAP}",
                "/var/spool/mutt-trap": str(self.spool),
            },
        )
        configuration = self.folder / "snmptrapd.conf"
        configuration.write_text(text, encoding="utf-8")
        of_the_unit = adapted(
            "snmptrapd/snmptrapd-drop-in.conf",
            # Without the warnings' w it says when it listens; hosts stay numbers here.
            {"-LOw": f"-Lo -n -C -c {configuration}", "udp:162 udp6:162": f"udp:{HOST}:{self.port}"},
        )
        arguments = of_the_unit.rstrip().rpartition("/usr/sbin/snmptrapd ")[2].split()
        running = self.end(started(snmptrapd, arguments, self.folder, **self._environment()))
        wait_for(lambda: "NET-SNMP version" in running.log(), "snmptrapd to listen")

    def send(self, *arguments: str, version: tuple[str, ...] = ("-v2c", "-c", COMMUNITY)) -> None:
        snmptrap = program("snmptrap")
        subprocess.run(
            [str(snmptrap.path), *version, f"{HOST}:{self.port}", *arguments],
            env=snmptrap.environment | self._environment(),
            check=True,
            timeout=30,
        )

    def wait_spooled(self, count: int) -> None:
        wait_for(lambda: len(list(self.spool.glob("*.trap"))) >= count, f"{count} traps in the spool")

    def drain(self, *more: str, **environment: str) -> Running:
        command = [sys.executable, "-IS", str(TRAP), "--drain", "--spool", str(self.spool)]
        command += ["--settings", str(self.settings), *more]
        log = self.folder / f"drain-{time.monotonic_ns()}.log"
        return self.end(Running(command, {**os.environ, **environment}, log, self.folder))

    def drained(self, *more: str, **environment: str) -> str:
        running = self.drain("--once", *more, **environment)
        assert running.process.wait(60) == 0, running.log()
        assert not list(self.spool.glob("*.trap"))
        return running.log()

    def _environment(self) -> dict[str, str]:
        return {"MIBS": "", "SNMPCONFPATH": str(self.folder), "SNMP_PERSISTENT_DIR": str(self.folder / "persistent")}


@pytest.fixture
def snmptrapd(settings_file: Path, tmp_path: Path, end: Callable[[Running], Running]) -> Snmptrapd:
    made = Snmptrapd(tmp_path, settings_file, end)
    made.start()
    return made


@pytest.fixture
def own(host: str) -> str:
    """Return an OID that no other test sends: a trap's host is always this one."""
    return f"{OWN}.0.{int(host[5:13], 16) & 0x7FFFFFFF}"


def rows(stage: Stage, own: str, count: int) -> list[dict[str, Any]]:
    """Return the audit rows whose trap OID, or marker varbind, is the test's own."""
    found: list[dict[str, Any]] = []

    def look() -> bool:
        found[:] = [row for row in stage.rows(HOST) if own.lstrip(".") in str(row)]
        return len(found) >= count

    wait_for(look, f"{count} rows of {own}")
    stage.wait_calm()
    look()
    return found


def test_a_trap_arrives_as_it_was_sent(stage: Stage, snmptrapd: Snmptrapd, own: str) -> None:
    before = datetime.now(UTC)
    snmptrapd.send(
        "12345",
        LINK_DOWN,
        *(f"{IF_INDEX}.3", "i", "3"),
        *(f"{IF_DESCR}.3", "s", 'Gi "1/0/3" Küche\nsecond line\n.1.3.6.1.4.1.1 99'),
        *(f"{IF_PHYS}.3", "x", "001a2b3c4dff"),
        *(f"{IF_OPER}.3", "i", "2"),
        *(f"{OWN}.1", "C", "18446744073709551615"),
        *(f"{OWN}.2", "a", "10.1.2.3"),
        *(f"{OWN}.3", "o", LINK_UP),
        *(own, "s", ""),
    )
    snmptrapd.wait_spooled(1)
    snmptrapd.drained()
    (row,) = rows(stage, own, 1)
    assert (row["source"], row["trap_oid"], row["syslog_severity"]) == ("snmp", LINK_DOWN.lstrip("."), 3)
    assert before - timedelta(seconds=1) <= row["event_timestamp"] <= datetime.now(UTC)
    raw = row["raw"]
    assert raw["trap_name"] == "IF-MIB::linkDown"
    assert raw["uptime_seconds"] == 123.45
    assert raw["sender_address"] == HOST
    assert [(each["name"], each["value"]) for each in raw["varbinds"]] == [
        ("IF-MIB::ifIndex.3", 3),
        ("IF-MIB::ifDescr.3", 'Gi "1/0/3" Küche\nsecond line\n.1.3.6.1.4.1.1 99'),
        ("IF-MIB::ifPhysAddress.3", "00:1a:2b:3c:4d:ff"),
        ("IF-MIB::ifOperStatus.3", 2),
        (f"{OWN}.1".lstrip("."), 18446744073709551615),
        (f"{OWN}.2".lstrip("."), "10.1.2.3"),
        (f"{OWN}.3".lstrip("."), LINK_UP),
        (own.lstrip("."), ""),
    ]
    assert row["message"].startswith('linkDown: ifIndex.3=3, ifDescr.3=Gi "1/0/3" Küche\nsecond line')
    assert "ifOperStatus.3=down(2)" in row["message"]
    assert f"{OWN[1:]}.3=IF-MIB::linkUp" in row["message"]


def test_all_versions_arrive_and_no_community_is_kept(stage: Stage, snmptrapd: Snmptrapd, own: str) -> None:
    number = own.rpartition(".")[2]
    snmptrapd.send(OWN, "10.9.8.7", "6", number, "100", version=("-v1", "-c", COMMUNITY))
    user = ("-u", "the-user", "-l", "authPriv", "-a", "SHA", "-A", PASSPHRASES[0], "-x", "AES", "-X", PASSPHRASES[1])
    snmptrapd.send("100", own, version=("-v3", "-e", ENGINE, *user))
    snmptrapd.send("100", own, version=("-Ci", "-v2c", "-c", COMMUNITY))
    snmptrapd.send("100", own, version=("-v2c", "-c", "another-community"))
    snmptrapd.wait_spooled(3)
    kept = b"".join(path.read_bytes() for path in snmptrapd.spool.iterdir())
    assert COMMUNITY.encode() not in kept
    assert COMMUNITY.encode().hex(" ").upper().encode() not in kept
    assert b"1.3.6.1.6.3.18.1.4" not in kept
    snmptrapd.drained()
    assert len(rows(stage, own, 2)) == 2
    # A trap of version 1 that names another agent is that agent's.
    (first,) = [row for row in stage.rows("10.9.8.7") if row["trap_oid"] == own.lstrip(".")]
    assert first["raw"]["enterprise"] == OWN.lstrip(".")
    assert first["raw"]["sender_address"] == HOST


def test_traps_wait_while_mutt_is_away_and_the_drain_is_killed(stage: Stage, snmptrapd: Snmptrapd, own: str) -> None:
    with stage.outage():
        first = snmptrapd.drain()
        for number in range(20):
            snmptrapd.send("100", own, f"{OWN}.1", "i", str(number))
        snmptrapd.wait_spooled(20)
        wait_for(lambda: "no answer" in first.log(), "the first try")
        first.kill()
        snmptrapd.drain()
    assert sorted(row["raw"]["varbinds"][0]["value"] for row in rows(stage, own, 20)) == list(range(20))
    wait_for(lambda: not list(snmptrapd.spool.glob("*.trap")), "an empty spool")


def test_a_trap_that_is_handed_over_again_is_one_row(stage: Stage, snmptrapd: Snmptrapd, own: str) -> None:
    snmptrapd.send("100", own)
    snmptrapd.wait_spooled(1)
    (path,) = snmptrapd.spool.glob("*.trap")
    text = path.read_bytes()
    snmptrapd.drained()
    path.write_bytes(text)  # as if the drain had been killed between MUTT's answer and the deletion
    snmptrapd.drained()
    assert len(rows(stage, own, 1)) == 1


def test_a_full_queue_makes_it_try_again(stage: Stage, snmptrapd: Snmptrapd, own: str) -> None:
    with stage.full_queue():
        snmptrapd.send("100", own)
        snmptrapd.wait_spooled(1)
        running = snmptrapd.drain("--once")
        wait_for(lambda: "503" in running.log(), "a 503")
    assert running.process.wait(60) == 0
    assert len(rows(stage, own, 1)) == 1


def test_mibs_at_hand_name_what_is_not_built_in(stage: Stage, snmptrapd: Snmptrapd, host: str, own: str) -> None:
    mibs = snmptrapd.folder / "mibs"
    mibs.mkdir()
    (mibs / "MUTT-TEST-MIB.txt").write_text(MIB, encoding="utf-8")
    snmptrapd.send("100", f"{OWN}.0.7", f"{OWN}.1.5", "s", host, own, "i", "1")
    snmptrapd.wait_spooled(1)
    (snmptrapd.folder / "severities").write_text(f"# doors\n{OWN}.0 2\n", encoding="utf-8")
    snmptranslate = program("snmptranslate")
    environment = snmptranslate.environment | {"PATH": f"{snmptranslate.path.parent}:{os.environ['PATH']}"}
    snmptrapd.drained("--mibs", str(mibs), "--severities", str(snmptrapd.folder / "severities"), **environment)
    (row,) = rows(stage, own, 1)
    assert row["raw"]["trap_name"] == "MUTT-TEST-MIB::muttTestDoorOpen"
    assert row["syslog_severity"] == 2
    assert row["raw"]["varbinds"][0]["name"] == "MUTT-TEST-MIB::muttTestDoor.5"
    assert row["message"].startswith(f"muttTestDoorOpen: muttTestDoor.5={host}")


def test_a_huge_trap_is_cut_and_arrives(stage: Stage, snmptrapd: Snmptrapd, own: str) -> None:
    snmptrapd.send("100", own, f"{OWN}.1", "s", "ä" * 15_000, f"{OWN}.2", "s", "x" * 20_000, f"{OWN}.3", "i", "7")
    snmptrapd.wait_spooled(1)
    snmptrapd.drained()
    (row,) = rows(stage, own, 1)
    values = [each["value"] for each in row["raw"]["varbinds"]]
    assert values[0].startswith("ä" * 1_000)
    assert values[2] == 7


def test_what_cannot_be_read_is_kept_and_holds_up_no_other(stage: Stage, snmptrapd: Snmptrapd, own: str) -> None:
    snmptrapd.send("100", own)
    snmptrapd.wait_spooled(1)
    (snmptrapd.spool / "00000000000000000001-x.trap").write_bytes(b"neither\nof\nthese")
    shutil.copy(next(snmptrapd.spool.glob("*.trap")), snmptrapd.spool / "a-copy-of-somebody's.trap")
    assert "is kept as" in snmptrapd.drained()
    assert len(rows(stage, own, 1)) == 1
    assert (snmptrapd.spool / "00000000000000000001-x.trap.bad").read_bytes() == b"neither\nof\nthese"


def test_the_key_and_the_traps_are_kept_from_others(snmptrapd: Snmptrapd, own: str) -> None:
    snmptrapd.send("100", own)
    snmptrapd.wait_spooled(1)
    for path in (snmptrapd.spool, *snmptrapd.spool.glob("*.trap")):
        assert path.stat().st_mode & 0o077 == 0
    running = snmptrapd.drain()
    assert not any(INGEST_API_KEY in part for part in psutil.Process(running.process.pid).cmdline())
    snmptrapd.settings.chmod(0o640 | 0o004)
    careless = snmptrapd.drain("--once")
    assert careless.process.wait(30) == 78
    assert "chmod 600" in careless.log()
