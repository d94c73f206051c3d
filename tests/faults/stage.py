"""All services on servers of their own, each server behind a proxy: what the faults are made on."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import redis

from scripts.devtools.embedded import PostgresServer, RedisServer, redis_command, spawn, wait_until
from scripts.devtools.privileges import die_with_parent
from scripts.devtools.services import HOST, Service, database_environment, redis_environment
from tests.chaos.load import Ledger
from tests.chaos.stage import SETTINGS, make_rules
from tests.harness.credentials import INGEST_API_KEY, MOOG_API_KEY, WEBUI_API_KEY
from tests.harness.moogsoft import MoogStandIn
from tests.harness.nursery import Nursery
from tests.harness.processes import ServiceProcess, find_service
from tests.harness.proxy import Proxy
from tests.harness.servers import Databases

QUICK = {"REDIS_TIMEOUT": "1"}


class Redis(RedisServer):
    """A Redis that outlives the signal for a file that may not grow: its write fails, as on a full disk."""

    def start(self) -> None:
        """Start the server and wait until it has read its data and answers."""
        command = redis_command(self.folder, self.port, self.password, self.settings)
        command.options.update({"preexec_fn": die_with_parent(), "restore_signals": False})
        self.process = spawn(command, self.folder / "server.log")
        wait_until(self._answers, self.process, f"Redis on port {self.port}", self.folder / "server.log")


@dataclass
class Stage:
    """Servers, the proxies before them, and the services; `total` holds what was acknowledged since the start."""

    redis_server: RedisServer
    redis_proxy: Proxy
    postgres: PostgresServer
    database_url: str  # not through the proxy
    postgres_proxy: Proxy
    moogsoft: MoogStandIn
    moogsoft_proxy: Proxy
    services: dict[str, ServiceProcess] = field(default_factory=dict)
    total: Ledger = field(default_factory=Ledger)

    @contextmanager
    def redis(self) -> Iterator["redis.Redis"]:
        """Give a client that does not go through the proxy."""
        with redis.Redis.from_url(self.redis_server.url) as client:
            yield client


@contextmanager
def staged(
    folder: Path, nurseries: Callable[[Service], Nursery], settings: Mapping[str, Mapping[str, str]] | None = None
) -> Iterator[Stage]:
    """Start all of it in a folder that PostgreSQL's user may pass through; `settings` are added by service."""
    with ExitStack() as stack:
        server = Redis(folder / "redis")
        server.start()
        stack.callback(server.stop)
        postgres = PostgresServer(folder / "postgres")
        postgres.start()
        stack.callback(postgres.stop)
        database_url = Databases(postgres).create()
        moogsoft = MoogStandIn(folder, MOOG_API_KEY)
        moogsoft.start()
        stack.callback(moogsoft.kill)
        make_rules(database_url)
        before = [stack.enter_context(Proxy(url)) for url in (server.url, database_url, moogsoft.events_url)]
        environment = {
            **redis_environment(before[0].url),
            **database_environment(before[1].url),
            "INGEST_API_KEY": INGEST_API_KEY,
            "WEBUI_API_KEY": WEBUI_API_KEY,
            "MOOG_API_KEY": MOOG_API_KEY,
            "MOOG_WEBHOOK_URL": before[2].url,
            "MUTT_BIND_HOST": HOST,
            **QUICK,
        }
        stage = Stage(server, before[0], postgres, database_url, before[1], moogsoft, before[2])
        for name in (*SETTINGS, "webui"):
            service = find_service(name)
            own = {"POD_NAME": name, **SETTINGS.get(name, {}), **(settings or {}).get(name, {})}
            process = ServiceProcess(service, environment | own, folder / f"{name}.log", nurseries(service))
            stack.callback(process.close)
            process.start(wait=False)
            stage.services[name] = process
        for process in stage.services.values():
            process.wait_healthy()
        yield stage
