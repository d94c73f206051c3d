"""docs/operations/upgrade.md, block by block as it stands, on an installation of an older release; small bundles do."""

import re
import shutil
import sys
from pathlib import Path

from scripts import make_release
from scripts.devtools.services import TREE
from tests.harness.documents import Shell, blocks
from tests.release.bundles import WHEELS, tiny
from tests.release.system import PATH, overlaid_system

PAGE = TREE / "docs" / "operations" / "upgrade.md"
OLD, NEW = "2.5.0-1", "2.5.0-2"
# Lines that only a running systemd could execute. Services of two releases side by side: tests/upgrade.
FOR_SYSTEMD = [
    "systemctl start mutt-migrate.service",
    "journalctl -u mutt-migrate.service -n 20",
    *(f"systemctl restart mutt-{name}" for name in ("alerter", "moog-forwarder", "remediation", "webui", "ingestor")),
]


def test_every_line_of_the_page_is_run_or_listed_here_as_systemds() -> None:
    found = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert [line for block in found for line in block.splitlines()] == FOR_SYSTEMD


def test_the_page_leads_to_the_new_release_back_again_and_forward(tmp_path: Path) -> None:
    work, kept = tmp_path / "work", tmp_path / "kept"
    settings = "VAULT_ADDR=https://vault.example\nNEW_SETTING=1\n"
    older = make_release.make_release(tiny(OLD), kept, WHEELS)
    make_release.make_release(tiny(NEW, **{"release/mutt.env": settings}), work, WHEELS)
    path = f"{PATH}:{Path(sys.executable).resolve().parent}"
    with overlaid_system(tmp_path / "system") as system, Shell(work, {"PATH": path}, system.prefix(work)) as shell:
        shutil.unpack_archive(older, kept, filter="data")
        shell.run(f"sh {kept}/mutt-{OLD}/install.sh")
        root = system.root / "opt/mutt"

        said, difference = run(shell, "1. Install the new release beside the old one")
        assert said.startswith(f"* {OLD}\n")
        assert said.endswith(f"  {OLD}\n* {NEW}\n")
        assert "> NEW_SETTING=1" in difference
        back, _ = run(shell, "Back again")
        assert back.endswith(f"* {OLD}\n  {NEW}\n")
        assert in_use(root) == NEW
        run(shell, "Remove an old release")
        assert [found.name for found in (root / "releases").iterdir()] == [NEW]


def run(shell: Shell, heading: str) -> list[str]:
    return [shell.run(block) for block in blocks(PAGE, heading)]


def in_use(root: Path) -> str:
    return (root / "current").readlink().name
