"""TLS to Redis and PostgreSQL as real servers speak it: what is refused, in which words, and when certificates end."""

import shutil
import ssl
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from mutt.errors import SettingsError
from mutt.server_settings import DatabaseSettings, RedisSettings
from mutt.variables import read
from scripts.devtools.services import HOST, database_environment, redis_environment
from scripts.migrate import migrate
from services import postgres_connector, redis_connector
from services.runtime.health import Health
from services.runtime.instruments import CommonInstruments
from services.runtime.secrets import EnvironmentSecrets
from tests.harness.processes import StartService
from tests.harness.tls_servers import PASSWORD, PAST, Authorities, TlsPostgres, TlsRedis
from tests.harness.waiting import eventually
from tests.service.web_api import Api

EXPIRED, EARLY = "has expired: renew it", "is not valid yet: check the clocks"
OTHER_NAME, UNKNOWN = "is for another name", "is signed by nobody trusted here"


def passable(folder: Path) -> Path:
    """Return a new folder that PostgreSQL's user may pass through."""
    made = Path(tempfile.mkdtemp(prefix="tls-", dir=folder))
    made.chmod(0o755)
    return made


@pytest.fixture(scope="module")
def tls_redis(server_folder: Path, authorities: Authorities) -> Iterator[TlsRedis]:
    server = TlsRedis(passable(server_folder) / "redis", authorities)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def tls_postgres(server_folder: Path, authorities: Authorities) -> Iterator[TlsPostgres]:
    server = TlsPostgres(passable(server_folder) / "postgres", authorities)
    try:
        server.start()
        yield server
    finally:
        server.stop()


async def redis_health(environment: dict[str, str]) -> str | None:
    """Return what a service's health says of this Redis, None when it is well."""
    secrets = EnvironmentSecrets(environment)
    client = redis_connector.connect(read(RedisSettings, environment), secrets)
    try:
        return await said(
            "redis", lambda: redis_connector.is_connected(client), lambda: redis_connector.problem(client)
        )
    finally:
        await client.aclose()


async def postgres_health(environment: dict[str, str]) -> str | None:
    """Return what a service's health says of this PostgreSQL, None when it is well."""
    settings = read(DatabaseSettings, {**environment, "DB_POOL_MIN_CONN": "1"})
    async with postgres_connector.open_pool(settings, EnvironmentSecrets(environment)) as pool:
        return await said(
            "postgres", lambda: postgres_connector.is_connected(pool), lambda: postgres_connector.problem(pool)
        )


async def said(dependency: str, probe: Callable[[], Awaitable[bool]], why: Callable[[], str | None]) -> str | None:
    health = Health("test", CommonInstruments(CollectorRegistry()))
    health.watch(dependency, probe, why)
    words: list[str | None] = []

    async def is_decided() -> Any:
        healthy, document = await health.report()
        words.append(document.get("problems", {}).get(dependency))
        return healthy or words[-1] is not None

    await eventually(is_decided, f"health's word on {dependency}")
    return words[-1]


FAULTS = pytest.mark.parametrize(
    ("certificate", "words"),
    [
        ({}, None),
        ({"ended": True}, EXPIRED),
        ({"early": True}, EARLY),
        ({"names": ["other.example"]}, OTHER_NAME),
        ({"known": False}, UNKNOWN),
    ],
    ids=["right", "expired", "too early", "another name", "unknown authority"],
)


@FAULTS
async def test_redis_is_trusted_only_with_a_certificate_that_is_right(
    tls_redis: TlsRedis, authorities: Authorities, certificate: dict[str, object], words: str | None
) -> None:
    tls_redis.show(issue(authorities, **certificate))
    heard = await redis_health(tls_redis.environment)
    assert heard is None if words is None else heard and words in heard, heard
    if heard:
        assert f"the certificate of Redis at localhost:{tls_redis.port}" in heard
        assert {OTHER_NAME: "set REDIS_HOST", UNKNOWN: "name its authority in REDIS_CA_CERT_PATH"}.get(
            words or "", ""
        ) in heard


@FAULTS
async def test_postgresql_is_trusted_only_with_a_certificate_that_is_right(
    tls_postgres: TlsPostgres, authorities: Authorities, certificate: dict[str, object], words: str | None
) -> None:
    tls_postgres.show(issue(authorities, **certificate))
    heard = await postgres_health(tls_postgres.environment)
    assert heard is None if words is None else heard and words in heard, heard
    if heard:
        assert f"the certificate of PostgreSQL at localhost:{tls_postgres.port}" in heard
        assert {OTHER_NAME: "set DB_HOST", UNKNOWN: "name its authority in DB_TLS_CA_CERT_PATH"}.get(
            words or "", ""
        ) in heard


async def test_servers_that_ask_for_a_certificate_are_told_to_ask_for_none(
    tls_redis: TlsRedis, tls_postgres: TlsPostgres
) -> None:
    tls_redis.show()
    tls_postgres.show()
    with tls_redis.asking_clients(), tls_postgres.asking_clients():
        heard = await redis_health(tls_redis.environment), await postgres_health(tls_postgres.environment)
    for words, server in zip(heard, ("Redis", "PostgreSQL"), strict=True):
        assert words
        assert f"{server} at localhost:" in words
        assert "asks for a certificate of its clients, and MUTT has none: let the server ask for none" in words


def issue(authorities: Authorities, **how: object) -> tuple[Path, Path]:
    names = how.pop("names", [])
    return authorities.issue("shown", *names, **how)  # type: ignore[misc, arg-type]


@pytest.fixture(params=["file", "folder"])
def system_store(
    request: pytest.FixtureRequest, authorities: Authorities, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let Python know the tests' authority as the system's, and nothing tell another OpenSSL of it."""
    known: Any = ssl.get_default_verify_paths()
    for variable in (known.openssl_cafile_env, known.openssl_capath_env):
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    shutil.copyfile(authorities.trusted, tmp_path / "authority.pem")
    subprocess.run(["openssl", "rehash", tmp_path], check=True, timeout=60)
    file, folder = {"file": (str(authorities.trusted), None), "folder": (None, str(tmp_path))}[request.param]
    here = known._replace(cafile=file, capath=folder)
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: here)


@pytest.mark.usefixtures("system_store")
async def test_postgresql_is_trusted_by_the_authorities_of_the_system_where_none_is_named(
    tls_postgres: TlsPostgres,
) -> None:
    """The OpenSSL that comes with libpq has a store of its own, which is empty: it has to be shown the system's."""
    tls_postgres.show()
    assert await postgres_health({**tls_postgres.environment, "DB_TLS_CA_CERT_PATH": ""}) is None


async def test_sentinels_are_asked_over_tls_and_trusted_as_little(
    tls_redis: TlsRedis, authorities: Authorities, tmp_path: Path
) -> None:
    tls_redis.show()
    monitor = (f"sentinel monitor primary {HOST} {tls_redis.port} 1", f"sentinel auth-pass primary {PASSWORD}")
    sentinel = TlsRedis(tmp_path / "sentinel", authorities, "tls-replication yes", *monitor)
    here = {
        **tls_redis.environment,
        "REDIS_MODE": "sentinel",
        "REDIS_SENTINELS": f"localhost:{sentinel.port}",
        "REDIS_SENTINEL_MASTER": "primary",
        "REDIS_SENTINEL_PASS": PASSWORD,
        "REDIS_PORT": "9",  # nobody listens there
    }
    try:
        sentinel.start("--sentinel")
        assert await redis_health(here) is None
        heard = await redis_health({**here, "REDIS_CA_CERT_PATH": str(authorities.other)})
    finally:
        sentinel.stop()
    assert heard
    assert f"the certificate of the sentinel at localhost:{sentinel.port} is signed by nobody trusted here" in heard


async def test_a_server_without_tls_is_refused_with_the_setting_that_does_without(
    redis_url: str, database_url: str, authorities: Authorities
) -> None:
    here = {**redis_environment(redis_url), "REDIS_TLS_ENABLED": "true", "REDIS_CA_CERT_PATH": str(authorities.trusted)}
    heard = await redis_health(here)
    assert heard
    assert "does not speak TLS there" in heard
    assert "set REDIS_TLS_ENABLED=false" in heard
    here = {**database_environment(database_url), "DB_TLS_ENABLED": "true"}
    heard = await postgres_health({**here, "DB_TLS_CA_CERT_PATH": str(authorities.trusted)})
    assert heard
    assert "does not speak TLS there" in heard
    assert "set DB_TLS_ENABLED=false" in heard


@pytest.mark.parametrize(
    ("content", "words"), [(None, "cannot be read (No such file or directory)"), ("no PEM\n", "holds no certificate")]
)
def test_an_authority_that_is_of_no_use_is_named_with_its_setting(
    tmp_path: Path, content: str | None, words: str
) -> None:
    file = tmp_path / "authority.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SettingsError) as refusal:
        redis_connector.connect(RedisSettings(ca_cert_path=str(file)), EnvironmentSecrets({}))
    assert f"REDIS_CA_CERT_PATH='{file}' {words}" in str(refusal.value)
    with pytest.raises(SettingsError) as refusal:
        postgres_connector.connection_options(DatabaseSettings(tls_ca_cert_path=str(file)), EnvironmentSecrets({}))
    assert f"DB_TLS_CA_CERT_PATH='{file}' {words}" in str(refusal.value)
    assert "in PEM form" in str(refusal.value)


def test_a_service_waits_for_a_certificate_that_is_renewed_and_shows_when_it_ended(
    tls_redis: TlsRedis, tls_postgres: TlsPostgres, authorities: Authorities, start_service: StartService
) -> None:
    tls_redis.show()
    tls_postgres.show()
    migrate(tls_postgres.url)
    tls_redis.show(authorities.issue("ended-redis", ended=True))
    tls_postgres.show(authorities.issue("ended-postgres", ended=True))
    console = start_service("webui", wait=False, **tls_redis.environment, **tls_postgres.environment)
    for said_in_health in ("Redis", "PostgreSQL"):
        assert f"the certificate of {said_in_health} at localhost:" in console.wait_health(503)
    for peer in ("redis", "postgres"):
        name = "mutt_tls_certificate_expiry_timestamp_seconds"
        assert console.metric(name, peer=peer) == PAST.timestamp()
    console.wait_log("the certificate of PostgreSQL at localhost:")
    console.wait_log("the certificate of Redis at localhost:")
    tls_redis.show()
    tls_postgres.show()
    console.wait_healthy()


class Prometheus(BaseHTTPRequestHandler):
    """Answers every query with one value."""

    def do_GET(self) -> None:
        body = b'{"data": {"result": [{"metric": {}, "value": [0, "0.5"]}]}}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture
def prometheus(authorities: Authorities) -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authorities.issue("prometheus"))
    with ThreadingHTTPServer((HOST, 0), Prometheus) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"https://localhost:{server.server_port}"
        server.shutdown()
        thread.join()


def test_prometheus_is_asked_over_tls_and_trusted_as_little(
    prometheus: str, authorities: Authorities, start_service: StartService
) -> None:
    trusting, wary = (
        start_service("webui", wait=False, PROMETHEUS_URL=prometheus, PROMETHEUS_CA_CERT_PATH=str(authority))
        for authority in (authorities.trusted, authorities.other)
    )
    trusting.wait_healthy()
    assert Api(trusting).get("/slo").json()["components"]["ingestor"]["source"] == "prometheus"
    wary.wait_healthy()
    assert Api(wary).get("/slo").json()["components"]["ingestor"]["source"] == "counters"
    wary.wait_log(f"{prometheus} is signed by nobody trusted here: name its authority in PROMETHEUS_CA_CERT_PATH")
