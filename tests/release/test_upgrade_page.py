"""docs/operations/upgrade.md, block by block as it stands, on an installation of an older release; small bundles do."""

import re
import shutil
from pathlib import Path

from scripts import make_release
from scripts.devtools.services import SERVICES, TREE
from tests.harness.documents import Shell, blocks
from tests.harness.waiting import wait_for
from tests.release.bundles import WHEELS, tiny
from tests.release.system import PATH, System, booted_system

PAGE = TREE / "docs" / "operations" / "upgrade.md"
OLD, NEW = "2.5.0-1", "2.5.0-2"
RELEASES = "/opt/mutt/releases"
UNITS = [f"mutt-{name}" for name in SERVICES]
# Services that do nothing, and a migration that has nothing to do: here it is the releases that matter.
IDLE = {f"services/{service.entry}": "import signal\nsignal.pause()\n" for service in SERVICES.values()}
IDLE["scripts/migrate.py"] = "import os, sys\nprint('migrated by', os.path.realpath(sys.prefix))\n"


def test_every_block_of_the_page_is_run() -> None:
    assert set(re.findall(r"^```(.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)) == {"sh run"}


def test_the_page_leads_to_the_new_release_back_again_and_forward(tmp_path: Path) -> None:
    work, kept = tmp_path / "work", tmp_path / "kept"
    settings = "VAULT_ADDR=https://vault.example\nNEW_SETTING=1\n"
    older = make_release.make_release(tiny(OLD, **IDLE), kept, WHEELS)
    make_release.make_release(tiny(NEW, **IDLE, **{"release/mutt.env": settings}), work, WHEELS)
    with booted_system(tmp_path / "system") as system, Shell(work, {"PATH": PATH}, system.prefix(work)) as shell:
        shutil.unpack_archive(older, kept, filter="data")
        shell.run(f"sh {kept}/mutt-{OLD}/install.sh; systemctl start {' '.join(UNITS)}")
        before = main_processes(system)
        root = system.root / "opt/mutt"

        said, difference = run(shell, "1. Install the new release beside the old one")
        assert said.startswith(f"* {OLD}\n")
        assert said.endswith(f"  {OLD}\n* {NEW}\n")
        assert "> NEW_SETTING=1" in difference
        run(shell, "2. Bring the schema up")
        migrated = f"migrated by {RELEASES}/{NEW}/venv"
        wait_for(lambda: migrated in system.journal("mutt-migrate"), "the migration in the log")
        assert main_processes(system) == before, "what runs goes on"
        run(shell, "3. Restart the services one after another")
        assert all(main_processes(system)[unit] not in {"0", before[unit]} for unit in UNITS)

        back, _ = run(shell, "Back again")
        assert back.endswith(f"* {OLD}\n  {NEW}\n")
        assert in_use(root) == NEW
        run(shell, "Remove an old release")
        assert [found.name for found in (root / "releases").iterdir()] == [NEW]
        uninstall(shell, system)


def run(shell: Shell, heading: str) -> list[str]:
    return [shell.run(block) for block in blocks(PAGE, heading)]


def in_use(root: Path) -> str:
    return (root / "current").readlink().name


def uninstall(shell: Shell, system: System) -> None:
    """Uninstall while services run, an enabled instance of a template among them, and look for what is left."""
    shell.run("systemctl enable --now mutt-webui@10; cp /opt/mutt/install.sh .; sh install.sh uninstall")
    assert not set(main_processes(system).values()) - {"0"}
    assert "mutt" not in system.run("systemctl", "list-units", "--plain", "--no-legend", "mutt*.service")
    assert not list((system.root / "etc/systemd/system").rglob("mutt*"))


def main_processes(system: System) -> dict[str, str]:
    """Return the process id of each service, 0 where it does not run."""
    return {unit: system.run("systemctl", "show", "--property=MainPID", "--value", unit).strip() for unit in UNITS}
