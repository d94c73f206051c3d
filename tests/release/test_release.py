"""The real bundle: installed without a network, then run as systemd would run it, with an event all the way through."""

import ctypes
import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from scripts.devtools.embedded import free_port
from scripts.devtools.privileges import die_with_parent
from scripts.devtools.services import HOST, SERVICES, database_environment, port_environment, redis_environment
from tests.harness.credentials import INGEST_API_KEY, MOOG_API_KEY, WEBUI_API_KEY
from tests.harness.moogsoft import MoogStandIn
from tests.harness.processes import DIRECT, ServiceProcess, find_service
from tests.harness.waiting import wait_for
from tests.release.bundles import checkout, install, unpacked
from tests.release.units import Unit, write_environment_file

PR_SET_MDWE, MDWE_REFUSE_EXEC_GAIN = 65, 1
UNITS = "usr/local/lib/systemd/system"


class UnitProcess(ServiceProcess):
    """A service as its installed unit starts it: that command line, that environment and nothing else."""

    def __init__(self, unit: Unit, root: Path, log_file: Path) -> None:
        self.unit, self.root = unit, root
        super().__init__(find_service(unit.prefix.removeprefix("mutt-")), {}, log_file)
        self.environment = unit.environment(root)
        self.ports = {use: int(self.environment[name]) for use, (name, _) in self.service.ports.items()}

    def start(self, *, wait: bool = True) -> None:
        with self.log_file.open("ab") as output:
            self._process = subprocess.Popen(
                self.unit.command(self.root),
                env=self.environment,
                cwd=self.root / self.unit.one("WorkingDirectory").lstrip("/"),
                umask=int(self.unit.one("UMask"), 8),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=_confine,  # noqa: PLW1509  # two system calls, no lock
            )
        if wait:
            self.wait_healthy()


_die_with_parent = die_with_parent()
_libc = ctypes.CDLL(None)


def _confine() -> None:
    """Take away what the unit's MemoryDenyWriteExecute takes away, where the kernel can do so for a process."""
    if _die_with_parent:
        _die_with_parent()
    _libc.prctl(PR_SET_MDWE, MDWE_REFUSE_EXEC_GAIN, 0, 0, 0)


@pytest.fixture
def root(tmp_path: Path, redis_url: str, database_url: str, moog_stand_in: MoogStandIn) -> Path:
    """Return a root on which the bundle of this checkout is installed and configured as install.md says."""
    root = tmp_path / "root"
    install(unpacked(checkout(), tmp_path), root)
    shutil.rmtree(tmp_path / f"mutt-{checkout().version}")  # an installation needs nothing of its bundle
    servers = {**redis_environment(redis_url), **database_environment(database_url)}
    keys = {"INGEST_API_KEY": INGEST_API_KEY, "WEBUI_API_KEY": WEBUI_API_KEY, "MOOG_API_KEY": MOOG_API_KEY}
    secrets = {**keys, **{name: servers.pop(name) for name in ("REDIS_PASS_CURRENT", "DB_PASS_CURRENT")}}
    folder = root / "etc/mutt/secrets"
    for name, value in secrets.items():
        (folder / name).write_text(value, encoding="utf-8")
        (folder / name).chmod(0o400)
    listening: dict[str, str] = {}
    for service in SERVICES.values():
        listening |= port_environment(service, {use: free_port() for use in service.ports})
    settings = {
        "VAULT_ADDR": "",
        "MOOG_WEBHOOK_URL": moog_stand_in.events_url,
        "MUTT_BIND_HOST": HOST,
        **{f"{name}_FILE": f"/etc/mutt/secrets/{name}" for name in secrets},
        **servers,
        **listening,
    }
    write_environment_file(root / "etc/mutt/mutt.env", settings)
    return root


@pytest.fixture
def services(root: Path, tmp_path: Path) -> Iterator[dict[str, UnitProcess]]:
    """Start the five installed units."""
    found = {
        name: UnitProcess(Unit(root / UNITS / f"mutt-{name}.service"), root, tmp_path / f"{name}.log")
        for name in SERVICES
    }
    for service in found.values():
        service.start(wait=False)
    yield found
    for service in found.values():
        service.close()


def test_a_bundle_installs_without_a_network_and_its_units_carry_an_event_to_moogsoft(
    root: Path, services: dict[str, UnitProcess], database_url: str, moog_stand_in: MoogStandIn
) -> None:
    for service in services.values():
        service.wait_healthy()
    add_rule(database_url)
    alerter = services["alerter"]
    assert found_by_pgrep("alerter_service") == {alerter.pid}, "the specification reloads it by this pattern"
    reload = [word.replace("$MAINPID", str(alerter.pid)) for word in alerter.unit.one("ExecReload").split()]
    subprocess.run(reload, check=True)
    wait_for(lambda: alerter.metric("mutt_alerter_cache_rules_count") == 1, "the rule in the alerter's cache")

    event_id = post_event(services["ingestor"].url)
    wait_for(lambda: [alert["external_id"] for alert in moog_stand_in.alerts()] == [event_id], "the alert at Moogsoft")
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT event_id::text, forwarded FROM event_audit_log").fetchall() == [
            (event_id, True)
        ]

    assert {name: service.terminate() for name, service in services.items()} == dict.fromkeys(services, 0)
    for service in services.values():
        assert "secrets come from the environment" in service.log()
        assert INGEST_API_KEY not in service.log()
    check_modes(root)


def add_rule(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO alert_rules (match_string, match_type, priority, prod_handling, dev_handling, team_assignment)"
            " VALUES ('LINK', 'contains', 1, 'Page_and_ticket', 'Log_only', 'NETO')"
        )


def post_event(url: str) -> str:
    event = {"timestamp": "2026-11-30T12:00:00Z", "hostname": "r1.example", "message": "LINK down"}
    request = urllib.request.Request(  # noqa: S310
        f"{url}/api/v2/ingest", json.dumps(event).encode(), {"X-API-KEY": INGEST_API_KEY}
    )
    with DIRECT.open(request, timeout=20) as reply:
        return str(json.load(reply)["event_id"])


def found_by_pgrep(pattern: str) -> set[int]:
    """Return what `pgrep -f` finds among this test's processes: others run alerters of their own beside it."""
    found = subprocess.run(["pgrep", "-f", pattern], capture_output=True, text=True, check=True).stdout.split()
    return set(map(int, found)) & {child.pid for child in psutil.Process(os.getpid()).children(recursive=True)}


def check_modes(root: Path) -> None:
    """Check that everybody can read what is installed, that root alone can change it, and that the rest is closed."""
    release = next((root / "opt/mutt/releases").iterdir())
    for path in release.rglob("*"):
        if not path.is_symlink():
            mode = path.stat().st_mode & 0o777
            assert mode & 0o444 == 0o444, path
            assert not mode & 0o022, path
    modes = {
        name: (root / name).stat().st_mode & 0o777 for name in ("etc/mutt", "etc/mutt/secrets", "etc/mutt/mutt.env")
    }
    assert modes == {"etc/mutt": 0o750, "etc/mutt/secrets": 0o700, "etc/mutt/mutt.env": 0o640}
    assert not list(release.rglob("pip")), "a release brings nothing that installs more"
