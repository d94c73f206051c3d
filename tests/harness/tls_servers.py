"""Real servers that speak TLS: Debian's Redis and PostgreSQL, whose certificates a test changes while they run."""

import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import redis
import trustme

from scripts.devtools.embedded import HOST, TEST_SETTINGS, free_port
from scripts.devtools.privileges import as_postgres_user, die_with_parent, postgres_user
from tests.harness.programs import program
from tests.harness.waiting import wait_for

NAME = "localhost"
PASSWORD = "tls-password"  # of servers on the loopback that live as long as the tests
PAST = datetime(2001, 9, 9, tzinfo=UTC)


class Authorities:
    """An authority that the tests' clients trust and one that they do not; `folder` holds what both issued."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._trusted, self._other = trustme.CA(), trustme.CA()
        self.trusted, self.other = folder / "trusted.pem", folder / "other.pem"
        self._trusted.cert_pem.write_to_path(str(self.trusted))
        self._other.cert_pem.write_to_path(str(self.other))

    def issue(
        self, name: str, *names: str, ended: bool = False, early: bool = False, known: bool = True
    ) -> tuple[Path, Path]:
        """Return the files of a certificate for `names` (localhost and its address when none) and of its key."""
        authority = self._trusted if known else self._other
        begin = datetime.now(UTC) + timedelta(days=1) if early else PAST - timedelta(days=1)
        end = PAST if ended else datetime.now(UTC) + timedelta(days=30)
        leaf = authority.issue_cert(*(names or (NAME, HOST)), not_before=begin, not_after=end)
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        leaf.cert_chain_pems[0].write_to_path(str(certificate))
        leaf.private_key_pem.write_to_path(str(key))
        key.chmod(0o600)
        return certificate, key


class TlsRedis:
    """Debian's redis-server with a TLS port only."""

    def __init__(self, folder: Path, authorities: Authorities, *more: str) -> None:
        self.port = free_port()
        self._server = program("redis-server")
        self._folder = folder
        self._trusted = authorities.trusted
        self._good = authorities.issue("redis")
        self._more = more
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Return what a service needs to trust it."""
        return {
            "REDIS_HOST": NAME,
            "REDIS_PORT": str(self.port),
            "REDIS_TLS_ENABLED": "true",
            "REDIS_CA_CERT_PATH": str(self._trusted),
            "REDIS_PASS_CURRENT": PASSWORD,
        }

    def start(self, *arguments: str) -> None:
        """Start it and wait until it answers."""
        self._folder.mkdir()
        lines = [
            *("port 0", f"tls-port {self.port}", f"bind {HOST}", f'dir "{self._folder}"', "daemonize no"),
            *(f"tls-cert-file {self._good[0]}", f"tls-key-file {self._good[1]}"),
            *(f"tls-ca-cert-file {self._trusted}", "tls-auth-clients no", f"requirepass {PASSWORD}"),
            *self._more,
        ]
        config = self._folder / "redis.conf"
        config.write_text("\n".join(lines) + "\n", encoding="utf-8")
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._server.path), str(config), *arguments],
                env=self._server.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent(),  # noqa: PLW1509  # one system call, no lock
            )
        wait_for(self._answers, "Redis with TLS")

    def show(self, certificate: tuple[Path, Path] | None = None) -> None:
        """Show this certificate to new connections, the good one when none is given."""
        chosen = certificate or self._good
        with self._client() as client:
            client.execute_command("CONFIG", "SET", "tls-cert-file", str(chosen[0]), "tls-key-file", str(chosen[1]))

    @contextmanager
    def asking_clients(self) -> Iterator[None]:
        """Ask clients for a certificate."""
        with self._client() as client:
            client.config_set("tls-auth-clients", "yes")
            try:
                yield
            finally:
                client.config_set("tls-auth-clients", "no")

    def hang_up(self) -> None:
        """Cut all connections of clients, so that they have to connect anew."""
        with self._client() as client:
            client.execute_command("CLIENT", "KILL", "SKIPME", "yes", "TYPE", "normal")

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _answers(self) -> bool:
        try:
            with self._client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def _client(self) -> Any:
        return redis.Redis(
            host=HOST, port=self.port, password=PASSWORD, ssl=True, ssl_cert_reqs="none", ssl_check_hostname=False
        )


class TlsPostgres:
    """Debian's PostgreSQL 15, which lets nobody in without TLS."""

    def __init__(self, folder: Path, authorities: Authorities) -> None:
        self.port = free_port()
        self.folder = folder
        self._trusted = authorities.trusted
        self._good = authorities.issue("postgres")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Return what a service needs to trust it."""
        return {
            "DB_HOST": NAME,
            "DB_PORT": str(self.port),
            "DB_NAME": "postgres",
            "DB_USER": "postgres",
            "DB_TLS_ENABLED": "true",
            "DB_TLS_CA_CERT_PATH": str(self._trusted),
            "DB_PASS_CURRENT": PASSWORD,
        }

    @property
    def url(self) -> str:
        """The address for a client that trusts anybody."""
        return f"postgresql://postgres:{PASSWORD}@{HOST}:{self.port}/postgres?sslmode=require"

    def start(self) -> None:
        """Make it, start it and wait until it answers."""
        self.folder.mkdir(mode=0o700)
        password = self.folder.parent / "postgres-password"
        password.write_text(PASSWORD, encoding="utf-8")
        self._give_away(self.folder)
        self._give_away(password)
        self._run("initdb", "-U", "postgres", "--auth=scram-sha-256", f"--pwfile={password}", "-N", "--no-locale",
                  "-E", "UTF8").wait()  # fmt: skip
        access = f"hostssl all all {HOST}/32 scram-sha-256\n"
        (self.folder / "pg_hba.conf").write_text(access, encoding="utf-8")
        self._install(self._good)
        settings = (
            *TEST_SETTINGS,
            f"port={self.port}",
            f"listen_addresses={HOST}",
            "unix_socket_directories=",
            "ssl=on",
        )
        self._process = self._run("postgres", *(part for each in settings for part in ("-c", each)))
        wait_for(self._answers, "PostgreSQL with TLS")

    def show(self, certificate: tuple[Path, Path] | None = None) -> None:
        """Show this certificate to new connections, the good one when none is given, and cut all others."""
        chosen = certificate or self._good
        self._install(chosen)
        before = self._loaded()
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("SELECT pg_reload_conf()")
        wait_for(lambda: self._loaded() != before, "the certificate in use")
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )

    @contextmanager
    def asking_clients(self) -> Iterator[None]:
        """Ask clients for a certificate."""
        access = self.folder / "pg_hba.conf"
        before = access.read_text(encoding="utf-8")
        shutil.copyfile(self._trusted, self.folder / "clients.pem")
        self._give_away(self.folder / "clients.pem")
        with psycopg.connect(self.url, autocommit=True) as operator:
            operator.execute("ALTER SYSTEM SET ssl_ca_file = 'clients.pem'")

            def reload(text: str, *, welcome: bool) -> None:
                access.write_text(text, encoding="utf-8")
                operator.execute("SELECT pg_reload_conf()")
                wait_for(lambda: self._answers() is welcome, "the access in use")

            reload(before.replace("\n", " clientcert=verify-ca\n"), welcome=False)
            try:
                yield
            finally:
                reload(before, welcome=True)

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait()

    def _loaded(self) -> Any:
        with psycopg.connect(self.url) as connection:
            return connection.execute("SELECT pg_conf_load_time()").fetchone()

    def _install(self, certificate: tuple[Path, Path]) -> None:
        for source, name in zip(certificate, ("server.crt", "server.key"), strict=True):
            fresh = self.folder / f"{name}.new"
            shutil.copyfile(source, fresh)
            fresh.chmod(0o600)
            self._give_away(fresh)
            fresh.replace(self.folder / name)

    def _give_away(self, path: Path) -> None:
        if (user := postgres_user()) is not None:
            shutil.chown(path, *user)

    def _run(self, name: str, *arguments: str) -> "subprocess.Popen[bytes]":
        found = program(name)
        command = as_postgres_user([str(found.path), "-D", str(self.folder), *arguments], (found.path, self.folder),
                                   signal.SIGQUIT)  # fmt: skip
        environment = {**found.environment, "HOME": str(self.folder), "LC_ALL": "C", "TZ": "UTC"}
        with (self.folder.parent / "postgres.log").open("ab") as log:
            return subprocess.Popen(
                command.arguments, **command.options, env=environment, cwd="/", stdin=subprocess.DEVNULL, stdout=log,
                stderr=log,
            )  # fmt: skip

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True
