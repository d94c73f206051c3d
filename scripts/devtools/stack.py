"""The whole of MUTT as programs under one supervisor: servers first, then the schema, then the services."""

import asyncio
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime

import psycopg
from psycopg import sql

from scripts.devtools import checks, samples, vault
from scripts.devtools.embedded import (
    clear_postgres_leftovers,
    durable_settings,
    init_postgres,
    postgres_command,
    redis_command,
)
from scripts.devtools.environment import SECRETS, plain_environment, service_environment
from scripts.devtools.instance import DATABASE, DATABASE_USER, STAND_IN, VAULT, Instance, UserError
from scripts.devtools.leftovers import rotate
from scripts.devtools.privileges import Command, EmbeddedServerError, die_with_parent
from scripts.devtools.services import HOST, SERVICES, Service
from scripts.devtools.supervisor import Program, Status, Supervisor
from scripts.migrate import MigrationError, migrate

WORKERS = ("alerter", "moog-forwarder", "remediation", "webui")
EXTERNAL = "external"


class Stack:
    """One instance running in this process."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._supervisor = Supervisor(self._write_state, self._say)
        self._phase, self._message = "starting", ""
        self._stop = asyncio.Event()

    async def run(self) -> int:
        """Run until SIGTERM or SIGINT and stop in order; 1 when it could not be started."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stop.set)
        self._write_state()
        starting = asyncio.create_task(self._start())
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                await stopping
        except (UserError, EmbeddedServerError, MigrationError, psycopg.Error, OSError) as error:
            self._message = str(error)
            self._say(f"cannot start: {error}")
        except Exception as error:  # noqa: BLE001  # the boundary of this process: `up` waits for a message
            self._message = f"{type(error).__name__}: {error} (a fault of muttdev; {self._instance.own_log} has more)"
            traceback.print_exc()
        finally:
            starting.cancel()
            await self._stop_all(failed=bool(self._message))
        return 1 if self._message else 0

    async def _start(self) -> None:
        if problem := await self._external_redis_problem():
            raise UserError(f"the Redis of --redis-url cannot be used: {problem}")
        servers = [program for program in (self._redis(), self._postgres(), self._vault()) if program is not None]
        self._supervisor.start(*servers)
        await self._supervisor.healthy(*(program.name for program in servers))
        await asyncio.to_thread(self._prepare_database)
        self._supervisor.start(self._stand_in(), *map(self._service, SERVICES.values()))
        await self._supervisor.healthy(STAND_IN, *SERVICES)
        self._phase = "running"
        self._say("all services are healthy")
        self._write_state()

    async def _stop_all(self, *, failed: bool) -> None:
        self._phase = "stopping"
        self._write_state()
        await self._supervisor.stop(("ingestor",), WORKERS, (STAND_IN,), ("redis", "postgres", VAULT))
        self._phase = "failed" if failed else "stopped"
        self._say("stopped")
        self._write_state()

    async def _external_redis_problem(self) -> str:
        external = self._instance.is_external("redis")
        return await checks.redis_check(self._instance.redis_url)() if external else ""

    # -- the programs

    def _redis(self) -> Program | None:
        instance = self._instance
        if instance.is_external("redis"):
            return None

        def command() -> Command:
            made = redis_command(
                instance.folder / "redis", instance.port("redis"), instance.secret("REDIS_PASS_CURRENT")
            )
            made.options["preexec_fn"] = die_with_parent()
            return made

        return self._program("redis", command, checks.redis_check(instance.redis_url), signal.SIGTERM)

    def _postgres(self) -> Program | None:
        instance = self._instance
        if instance.is_external("postgres"):
            return None
        cluster = instance.folder / "postgres"
        if not (cluster / "PG_VERSION").exists():
            self._say(f"making the PostgreSQL cluster {cluster}")
            init_postgres(cluster, instance.secret("POSTGRES_SUPERUSER_PASSWORD"))
        settings = durable_settings(instance.folder)

        def command() -> Command:
            clear_postgres_leftovers(cluster)
            # SIGINT is PostgreSQL's fast stop: SIGTERM would wait for every client to leave.
            return postgres_command(cluster, instance.port("postgres"), settings, signal.SIGINT)

        return self._program("postgres", command, checks.postgres_check(self._superuser_url()), signal.SIGINT)

    def _vault(self) -> Program | None:
        instance = self._instance
        if not instance.options.vault:
            return None
        token, role_id, secret_id = map(instance.secret, ("VAULT_ROOT_TOKEN", "VAULT_ROLE_ID", "VAULT_SECRET_ID"))
        client = vault.client(instance.http_url(VAULT), token)

        async def check() -> str:
            values = {name: instance.secret(name) for name in SECRETS}
            return await asyncio.to_thread(vault.tend, client, role_id, secret_id, values)

        def command() -> Command:
            return vault.quietly(vault.vault_command(instance.port(VAULT), token))

        return self._program(VAULT, command, check)

    def _stand_in(self) -> Program:
        port = str(self._instance.port(STAND_IN))
        state = str(self._instance.folder / "moogsoft.ndjson")
        arguments = [sys.executable, "-P", "-m", "scripts.devtools.moogsoft_stand_in"]
        arguments += ["--port", port, "--state", state]
        environment = {**plain_environment(), "MOOG_API_KEY": self._instance.secret("MOOG_API_KEY")}
        check = checks.http_check(self._instance.health_url(STAND_IN))
        return self._program(STAND_IN, lambda: _child(arguments, environment), check)

    def _service(self, service: Service) -> Program:
        environment = service_environment(self._instance, service)
        check = checks.http_check(self._instance.health_url(service.name))
        return self._program(service.name, lambda: _child(service.command, environment), check)

    def _program(
        self, name: str, command: Callable[[], Command], check: checks.Check, stop_signal: int = signal.SIGTERM
    ) -> Program:
        log = self._instance.logs / f"{name}.log"
        rotate(log)
        return Program(name, command, check, log, self._instance.ports(name), stop_signal)

    # -- the database

    def _superuser_url(self, database: str = "postgres") -> str:
        login = f"postgres:{self._instance.secret('POSTGRES_SUPERUSER_PASSWORD')}"
        return f"postgresql://{login}@{HOST}:{self._instance.port('postgres')}/{database}"

    def _prepare_database(self) -> None:
        if not self._instance.is_external("postgres"):
            self._make_database()
        try:
            steps = migrate(self._instance.database_url)
        except MigrationError as error:
            given = "the database of --database-url" if self._instance.is_external("postgres") else "the schema"
            raise UserError(f"{given} cannot be used: {error}") from error
        for step in steps:
            self._say(f"schema: applied {step}")
        if self._instance.options.samples and samples.load(self._instance.database_url):
            self._say("loaded the sample rules, development hosts and teams")

    def _make_database(self) -> None:
        user, name = sql.Identifier(DATABASE_USER), sql.Identifier(DATABASE)
        password = sql.Literal(self._instance.secret("DB_PASS_CURRENT"))
        with psycopg.connect(self._superuser_url(), autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (DATABASE_USER,)).fetchone():
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(user))
            connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(user, password))
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, user))

    # -- what others see

    def _write_state(self) -> None:
        known = {name: supervised.status for name, supervised in self._supervisor.programs.items()}
        services = {
            name: asdict(known.get(name) or Status(self._instance.ports(name))) for name in self._instance.names
        }
        for name in filter(self._instance.is_external, self._instance.names):
            services[name]["state"] = EXTERNAL
        self._instance.write_state(
            {
                "phase": self._phase,
                "message": self._message,
                "supervisor": {"pid": os.getpid()},
                "services": services,
            }
        )

    def _say(self, text: str) -> None:
        with self._instance.own_log.open("a", encoding="utf-8") as log:
            log.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {text}\n")


def _child(arguments: list[str], environment: dict[str, str]) -> Command:
    # SIGKILL when the supervisor itself is killed: nothing may outlive it, and MUTT loses nothing by it.
    return Command(arguments, {"env": environment, "cwd": "/", "preexec_fn": die_with_parent()})
