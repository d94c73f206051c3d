"""docs/operations/install.md, block by block as it stands: from the bundle to an event at Moogsoft, and away again."""

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil
import psycopg
import pytest

from scripts.devtools.embedded import PostgresServer, free_port, postgres_binary
from scripts.devtools.services import HOST, SERVICES, TREE, port_environment, redis_environment
from tests.harness.credentials import INGEST_API_KEY, MOOG_API_KEY, WEBUI_API_KEY
from tests.harness.documents import Shell, blocks, command
from tests.harness.moogsoft import MoogStandIn
from tests.harness.processes import DIRECT
from tests.harness.programs import program
from tests.harness.servers import Databases
from tests.harness.vault import fill, running_vault
from tests.harness.waiting import wait_for
from tests.release.system import PATH, System, UnitProcess, overlaid_system, run_unit
from tests.release.units import write_environment_file

PAGE = TREE / "docs" / "operations" / "install.md"
DB_PASSWORD = "the-password-of-an-installation"
HEALTH = (
    "SERVER_PORT_INGESTOR",
    "HEALTH_PORT_ALERTER",
    "HEALTH_PORT_MOOG",
    "SERVER_PORT_WEBUI",
    "HEALTH_PORT_REMEDIATION",
)
# Lines that only a running systemd could execute. The test does the work of those that do any.
FOR_SYSTEMD = {
    "systemctl start mutt-migrate.service": "run_unit",
    "systemctl enable --now mutt-ingestor mutt-alerter mutt-moog-forwarder mutt-webui mutt-remediation": "UnitProcess",
    "systemctl enable --now mutt-archive.timer": "",
    "systemctl enable --now mutt-alerter@12": "",
    "systemctl enable --now mutt-ingestor@12": "",
    "journalctl -u mutt-migrate.service": "",
}


def test_every_line_of_the_page_is_run_or_listed_here_as_systemds() -> None:
    text = PAGE.read_text(encoding="utf-8")
    lines = [
        line
        for block in re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
    ]
    lines = [line.split("  #")[0].strip() for line in lines]
    shown = [line for line in lines if not line.startswith(("export ", "http://"))]  # the names are the test's own
    assert sorted(shown) == sorted(FOR_SYSTEMD)


@pytest.fixture
def bundle() -> Iterator[Path]:
    """Make the bundle as the page says; it is in dist/."""
    (block,) = blocks(PAGE, "Make the bundle")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=TREE,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    made = TREE / done.stdout.split(": ")[0].removeprefix(f"{TREE}/")
    yield made
    made.unlink()
    made.with_name(f"{made.name}.sha256").unlink()


@pytest.fixture
def variables(
    redis_url: str, databases: Databases, moog_stand_in: MoogStandIn, tmp_path: Path
) -> Iterator[dict[str, str]]:
    """Return the names of the page's second section, with real servers behind them."""
    redis = redis_environment(redis_url)
    held = {
        "INGEST_API_KEY": INGEST_API_KEY,
        "WEBUI_API_KEY": WEBUI_API_KEY,
        "MOOG_API_KEY": MOOG_API_KEY,
        "REDIS_PASS_CURRENT": redis["REDIS_PASS_CURRENT"],
        "DB_PASS_CURRENT": DB_PASSWORD,
    }
    (tmp_path / "db_password").write_text(DB_PASSWORD + "\n", encoding="ascii")
    name = f"installed_{secrets.token_hex(4)}"
    with running_vault(tmp_path / "vault") as vault:
        role = fill(vault, tmp_path, held)
        yield {
            "VAULT_ADDR": role["VAULT_ADDR"],
            "VAULT_ROLE_ID": role["VAULT_ROLE_ID"],
            "SECRET_ID_FILE": role["VAULT_SECRET_ID_FILE"],
            "REDIS_HOST": redis["REDIS_HOST"],
            "REDIS_PORT": redis["REDIS_PORT"],
            "DB_HOST": HOST,
            "DB_PORT": str(databases.server.port),
            "DB_NAME": name,
            "DB_USER": name,
            "DB_PASSWORD_FILE": str(tmp_path / "db_password"),
            "MOOG_WEBHOOK_URL": moog_stand_in.events_url,
            **superuser(databases.server),
        }


def superuser(server: PostgresServer) -> dict[str, str]:
    return {"PGHOST": HOST, "PGPORT": str(server.port), "PGUSER": "postgres", "PGPASSWORD": server.password}


def test_the_page_leads_from_a_bundle_to_an_event_at_moogsoft_and_away_again(
    bundle: Path, variables: dict[str, str], moog_stand_in: MoogStandIn, tmp_path: Path
) -> None:
    work, tools = tmp_path / "work", tmp_path / "bin"
    work.mkdir()
    for file in (bundle, bundle.with_name(f"{bundle.name}.sha256")):
        shutil.copy(file, work)
    command(tools, "psql", postgres_binary("psql"))
    command(tools, "curl", program("curl").path)
    listening: dict[str, str] = {}
    for each in SERVICES.values():
        listening |= port_environment(each, {use: free_port() for use in each.ports})
    # A Python that user mutt may run comes first; the last folder is that of the Python which made the bundle.
    path = f"{tools}:{PATH}:{Path(sys.executable).resolve().parent}"
    health = " ".join(f"http://{HOST}:{listening[name]}/health" for name in HEALTH)
    shell_environment = {**variables, "PATH": path, "HEALTH": health, "LC_ALL": "C.UTF-8"}
    with overlaid_system(tmp_path / "system") as system:
        with Shell(work, {"PATH": path}, system.prefix(work, network=False)) as offline:
            for block in blocks(PAGE, "Install"):
                said = offline.run(block)
        assert "installed 2.5.0-" in said
        check_modes(system)
        with Shell(work, shell_environment, system.prefix(work)) as shell:
            run(shell, "Fill in the configuration")
            # What the page does not say: these servers have no TLS, and the ports are free ones.
            plain = {"REDIS_TLS_ENABLED": "false", "DB_TLS_ENABLED": "false", "MUTT_BIND_HOST": HOST}
            write_environment_file(system.root / "etc/mutt/mutt.env", {**plain, **listening})
            run(shell, "Make the database")
            migrated = run_unit(system, "mutt-migrate.service")
            assert "applied 0001_base" in migrated.stdout, migrated.stderr
            services = {name: UnitProcess(system, name, tmp_path / f"{name}.log") for name in SERVICES}
            try:
                for service in services.values():
                    service.start(wait=False)
                assert run(shell, "See that it works").count('"status":"healthy"') == len(services)
                carry_an_event(services, variables, moog_stand_in)
                stop(services)
            finally:
                for service in services.values():
                    service.close()
            run(shell, "Uninstall")
            assert not (system.root / "opt/mutt").exists()
            assert (system.root / "etc/mutt/mutt.env").exists()


def run(shell: Shell, heading: str) -> str:
    """Run the blocks below a heading and return what they printed."""
    return "".join(shell.run(block) for block in blocks(PAGE, heading))


def carry_an_event(services: dict[str, UnitProcess], variables: dict[str, str], moog: MoogStandIn) -> None:
    """Make a rule, have the alerter reload by its unit's own line, and follow an event to Moogsoft and the audit."""
    server = {name.lower().removeprefix("pg"): value for name, value in variables.items() if name.startswith("PG")}
    with psycopg.connect(dbname=variables["DB_NAME"], **server) as connection:  # type: ignore[arg-type]
        connection.execute(
            "INSERT INTO alert_rules (match_string, match_type, priority, prod_handling, dev_handling, team_assignment)"
            " VALUES ('LINK', 'contains', 1, 'Page_and_ticket', 'Log_only', 'NETO')"
        )
        connection.commit()
        alerter = services["alerter"]
        assert found_by_pgrep("alerter_service") == {alerter.pid}, "the specification reloads it by this pattern"
        reload = alerter.unit.one("ExecReload").replace("$MAINPID", str(alerter.pid))
        subprocess.run(reload.split(), check=True)
        wait_for(lambda: alerter.metric("mutt_alerter_cache_rules_count") == 1, "the rule in the alerter's cache")
        event_id = post_event(services["ingestor"].url)
        wait_for(lambda: [alert["external_id"] for alert in moog.alerts()] == [event_id], "the alert at Moogsoft")
        audited = connection.execute("SELECT event_id::text, forwarded FROM event_audit_log").fetchall()
        assert audited == [(event_id, True)]


def post_event(url: str) -> str:
    event = {"timestamp": datetime.now(UTC).isoformat(), "hostname": "r1.example", "message": "LINK down"}
    request = urllib.request.Request(  # noqa: S310
        f"{url}/api/v2/ingest", json.dumps(event).encode(), {"X-API-KEY": INGEST_API_KEY}
    )
    with DIRECT.open(request, timeout=20) as reply:
        return str(json.load(reply)["event_id"])


def found_by_pgrep(pattern: str) -> set[int]:
    """Return what `pgrep -f` finds among this test's processes: others run alerters of their own beside it."""
    found = subprocess.run(["pgrep", "-f", pattern], capture_output=True, text=True, check=True).stdout.split()
    return set(map(int, found)) & {child.pid for child in psutil.Process(os.getpid()).children(recursive=True)}


def stop(services: dict[str, UnitProcess]) -> None:
    """Stop them as systemd does; all end in order, as the user they were given, and without a secret in their logs."""
    users = {Path(f"/proc/{service.pid}").stat().st_uid for service in services.values()}
    assert len(users) == 1
    assert os.geteuid() not in users
    assert {name: service.terminate() for name, service in services.items()} == dict.fromkeys(services, 0)
    for service in services.values():
        assert not re.search(f"{INGEST_API_KEY}|{WEBUI_API_KEY}|{MOOG_API_KEY}|{DB_PASSWORD}", service.log())


def check_modes(system: System) -> None:
    """Check that everybody can read what is installed, that root alone can change it, and that the rest is closed."""
    release = next((system.root / "opt/mutt/releases").iterdir())
    for path in release.rglob("*"):
        found = path.lstat()
        assert (found.st_uid, found.st_gid) == (0, 0), path
        if not path.is_symlink():
            assert found.st_mode & 0o444 == 0o444, path
            assert not found.st_mode & 0o022, path
    assert not list(release.rglob("pip")), "a release brings nothing that installs more"
    owned = {name: (system.root / name).stat() for name in ("etc/mutt", "etc/mutt/secrets", "etc/mutt/mutt.env")}
    assert [found.st_mode & 0o777 for found in owned.values()] == [0o750, 0o700, 0o640]
    user = owned["etc/mutt/secrets"]
    assert user.st_uid != 0
    assert {found.st_gid for found in owned.values()} == {user.st_gid}
