"""muttdev as its user meets it: one instance from `up --detach` to `down`, and the messages on the way."""

import asyncio
import contextlib
import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import psycopg
import pytest
import redis
import requests

from scripts.devtools import cli, report, running
from scripts.devtools.embedded import PostgresServer, RedisServer, reserve_port
from scripts.devtools.instance import NAMES, SERVER_PORTS, VAULT
from scripts.devtools.instance import Instance as Supervised
from scripts.devtools.services import HOST, SERVICES, TREE
from tests.harness.waiting import wait_for

pytestmark = pytest.mark.timeout(300)  # whole instances start and stop, on a machine that may be busy

DOCUMENTED_PORTS = [
    *SERVER_PORTS.values(),
    SERVER_PORTS[VAULT] + 1,
    *(port for service in SERVICES.values() for _, port in service.ports.values()),
]


def muttdev(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a command of muttdev, its output captured: whoever inherits the pipes and keeps them hangs the test."""
    command = [sys.executable, "-m", "scripts.devtools", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=TREE, timeout=200, env={**os.environ, **environment}
    )


def free_offset() -> int:
    """Return a port offset at which every port is free, and none is one that outgoing connections are given."""
    return next(
        offset
        for offset in iter(lambda: secrets.choice(range(9_000, 23_000, 20)), None)
        if all(running.is_free(port + offset) and reserve_port(port + offset) for port in DOCUMENTED_PORTS)
    )


class Instance:
    """A running instance."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, command: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return muttdev(command, "--data-dir", str(self.folder), *arguments)

    def status(self) -> dict[str, Any]:
        """Return the services as `status --json` prints them, without starting a command for each look."""
        services: dict[str, Any] = self._document()["services"]
        return services

    def wait_healthy(self) -> None:
        wait_for(lambda: report.all_healthy(self._document()), "all healthy")
        assert self.run("status").returncode == 0

    def _document(self) -> dict[str, Any]:
        return asyncio.run(report.status_document(Supervised.find(self.folder)))

    def environment(self) -> dict[str, str]:
        lines = self.run("env").stdout.splitlines()
        return dict(part.split("=", 1) for line in lines for part in shlex.split(line))


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """Start an instance below a folder of mode 0700, which PostgreSQL's user may not enter when root runs this."""
    made = Instance(tmp_path_factory.mktemp("closed") / "data")
    up = made.run("up", "--detach", "--port-offset", str(free_offset()))
    try:
        assert up.returncode == 0, up.stdout + up.stderr + made.run("logs").stdout[-5000:]
        yield made
    finally:
        made.run("down")


def test_status_tells_every_service_and_is_0_when_all_are_healthy(instance: Instance) -> None:
    instance.wait_healthy()
    services = json.loads(instance.run("status", "--json").stdout)["services"]
    assert set(services) == set(NAMES)
    assert {service["state"] for service in services.values()} == {"healthy"}
    assert all(psutil.pid_exists(service["pid"]) and service["ports"] for service in services.values())


def test_config_changes_the_instance_it_is_told(instance: Instance) -> None:
    folder = ("--data-dir", str(instance.folder))
    changed = muttdev("config", "set", "alerter_defer_sleep_ms", "251", *folder)
    assert changed.stdout == "alerter_defer_sleep_ms is 251 now, from redis\n", changed.stderr
    refused = muttdev("config", "set", "alerter_defer_sleep_ms", "0", *folder)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "a whole number from 1 to 60000 is needed" in refused.stderr


def test_env_gives_addresses_and_keys_that_work(instance: Instance) -> None:
    values = instance.environment()
    with psycopg.connect(values["DATABASE_URL"]) as connection:
        connection.execute("CREATE TABLE of_a_test ()")
        connection.rollback()
        assert connection.execute("SELECT count(*) FROM alert_rules WHERE priority <= 900").fetchone() == (12,)
    with redis.Redis.from_url(values["REDIS_URL"]) as client:
        assert client.config_get("appendfsync") == {"appendfsync": "always"}
    answers = (
        requests.get(f"{values['INGEST_URL']}/health", timeout=30),
        requests.get(f"{values['WEBUI_URL']}/api/v2/rules", headers={"X-API-KEY": values["WEBUI_API_KEY"]}, timeout=30),
        requests.get(f"{values['MOOG_URL']}/stats", timeout=30),
    )
    assert [answer.status_code for answer in answers] == [200, 200, 200]


def test_send_reports_what_came_of_its_events(instance: Instance) -> None:
    done = instance.run("send", "--count", "60", "--batch", "7")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line.strip()}
    assert rows["accepted"][:3] == ["60", "of", "60,"]
    assert rows["audited"] == ["60"]
    assert rows["forwarded"][0] == rows["forwarded"][2]


def test_a_killed_service_is_back_and_counted(instance: Instance) -> None:
    before = instance.status()["ingestor"]
    os.kill(before["pid"], signal.SIGKILL)
    wait_for(lambda: instance.status()["ingestor"]["pid"] not in {None, before["pid"]}, "a new ingestor")
    instance.wait_healthy()
    assert instance.status()["ingestor"]["restarts"] == before["restarts"] + 1


def test_up_twice_says_that_it_runs_already(instance: Instance) -> None:
    before = {name: service["pid"] for name, service in instance.status().items()}
    done = instance.run("up", "--detach")
    assert done.returncode == 0
    assert "runs already" in done.stdout
    assert {name: service["pid"] for name, service in instance.status().items()} == before
    other = instance.run("up", "--detach", "--port-offset", "1")
    assert other.returncode == 1
    assert "with another --port-offset: first stop it" in other.stderr


def test_secrets_are_readable_to_their_owner_alone_and_in_no_log(instance: Instance) -> None:
    files = [*(instance.folder / "secrets").iterdir()]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    texts = [path.read_bytes() for path in (instance.folder / "logs").iterdir()]
    command_lines = " ".join(" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"]))
    for path in files:
        secret = path.read_bytes()
        assert len(secret) >= 32
        assert not any(secret in text for text in texts), path.name
        assert secret.decode() not in command_lines


def test_psql_and_redis_reach_the_servers(instance: Instance) -> None:
    assert instance.run("psql", "-Atc", "SELECT 6 * 7").stdout == "42\n"
    assert instance.run("redis", "PING").stdout == "PONG\n"
    assert instance.run("redis", "CONFIG", "GET", "appendonly").stdout == "1) appendonly\n2) yes\n"
    assert "(error)" in instance.run("redis", "NOSUCHCOMMAND").stdout


def test_migrate_and_doctor_find_nothing_to_do(instance: Instance) -> None:
    assert "nothing to do" in instance.run("migrate").stdout
    doctor = instance.run("doctor")
    assert doctor.returncode == 0, doctor.stdout


def test_logs_show_a_service_and_refuse_an_unknown_one(instance: Instance) -> None:
    assert instance.run("logs", "postgres").stdout
    unknown = instance.run("logs", "nginx")
    assert unknown.returncode == 1
    assert "there is no service 'nginx': choose one of muttdev, ingestor" in unknown.stderr


def test_reset_refuses_while_it_runs(instance: Instance) -> None:
    done = instance.run("reset", "--yes")
    assert done.returncode == 1
    assert "it runs: stop it first with" in done.stderr


@pytest.mark.parametrize("how", ["down", "kill -9 of the supervisor"])
def test_nothing_outlives_the_instance(instance: Instance, how: str) -> None:
    pids = [service["pid"] for service in instance.status().values()]
    children = [child for pid in pids for child in psutil.Process(pid).children(recursive=True)]
    if how == "down":
        assert instance.run("down").returncode == 0
    else:
        os.kill(json.loads((instance.folder / "state.json").read_text())["supervisor"]["pid"], signal.SIGKILL)
    wait_for(lambda: not any(psutil.pid_exists(pid) for pid in pids), "no service is left")
    wait_for(lambda: not any(child.is_running() for child in children), "no child of theirs is left")
    document = instance.run("status", "--json")
    assert document.returncode == 3
    assert {service["state"] for service in json.loads(document.stdout)["services"].values()} == {"stopped"}
    again = instance.run("up", "--detach")
    assert again.returncode == 0, again.stderr


def test_ctrl_c_stops_an_instance_in_the_foreground(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "scripts.devtools", "up", "--data-dir", str(tmp_path / "data")]
    command += ["--port-offset", str(free_offset()), "--no-samples"]
    with subprocess.Popen(command, cwd=TREE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as up:
        assert up.stdout is not None
        output = ""
        while "Ctrl-C stops it all" not in output:
            line = up.stdout.readline()
            assert line, output
            output += line
        up.send_signal(signal.SIGINT)
        output += up.stdout.read()
        assert up.wait(60) == 0
    assert output.rstrip().endswith("stopped")
    services = json.loads((tmp_path / "data" / "state.json").read_text())["services"]
    assert {service["state"] for service in services.values()} == {"stopped"}


def test_a_port_in_use_is_named_with_the_option_that_helps(tmp_path: Path) -> None:
    offset = free_offset()
    with contextlib.closing(socket.create_server((HOST, 8080 + offset))):
        done = muttdev("up", "--detach", "--data-dir", str(tmp_path / "data"), "--port-offset", str(offset))
    assert done.returncode == 1
    assert f"in use already: port {8080 + offset} (ingestor http, process {os.getpid()}" in done.stderr
    assert "--port-offset" in done.stderr
    assert not (tmp_path / "data").exists(), "what was refused leaves nothing behind"


def test_a_folder_that_holds_something_else_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    done = muttdev("up", "--detach", "--data-dir", str(tmp_path))
    assert done.returncode == 1
    assert "holds something else than a MUTT instance" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


class Here:
    """Commands run in this process, since starting one takes longer than most of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def run(self, *arguments: str) -> tuple[int | str | None, str, str]:
        """Return the exit status, and what went to the standard output and error."""
        self._monkeypatch.setattr(sys, "argv", ["muttdev.py", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, *self._capsys.readouterr()


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    """Run commands in this process."""
    return Here(monkeypatch, capsys)


@pytest.mark.parametrize("command", ["down", "env", "logs", "send", "psql", "redis", "migrate", "reset"])
def test_an_unknown_data_folder_is_named_with_what_to_do(command: str, here: Here, tmp_path: Path) -> None:
    status, _, told = here.run(command, "--data-dir", str(tmp_path))
    assert status == 1
    assert f"there is no MUTT in {tmp_path}. Start one: python3 scripts/muttdev.py up" in told


def test_status_prints_its_document_for_an_unknown_data_folder_too(here: Here, tmp_path: Path) -> None:
    status, printed, told = here.run("status", "--json", "--data-dir", str(tmp_path))
    assert status == 3
    assert set(json.loads(printed)["services"]) == set(NAMES)
    assert "there is no MUTT" in told


def test_down_when_nothing_runs_says_so(here: Here, tmp_path: Path) -> None:
    claimed = Supervised.claim(tmp_path / "data")
    assert claimed is not None
    claimed[1].close()
    status, _, told = here.run("down", "--data-dir", str(tmp_path / "data"))
    assert status == 0
    assert "nothing to stop" in told


def test_a_full_disk_is_named_with_what_to_do(here: Here, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=5 << 20))
    status, _, told = here.run("up", "--data-dir", str(tmp_path / "data"))
    assert status == 1
    assert "has 5 MB left" in told
    assert "give --data-dir a folder on another disk" in told


def test_a_folder_that_cannot_be_made_is_named_with_what_to_do(here: Here, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    status, _, told = here.run("up", "--data-dir", str(tmp_path / "file" / "data"))
    assert status == 1
    assert str(tmp_path / "file" / "data") in told
    assert "give --data-dir a folder elsewhere" in told


def test_a_mix_that_is_none_is_explained(here: Here, instance: Instance) -> None:
    status, _, told = here.run("send", "--data-dir", str(instance.folder), "--mix", "sysloog=3")
    assert status == 1
    assert "kinds are syslog, trap, unhandled" in told


def test_every_command_has_help(here: Here) -> None:
    overview = here.run("--help")[1]
    for command in (
        "up",
        "down",
        "status",
        "env",
        "logs",
        "send",
        "psql",
        "redis",
        "migrate",
        "reset",
        "doctor",
        "test",
        "chaos",
        "soak",
        "bench",
    ):
        assert f" {command} " in overview
        status, printed, _ = here.run(command, "--help")
        assert status == 0
        assert "Usage:" in printed


def test_servers_given_by_url_are_used_and_left_running(
    own_redis: RedisServer, own_postgres: PostgresServer, own_database_url: str, tmp_path: Path
) -> None:
    other = Instance(tmp_path / "a folder")
    urls = ("--redis-url", own_redis.url, "--database-url", own_database_url)
    up = other.run("up", "--detach", "--no-samples", "--port-offset", str(free_offset()), *urls)
    try:
        assert up.returncode == 0, up.stderr
        other.wait_healthy()
        services = other.status()
        assert [services[name]["pid"] for name in ("redis", "postgres")] == [None, None]
        assert {service["state"] for service in services.values()} == {"healthy"}
        values = other.environment()
        assert (values["REDIS_URL"], values["DATABASE_URL"]) == (own_redis.url, own_database_url)
        own_redis.kill()
        wait_for(lambda: other.status()["redis"]["state"] == "unhealthy", "the death of Redis in the status")
        assert other.run("status").returncode == 3
    finally:
        other.run("down")
    with psycopg.connect(own_database_url) as connection:
        assert connection.execute("SELECT count(*) FROM alert_rules").fetchone() == (0,)


def test_reset_deletes_the_data_and_keeps_keys_and_options(here: Here, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    claimed = Supervised.claim(folder, port_offset=7)
    assert claimed is not None
    claimed[1].close()
    key = claimed[0].secret("INGEST_API_KEY")
    (folder / "redis").mkdir()
    (folder / "moogsoft.ndjson").touch()
    status, printed, _ = here.run("reset", "--yes", "--data-dir", str(folder))
    assert (status, printed) == (0, "deleted\n")
    assert not (folder / "redis").exists()
    assert not (folder / "moogsoft.ndjson").exists()
    kept = Supervised.find(folder)
    assert (kept.secret("INGEST_API_KEY"), kept.options.port_offset) == (key, 7)


def test_a_database_that_does_not_answer_is_named(tmp_path: Path) -> None:
    url = "postgresql://mutt_user:secret@127.0.0.1:9/mutt_db"
    data = str(tmp_path / "data")
    done = muttdev("up", "--detach", "--data-dir", data, "--port-offset", str(free_offset()), "--database-url", url)
    assert done.returncode == 1
    assert "--database-url" in done.stderr
    assert "secret" not in done.stderr


def test_the_door_leads_to_the_commands() -> None:
    done = subprocess.run(
        [sys.executable, str(TREE / "scripts" / "muttdev.py"), "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Usage: muttdev.py" in done.stdout
