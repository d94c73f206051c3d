"""The doctor on real servers: what is well, and each fault with its word and what to do."""

import asyncio
import json
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import redis
import trustme

from mutt.findings import Finding, State
from mutt.settings import SERVICES
from scripts.devtools.embedded import free_port
from scripts.devtools.services import HOST, TREE, database_environment
from services.doctor import examination
from services.runtime import certificates
from tests.harness.credentials import INGEST_API_KEY, MOOG_API_KEY, WEBUI_API_KEY
from tests.harness.processes import StartService
from tests.harness.proxy import Proxy
from tests.harness.servers import Databases


@pytest.fixture
def environ(service_environment: dict[str, str]) -> dict[str, str]:
    """Return what services are started with, on ports that nobody holds."""
    names = (
        *("SERVER_PORT_INGESTOR", "SERVER_PORT_WEBUI", "METRICS_PORT_ALERTER", "HEALTH_PORT_ALERTER"),
        *("METRICS_PORT_MOOG", "HEALTH_PORT_MOOG", "METRICS_PORT_REMEDIATION", "HEALTH_PORT_REMEDIATION"),
    )
    return service_environment | {name: str(free_port()) for name in names}


@pytest.fixture
def webhook() -> Iterator[str]:
    """Listen where Moogsoft would, and answer nothing."""
    with socket.create_server((HOST, 0)) as listening:
        yield f"http://{HOST}:{listening.getsockname()[1]}/events"


async def look(environ: dict[str, str], *services: str) -> dict[str, Finding]:
    """Examine the services' surroundings and return the findings by what they are of."""
    return {each.what: each for each in await examination.examine(services or list(SERVICES), environ, None)}


def run(environ: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the command as an operator does."""
    return subprocess.run(
        [sys.executable, "-m", "services.doctor", *arguments],
        env={"PATH": os.environ["PATH"], **environ},
        cwd=TREE,
        capture_output=True,
        text=True,
        check=False,
    )


def is_bad(finding: Finding, seen: str, remedy: str, state: State = State.PROBLEM) -> None:
    """Check what a finding says."""
    assert finding.state is state, finding
    assert seen in finding.seen, finding
    assert remedy in finding.remedy, finding


def test_where_all_is_well_it_says_so_and_shows_no_secret(environ: dict[str, str], webhook: str) -> None:
    done = run({**environ, "MOOG_WEBHOOK_URL": webhook})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 problem" in done.stdout
    assert "● ok       schema" in done.stdout
    for secret in (
        INGEST_API_KEY,
        WEBUI_API_KEY,
        MOOG_API_KEY,
        environ["REDIS_PASS_CURRENT"],
        environ["DB_PASS_CURRENT"],
    ):
        assert secret not in done.stdout + done.stderr


def test_a_program_gets_a_document_and_warnings_fail_where_they_are_to(environ: dict[str, str], webhook: str) -> None:
    done = run({**environ, "MOOG_WEBHOOK_URL": webhook, "ALERTER_MAX_RETRYS": "4"}, "--json", "--strict")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert told["state"] == "warning"
    (said,) = [each for each in told["findings"] if each["what"] == "variable ALERTER_MAX_RETRYS"]
    assert said["remedy"] == "is ALERTER_MAX_RETRIES meant? Then rename it"


def test_the_environment_file_of_the_units_is_read(environ: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "mutt.env"
    file.write_text("".join(f"{name}={value}\n" for name, value in environ.items()), encoding="utf-8")
    file.chmod(0o644)
    done = run({}, "--env-file", str(file), "--service", "ingestor")
    assert done.returncode == 1
    told = " ".join(done.stdout.split())
    assert f"✗ problem environment file {file} is open to everybody (mode 0644) → chmod o-rwx {file}" in told
    assert "redis" in done.stdout
    assert "postgresql" not in done.stdout  # the ingestor uses none


@pytest.mark.parametrize("arguments", [["--env-file", "/nowhere/mutt.env"], ["--service", "alertr"]])
def test_a_wrong_argument_is_a_2(arguments: list[str]) -> None:
    assert run({}, *arguments).returncode == 2


async def test_impossible_settings_and_missing_secrets_are_named(environ: dict[str, str]) -> None:
    named = {"WEBUI_API_KEYS": "{}", "WEBUI_API_KEY": ""}  # with these alone the web UI does not start
    found = await look(environ | {"ALERTER_JANITOR_TIMEOUT": "4", "MOOG_API_KEY": ""} | named)
    is_bad(found["settings of alerter"], "has to be at least 3 x", "docs/configuration.md")
    is_bad(found["secrets"], "MOOG_API_KEY, WEBUI_API_KEY is not there", "docs/operations/secrets.md")


async def test_keys_that_may_be_guessed_are_named(environ: dict[str, str]) -> None:
    long = {"INGEST_API_KEY": "0123456789abcdef", "INGEST_API_KEY_NEXT": "", "WEBUI_API_KEY": "0123456789abcdef"}
    assert "keys" not in await look(environ | long)
    found = (await look(environ | long | {"INGEST_API_KEY": "x"}))["keys"]
    is_bad(found, "INGEST_API_KEY has fewer than 16 characters", "openssl rand -hex 16", State.WARNING)


async def test_passwords_that_are_refused_and_those_of_a_rotation_are_told(environ: dict[str, str]) -> None:
    wrong = {"REDIS_PASS_CURRENT": "wrong", "DB_PASS_CURRENT": "wrong"}
    found = await look(environ | wrong, "alerter")
    is_bad(found["redis"], "refuses REDIS_PASS_CURRENT and REDIS_PASS_NEXT", "rotation.md")
    is_bad(found["postgresql"], "refuses DB_PASS_CURRENT and DB_PASS_NEXT", "rotation.md")
    right = {f"{name}_NEXT": environ[f"{name}_CURRENT"] for name in ("REDIS_PASS", "DB_PASS")}
    found = await look(environ | wrong | right, "alerter")
    is_bad(found["redis"], "by REDIS_PASS_NEXT", "end the rotation", State.WARNING)
    is_bad(found["postgresql"], "by DB_PASS_NEXT", "end the rotation", State.WARNING)
    assert found["schema"].state is State.OK


async def test_how_redis_has_to_be_set_is_told(environ: dict[str, str], redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.config_set("appendfsync", "everysec")
        client.config_set("maxmemory", "100mb")
        client.lpush("mutt:dlq:moog", b"{}")
        found = await look(environ | {"REDIS_WAIT_REPLICAS": "1"}, "ingestor")
        is_bad(found["replicas"], "0 of REDIS_WAIT_REPLICAS=1", "every event gets 503")
        is_bad(found["dead letters of the forwarder"], "1 in mutt:dlq:moog", "console", State.WARNING)
        assert "of 100 MB" in found["redis memory"].seen
        assert found["durability"].state is State.WARNING
        found = await look(environ | {"REDIS_DURABLE": "true"}, "ingestor")
        is_bad(found["durability"], "appendfsync everysec, not always", "every event gets 503")
        client.config_set("maxmemory-policy", "allkeys-lru")
        found = await look(environ, "ingestor")
    is_bad(found["redis setting"], "maxmemory-policy allkeys-lru", "change it there")


async def test_servers_that_are_away_or_speak_no_tls_are_told_from_each_other(environ: dict[str, str]) -> None:
    found = await look(environ | {"REDIS_PORT": str(free_port()), "DB_PORT": str(free_port())}, "alerter")
    is_bad(found["redis"], "Connect call failed", "start it, or mend REDIS_HOST")
    is_bad(found["postgresql"], "refused", "start it, or mend DB_HOST")
    found = await look(environ | {"REDIS_TLS_ENABLED": "true", "DB_TLS_ENABLED": "true"}, "alerter")
    is_bad(found["redis"], "does not speak TLS there", "do that")
    is_bad(found["postgresql"], "does not speak TLS there", "")
    assert found["certificate of postgres"].state is State.WARNING


async def test_a_schema_that_is_missing_old_or_new_is_told(
    environ: dict[str, str], database_url: str, empty_database_url: str
) -> None:
    found = await look(environ | database_environment(empty_database_url), "alerter")
    is_bad(found["schema"], "holds no MUTT schema", "scripts/migrate.py")
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DELETE FROM schema_version WHERE version = 2")
        found = await look(environ, "alerter")
        is_bad(found["schema"], "version 1 of 2", "scripts/migrate.py", State.WARNING)
        connection.execute("INSERT INTO schema_version (version, name) VALUES (9, 'later')")
        found = await look(environ, "alerter")
    is_bad(found["schema"], "version 9", "scripts/migrate.py")


async def test_a_missing_partition_and_missing_rights_are_told(
    environ: dict[str, str], database_url: str, databases: Databases
) -> None:
    month = f"event_audit_log_{datetime.now(UTC):%Y_%m}"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"DROP TABLE {month}")
    name = urlsplit(database_url).path.lstrip("/")
    with psycopg.connect(databases.server.url(name), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE doctor_{name} LOGIN PASSWORD 'doctor-password'")
        connection.execute(f"GRANT SELECT ON schema_version, alert_rules TO doctor_{name}")
    found = await look(
        environ | {"DB_USER": f"doctor_{name}", "DB_PASS_CURRENT": "doctor-password"}, "alerter", "moog-forwarder"
    )
    is_bad(found["partitions"], month, "scripts/create_monthly_partitions.py")
    is_bad(found["rights of alerter"], "on event_audit_log, INSERT on event_audit_log", f"TO doctor_{name}")
    is_bad(found["rights of moog-forwarder"], "lacks INSERT on delivery_log", "GRANT INSERT ON delivery_log")


async def test_a_role_that_may_do_nothing_a_table_that_is_gone_and_rights_beside_tables_are_told(
    environ: dict[str, str], database_url: str, databases: Databases
) -> None:
    name = urlsplit(database_url).path.lstrip("/")
    role = environ | {"DB_USER": f"bare_{name}", "DB_PASS_CURRENT": "bare-password"}
    with psycopg.connect(databases.server.url(name), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE bare_{name} LOGIN PASSWORD 'bare-password'")
        found = await look(role, "alerter")
        is_bad(found["postgresql refuses"], "permission denied for table schema_version", "mutt_schema_v2.1.sql")
        connection.execute(f"REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC")
        tables = "alert_rules, development_hosts, device_teams, schema_version"
        connection.execute(f"GRANT SELECT ON {tables} TO bare_{name}; GRANT INSERT ON event_audit_log TO bare_{name}")
        found = await look(role, "alerter")
        lacks = (
            "lacks SELECT on event_audit_log, EXECUTE on FUNCTION create_monthly_partition(date), "
            f"TEMPORARY on DATABASE {name}"
        )
        is_bad(found["rights of alerter"], lacks, f"GRANT SELECT ON event_audit_log TO bare_{name}")
        connection.execute("DROP TABLE device_teams")
        found = await look(role, "alerter")
    is_bad(found["postgresql refuses"], '"device_teams" does not exist', "no table is missing")
    assert found["schema"].state is State.OK


async def test_a_vault_that_is_away_is_told_and_nothing_is_asked_without_passwords(
    environ: dict[str, str], tmp_path: Path
) -> None:
    secret_id = tmp_path / "secret_id"
    secret_id.write_text("id", encoding="ascii")
    secret_id.chmod(0o604)
    address = f"http://{HOST}:{free_port()}"
    vault = {"VAULT_ADDR": address, "VAULT_ROLE_ID": "role", "VAULT_SECRET_ID_FILE": str(secret_id)}
    vault["INGEST_API_KEY_FILE"] = "/nowhere/key"  # of no meaning beside Vault
    found = await look(environ | vault, "ingestor")
    is_bad(found["secrets"], f"Vault at {address}", "docs/operations/secrets.md")
    assert found["secrets"].seen.count(address) == 1
    is_bad(found["file of the secret id"], "is open to everybody (mode 0604)", f"chmod o-rwx {secret_id}")
    assert not {"redis", "file of INGEST_API_KEY"} & set(found)


async def test_a_port_of_another_program_is_told_from_a_service_that_runs(
    environ: dict[str, str], start_service: StartService, webhook: str
) -> None:
    ingestor = start_service("ingestor")
    ports = {"SERVER_PORT_INGESTOR": str(ingestor.ports["http"]), "SERVER_PORT_WEBUI": str(ingestor.ports["http"])}
    held = str(urlsplit(webhook).port)
    other = {"HEALTH_PORT_ALERTER": held, "METRICS_PORT_MOOG": held}
    found = await look(environ | ports | other)
    assert found["service ingestor"].seen == f"healthy on port {ingestor.ports['http']}"
    is_bad(found["service webui"], "is held by mutt-ingestor", "change SERVER_PORT_WEBUI")
    is_bad(found["service alerter"], "answers no health of MUTT", "HEALTH_PORT_ALERTER")
    is_bad(
        found["service moog-forwarder"], f"another program holds METRICS_PORT_MOOG={held}", "change METRICS_PORT_MOOG"
    )
    assert "is free" in found["service remediation"].seen


async def test_a_server_that_hangs_costs_its_own_time_alone(
    environ: dict[str, str], redis_url: str, proxy: Callable[[str], Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examination, "PATIENCE", 1.0)
    hanging = proxy(redis_url)
    hanging.hang()
    found = await look(environ | {"REDIS_PORT": str(hanging.port)}, "alerter")
    is_bad(found["redis"], "no answer within 1 s", "it hangs")
    assert found["schema"].state is State.OK


async def test_a_server_that_never_shakes_hands_is_told_from_one_that_is_away(
    environ: dict[str, str], webhook: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "PATIENCE", 0.5)
    secure = webhook.replace("http:", "https:")
    found = await look(environ | {"MOOG_WEBHOOK_URL": secure}, "moog-forwarder")
    is_bad(found["moogsoft"], "cannot be reached (no answer in time)", "mend MOOG_WEBHOOK_URL")
    is_bad(found["certificate of moogsoft"], "shows none (no answer in time)", "", State.WARNING)
    found = await look(environ | {"MOOG_WEBHOOK_URL": f"https://{HOST}:{free_port()}/"}, "moog-forwarder")
    is_bad(found["moogsoft"], "Connect call failed", "mend MOOG_WEBHOOK_URL")


async def test_a_server_that_answers_as_none_of_its_kind_hides_nothing_of_the_others(environ: dict[str, str]) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while said := await reader.read(65536):
            writer.write(b"$0\r\n\r\n" if b"INFO" in said else b"+OK\r\n" * said.count(b"*"))
        writer.close()

    async with await asyncio.start_server(answer, HOST, 0) as server:
        found = await look(environ | {"REDIS_PORT": str(server.sockets[0].getsockname()[1])}, "alerter")
    is_bad(found["redis"], "KeyError", "no server of that kind")
    assert found["schema"].state is State.OK


async def test_a_certificate_that_ends_soon_and_one_of_a_stranger_are_told(
    environ: dict[str, str], tmp_path: Path
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", not_after=datetime.now(UTC) + timedelta(days=3, hours=1)).configure_cert(context)
    trusted = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(trusted)
    async with await asyncio.start_server(
        lambda _reader, writer: writer.close(), "localhost", 0, ssl=context
    ) as server:
        port = server.sockets[0].getsockname()[1]
        moogsoft = {"MOOG_WEBHOOK_URL": f"https://localhost:{port}/events"}
        found = await look(environ | moogsoft | {"MOOG_CA_CERT_PATH": str(trusted)}, "moog-forwarder")
        is_bad(found["certificate of moogsoft"], "3 days left", "renew it", State.WARNING)
        assert found["moogsoft"].seen == f"localhost:{port} reached; nothing was sent"
        found = await look(environ | moogsoft, "moog-forwarder")
    is_bad(found["moogsoft"], "signed by nobody trusted here: name its authority in MOOG_CA_CERT_PATH", "do that")
