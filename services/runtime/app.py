"""From process start to exit: settings, logs, secrets, Redis and signals, the same for all five services."""

import asyncio
import os
import random
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

import uvloop
from prometheus_client import CollectorRegistry
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, RedisError

from mutt.errors import MisconfiguredError, MuttError, SettingsError
from mutt.server_settings import SENTINEL
from mutt.settings import CommonSettings, IngestorSettings, WebUiSettings, load
from services import redis_connector, tracing_utils
from services.logging_utils import configure, get_logger
from services.runtime import certificates, signals
from services.runtime.ending import end
from services.runtime.garbage import settle_down
from services.runtime.health import Health
from services.runtime.instruments import CommonInstruments
from services.runtime.own_certificate import OwnCertificate, own_certificate
from services.runtime.secrets import SecretSource
from services.runtime.waiting import read_secrets

EXIT_MISCONFIGURED = 78  # EX_CONFIG of sysexits.h: a restart cannot help
EXIT_UNAVAILABLE = 69  # EX_UNAVAILABLE: what it needs did not come in time
BACK_OFF_FIRST, BACK_OFF_MOST = 0.1, 5.0  # seconds

S = TypeVar("S", bound=CommonSettings)
I = TypeVar("I", bound=CommonInstruments)  # noqa: E741  (the pair S, I reads as settings and instruments)

log = get_logger(__name__)


@dataclass
class Process(Generic[S, I]):
    """What a service's main is given; `stopping` is set by SIGTERM, `reload` by SIGHUP."""

    service: str
    settings: S
    instruments: I
    health: Health
    secrets: SecretSource
    redis: Redis
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    reload: asyncio.Event = field(default_factory=asyncio.Event)
    tls: OwnCertificate | None = None

    async def pause(self, seconds: float) -> None:
        """Sleep, but not past the moment when the service has to stop."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.stopping.wait(), seconds)

    async def wait_for_redis(self) -> None:
        """Return once Redis answers and may be used; raises MisconfiguredError naming the setting that forbids it."""
        delay, told = BACK_OFF_FIRST, False
        while not self.stopping.is_set():
            self.health.progressed()
            try:
                for warning in await redis_connector.check_server(self.redis):
                    log.warning(warning)
            except (RedisError, OSError) as error:
                if not told:
                    is_refused = isinstance(error, AuthenticationError)
                    what = (
                        "Redis refuses the password, waiting" if is_refused else "Redis does not answer, waiting for it"
                    )
                    log.warning(what, error=str(error), **_address(self.settings))
                    told = True
                await self.pause(delay * random.uniform(0.5, 1))
                delay = min(delay * 2, BACK_OFF_MOST)
            else:
                return


Main = Callable[[Process[S, I]], Awaitable[None]]


def run(service: str, settings_class: type[S], instruments_class: type[I], main: Main[S, I]) -> None:
    """Run a service until SIGTERM and exit: 0 after an orderly stop, 78 when a setting is at fault."""
    try:
        settings = load(settings_class, os.environ)
    except SettingsError as error:
        print(f"mutt-{service} does not start:\n{error}", file=sys.stderr)  # noqa: T201  (logs need settings)
        sys.exit(EXIT_MISCONFIGURED)
    configure(settings.logs, f"mutt-{service}")
    try:
        tracing_utils.configure(settings.tracing, f"mutt-{service}")
        uvloop.run(_run(service, settings, instruments_class, main))
    except (SettingsError, MisconfiguredError) as error:
        log.critical("the service cannot run with this configuration", problem=str(error))
        sys.exit(EXIT_MISCONFIGURED)
    except MuttError as error:
        log.critical("the service cannot go on", problem=str(error))
        sys.exit(EXIT_UNAVAILABLE)
    except Exception:
        log.critical("the service failed and ends; nothing that it held is lost", exc_info=True)
        sys.exit(1)
    finally:
        tracing_utils.close()


def registry() -> CollectorRegistry:
    """Return a registry with the process's own figures: memory, CPU, handles, garbage collection."""
    fresh = CollectorRegistry()
    ProcessCollector(registry=fresh)
    PlatformCollector(registry=fresh)
    GCCollector(registry=fresh)
    return fresh


async def _run(service: str, settings: S, instruments_class: type[I], main: Main[S, I]) -> None:
    instruments = instruments_class(registry())
    health = Health(service, instruments)
    stopping, reload = asyncio.Event(), asyncio.Event()
    _take_signals(stopping, reload)
    tls = None
    if isinstance(settings, (IngestorSettings, WebUiSettings)):
        tls = own_certificate(settings.tls, instruments.certificate_ends)
    secrets = await read_secrets(settings, os.environ, health, instruments.registry, stopping, tls=tls)
    if secrets is None:
        log.info("stopped in order, before the secrets were there")
        return
    instruments.secrets_read.set_function(lambda: secrets.read_at)
    if secrets.kind == "vault":
        health.mention(secrets.kind, lambda: secrets.problem)
    else:
        health.remark("secrets", lambda: secrets.problem)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _hang_up, reload, secrets)
    redis = redis_connector.connect(settings.redis, secrets)
    process = Process(service, settings, instruments, health, secrets, redis, stopping, reload, tls)
    # The console is of use where Redis can only be read.
    ask = redis_connector.is_connected if isinstance(settings, WebUiSettings) else redis_connector.takes_writes
    health.watch("redis", partial(ask, redis), partial(redis_connector.problem, redis))
    watched = certificates.peers(settings, lambda: redis_connector.address(redis))
    beside = [
        secrets.keep_fresh(),
        certificates.watch(watched, instruments.certificate_ends),
        redis_connector.watch_primary(redis),
    ]
    if tls is not None:
        beside.append(tls.keep_fresh(reload, health))
    tasks = [asyncio.create_task(work) for work in beside]
    settle_down()
    try:
        await main(process)
    finally:
        await end(*tasks)
        await redis_connector.close(redis)
        # What waits for a server that hangs may take seconds to give up when it is cancelled once, as it is hereafter.
        await end(*(task for task in asyncio.all_tasks() if task is not asyncio.current_task()))
    log.info("stopped in order")


def _take_signals(stopping: asyncio.Event, reload: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    loop.add_signal_handler(signal.SIGHUP, reload.set)
    if signals.held_hangups():
        reload.set()


def _hang_up(reload: asyncio.Event, secrets: SecretSource) -> None:
    secrets.soon()
    reload.set()


def _address(settings: CommonSettings) -> dict[str, Any]:
    redis = settings.redis
    if redis.mode == SENTINEL:
        return {"sentinels": ",".join(redis.sentinels), "primary": redis.sentinel_master}
    return {"redis_host": redis.host, "redis_port": redis.port}
