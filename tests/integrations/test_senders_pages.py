"""The pages and the files of integrations/ that no program reads in a test."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from integrations.senders.settings import read_settings
from tests.harness.programs import program
from tests.integrations.stage import INTEGRATIONS, ROOT

OURS = ("rsyslog", "syslog-ng", "snmptrapd", "curl")
PROGRAMS = ("rsyslog/mutt-send", "snmptrapd/mutt-trap", "curl/mutt-post")
KNOWN = {"MUTT_URL", "MUTT_API_KEY", "MUTT_CA_FILE", "MUTT_TIMEOUT", "MUTT_LONGEST_PAUSE", "MUTT_GZIP", "MUTT_PATIENCE"}


@pytest.mark.parametrize("name", OURS)
def test_a_page_names_files_that_are_there(name: str) -> None:
    page = (INTEGRATIONS / name / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"(?<!/)\bintegrations/[\w./-]*\w", page))
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []
    folder = {path.name for path in (INTEGRATIONS / name).iterdir() if path.suffix in {".conf", ".service"}}
    assert [path for path in folder if path not in page] == []


def test_the_list_of_senders_names_each_folder() -> None:
    page = (ROOT / "docs" / "senders.md").read_text(encoding="utf-8")
    folders = {path.parent.name for path in INTEGRATIONS.glob("*/README.md")}
    assert [name for name in folders if f"(../integrations/{name}/README.md)" not in page] == []


@pytest.mark.parametrize("path", PROGRAMS)
def test_a_program_starts_wherever_it_is_called_from(path: str, tmp_path: Path) -> None:
    link = tmp_path / "linked"
    link.symlink_to(INTEGRATIONS / path)
    assert os.access(link, os.X_OK)
    arguments = ["--settings", str(tmp_path / "none")] if path.startswith("curl") else ["--help"]
    command = ["sh"] if path.startswith("curl") else [sys.executable, "-I"]
    done = subprocess.run(
        [*command, str(link), *arguments], cwd="/", capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == (78 if path.startswith("curl") else 0), done.stderr


def test_snmptrapds_user_may_read_and_write_all_that_it_is_given() -> None:
    """Debian's unit runs it as Debian-snmp, which reads its configuration itself and cannot write to /run."""
    page = (INTEGRATIONS / "snmptrapd" / "README.md").read_text(encoding="utf-8")
    closed = re.findall(r"^    install .*-m [67]00 .*$", page, re.MULTILINE)
    assert len(closed) == 3
    assert [line for line in closed if " -o Debian-snmp " not in line] == []
    drop_in = (INTEGRATIONS / "snmptrapd" / "snmptrapd-drop-in.conf").read_text(encoding="utf-8")
    assert " -p " not in drop_in


def test_the_shipped_settings_are_understood(tmp_path: Path) -> None:
    shipped = (INTEGRATIONS / "sender.env").read_text(encoding="utf-8")
    assert set(re.findall(r"^#?([A-Z_]+)=", shipped, re.MULTILINE)) == KNOWN
    copy = tmp_path / "sender.env"
    copy.touch(mode=0o600)
    copy.write_text(re.sub(r"^#([A-Z_]+=)", r"\1", shipped, flags=re.MULTILINE), encoding="utf-8")
    settings = read_settings(str(copy))
    assert settings.url == "http://127.0.0.1:8080/api/v2/ingest"
    assert settings.gzip
    assert settings.ca_file == "/etc/mutt/ca.pem"


def test_the_unit_of_mutt_trap_is_clean(tmp_path: Path) -> None:
    analyze = program("systemd-analyze")
    unit = tmp_path / "mutt-trap.service"
    text = (INTEGRATIONS / "snmptrapd" / "mutt-trap.service").read_text(encoding="utf-8")
    assert "ExecStart=/opt/mutt/" in text
    unit.write_text(text.replace("ExecStart=/opt/mutt/", f"ExecStart={ROOT}/"), encoding="utf-8")
    for arguments in (["verify", "--man=no", str(unit)], ["security", "--offline=true", "--threshold=25", str(unit)]):
        done = subprocess.run(
            [str(analyze.path), *arguments], env=analyze.environment, capture_output=True, text=True, check=False
        )
        told = [line for line in done.stderr.splitlines() if "mutt-trap" in line]
        assert (done.returncode, told) == (0, []), done.stdout[-3000:] + done.stderr
