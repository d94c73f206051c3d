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
from functools import partial
from pathlib import Path

import psycopg
import pytest

from scripts.devtools.embedded import PostgresServer, free_port, postgres_binary, reserve_port
from scripts.devtools.services import HOST, SERVICES, TREE, port_environment, redis_environment
from tests.harness.credentials import INGEST_API_KEY, MOOG_API_KEY, WEBUI_API_KEY
from tests.harness.documents import Shell, blocks, command
from tests.harness.moogsoft import MoogStandIn
from tests.harness.processes import DIRECT, fetch
from tests.harness.programs import program
from tests.harness.servers import Databases
from tests.harness.vault import fill, running_vault
from tests.harness.waiting import wait_for
from tests.release.system import PATH, System, booted_system
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
INSTANCE_PORTS = ("80", "81", "82")  # how the ports of the page's further instances end


def test_every_block_of_the_page_is_run_but_the_names_which_are_the_readers_own() -> None:
    text = PAGE.read_text(encoding="utf-8")
    (names,) = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert all(line.startswith(("export ", "    http://")) for line in names.splitlines())


@pytest.fixture
def bundle() -> Iterator[Path]:
    """Make the bundle as the page says, with what is not committed yet; it is in dist/."""
    kept = set((TREE / "dist").glob("mutt-*"))
    (block,) = blocks(PAGE, "Make the bundle")
    block = f"{block.rstrip()} --working-tree"
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
    for file in {made, made.with_name(f"{made.name}.sha256")} - kept:
        file.unlink()


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


@pytest.mark.timeout(600)
def test_the_page_leads_from_a_bundle_to_an_event_at_moogsoft_and_away_again(
    bundle: Path, variables: dict[str, str], moog_stand_in: MoogStandIn, tmp_path: Path
) -> None:
    work, tools = tmp_path / "work", tmp_path / "bin"
    work.mkdir()
    for file in (bundle, bundle.with_name(f"{bundle.name}.sha256")):
        shutil.copy(file, work)
    command(tools, "psql", postgres_binary("psql"))
    command(tools, "curl", program("curl").path)
    path = f"{tools}:{PATH}"
    with booted_system(tmp_path / "system") as system:
        with Shell(work, {"PATH": path}, system.prefix(work, network=False)) as offline:
            assert "installed 2.5.0-" in run(offline, "Install")
        check_modes(system)
        ports = choose_ports(system)
        health = " ".join(f"http://{HOST}:{ports[name]}/health" for name in HEALTH)
        environment = {**variables, "PATH": path, "HEALTH": health, "LC_ALL": "C.UTF-8"}
        with Shell(work, environment, system.prefix(work)) as shell:
            run(shell, "Fill in the configuration")
            # What the page does not say: these servers have no TLS, and all is on the loopback.
            plain = {"REDIS_TLS_ENABLED": "false", "DB_TLS_ENABLED": "false", "MUTT_BIND_HOST": HOST}
            archive = {"ARCHIVE_LOCATION": "/var/lib/mutt/archive"}
            write_environment_file(system.root / "etc/mutt/mutt.env", {**plain, **archive})
            run(shell, "Make the database")
            wait_for(lambda: "applied 0001_base" in system.journal("mutt-migrate"), "the migration in the log")
            make_rule(variables)
            run(shell, "Start")
            assert run(shell, "See that it works").count('"status":"healthy"') == len(SERVICES)
            check_confinement(system)
            event_id = post_event(f"http://{HOST}:{ports['SERVER_PORT_INGESTOR']}")
            wait_for(lambda: [alert["external_id"] for alert in moog_stand_in.alerts()] == [event_id], "the alert")
            wait_for(lambda: audited(variables) == [(event_id, True)], "the audit row, which no alert waits for")
            archive_it(system, variables)
            reload_what_has_just_been_started(system)
            wait_healthy(health)
            restart, reload = blocks(PAGE, "After a change")
            shell.run(restart)
            wait_healthy(health)
            shell.run(reload)
            wait_for(lambda: "SIGHUP: reloading rules" in system.journal("mutt-alerter"), "the reload in the log")
            main = system.run("systemctl", "show", "--property=MainPID", "--value", "mutt-alerter")
            assert system.run("pgrep", "-f", "alerter_service") == main, "the pattern finds the alerter and no other"
            run_instances(shell, system)
            run(shell, "Stop and uninstall")
            check_end(system)


def run(shell: Shell, heading: str) -> str:
    """Run the blocks below a heading and return what they printed."""
    return "".join(shell.run(block) for block in blocks(PAGE, heading))


def choose_ports(system: System) -> dict[str, str]:
    """Have the five services listen on free ports, by what `systemctl edit` makes, and return their variables."""
    chosen: dict[str, str] = {}
    for name, service in SERVICES.items():
        own = port_environment(service, {use: free_port() for use in service.ports})
        folder = system.root / f"etc/systemd/system/mutt-{name}.service.d"
        folder.mkdir(parents=True)
        lines = ["[Service]", *(f"Environment={variable}={port}" for variable, port in own.items())]
        (folder / "override.conf").write_text("\n".join(lines) + "\n", encoding="ascii")
        chosen |= own
    system.run("systemctl", "daemon-reload")
    return chosen


def reload_what_has_just_been_started(system: System) -> None:
    """Restart and reload each service in one breath: it may die of a SIGHUP that it does not hear yet."""
    for name in SERVICES:
        said = system.run("sh", "-c", f"systemctl restart mutt-{name} && systemctl reload mutt-{name}")
        assert said == "" or f"Job for mutt-{name}.service failed" in said  # the reload's, when it died of it


def wait_healthy(health: str) -> None:
    wait_for(lambda: all(fetch(url)[0] == 200 for url in health.split()), "all healthy")


def run_instances(shell: Shell, system: System) -> None:
    """Run the page's further instances, under a number whose ports are free here."""
    number = next(n for n in range(10, 100) if all(reserve_port(int(f"1{n}{end}")) for end in INSTANCE_PORTS))
    (block,) = blocks(PAGE, "More instances on one machine")
    start, _, stop = block.replace("@12", f"@{number}").strip().rpartition("\n")
    shell.run(start)
    urls = [f"http://{HOST}:1{number}{end}/health" for end in ("80", "82")]
    wait_for(lambda: all(fetch(url)[0] == 200 for url in urls), f"health of {', '.join(urls)}")
    host = system.run("uname", "-n").strip()
    wait_for(lambda: f"pod={host}-mutt-alerter-{number}" in system.journal(f"mutt-alerter@{number}"), "its name")
    shell.run(stop)


def database(variables: dict[str, str]) -> "psycopg.Connection[tuple[object, ...]]":
    return psycopg.connect(
        host=HOST,
        port=variables["PGPORT"],
        user="postgres",
        password=variables["PGPASSWORD"],
        dbname=variables["DB_NAME"],
    )


def make_rule(variables: dict[str, str]) -> None:
    with database(variables) as connection:
        connection.execute(
            "INSERT INTO alert_rules (match_string, match_type, priority, prod_handling, dev_handling, team_assignment)"
            " VALUES ('LINK', 'contains', 1, 'Page_and_ticket', 'Log_only', 'NETO')"
        )


def audited(variables: dict[str, str]) -> list[tuple[object, ...]]:
    with database(variables) as connection:
        return connection.execute("SELECT event_id::text, forwarded FROM event_audit_log").fetchall()


def archive_it(system: System, variables: dict[str, str]) -> None:
    """Let the event be old, and have the unit of the nightly archive move it into a file."""
    with database(variables) as connection:
        connection.execute("SELECT create_monthly_partition((now() - interval '200 days')::date)")
        connection.execute("UPDATE event_audit_log SET event_timestamp = now() - interval '200 days'")
    assert system.run("systemctl", "start", "mutt-archive.service") == "", system.journal("mutt-archive")
    assert audited(variables) == []
    assert list((system.root / "var/lib/mutt/archive").rglob("*.parquet"))


def post_event(url: str) -> str:
    event = {"timestamp": datetime.now(UTC).isoformat(), "hostname": "r1.example", "message": "LINK down"}
    request = urllib.request.Request(  # noqa: S310
        f"{url}/api/v2/ingest", json.dumps(event).encode(), {"X-API-KEY": INGEST_API_KEY}
    )
    with DIRECT.open(request, timeout=60) as reply:
        return str(json.load(reply)["event_id"])


def check_confinement(system: System) -> None:
    """Check that the services run as their user and that what their units take away is taken from them."""
    for name in SERVICES:
        main = system.run("systemctl", "show", "--property=MainPID", "--value", f"mutt-{name}").strip()
        status = (system.root / "proc" / main / "status").read_text(encoding="ascii")
        facts = {line.split(":")[0]: line.split(":")[1].split() for line in status.splitlines()}
        assert "0" not in facts["Uid"] + facts["Gid"]
        assert (facts["NoNewPrivs"], facts["Seccomp"]) == (["1"], ["2"])
        assert {int(facts[rights][0], 16) for rights in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}


def check_end(system: System) -> None:
    """Check that all services ended in order, that none told a secret, and what an uninstallation leaves."""
    journals = [partial(system.journal, f"mutt-{name}") for name in SERVICES]
    wait_for(
        lambda: all(journal().count("stopped in order") == 3 for journal in journals),
        "every service's word that it ended in order, at its two restarts and at the end",
    )
    assert not re.search(f"{INGEST_API_KEY}|{WEBUI_API_KEY}|{MOOG_API_KEY}|{DB_PASSWORD}", system.journal("mutt-*"))
    assert "mutt" not in system.run("systemctl", "list-units", "--all", "--plain", "--no-legend", "mutt*.service")
    assert not (system.root / "opt/mutt").exists()
    assert (system.root / "etc/mutt/mutt.env").exists()


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
    names = ("etc/mutt", "etc/mutt/secrets", "etc/mutt/mutt.env")
    folder, closed, settings = ((system.root / name).stat() for name in names)
    assert [found.st_mode & 0o777 for found in (folder, closed, settings)] == [0o755, 0o700, 0o640]
    assert folder.st_uid == settings.st_uid == 0 != closed.st_uid
    assert settings.st_gid == closed.st_gid != 0
