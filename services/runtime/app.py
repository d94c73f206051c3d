"""From process start to exit: settings, logs, secrets, Redis and signals, the same for all five services."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import uvloop
from prometheus_client import CollectorRegistry
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from redis.asyncio import Redis
from redis.exceptions import RedisError

from mutt.errors import MisconfiguredError, MuttError, SettingsError, TransientError
from mutt.settings import CommonSettings, load
from services import redis_connector, tracing_utils
from services.logging_utils import configure, get_logger
from services.runtime import signals
from services.runtime.health import Health
from services.runtime.instruments import CommonInstruments
from services.runtime.secrets import SecretSource, open_secrets

EXIT_MISCONFIGURED = 78  # EX_CONFIG of sysexits.h: a restart cannot help
EXIT_UNAVAILABLE = 69  # EX_UNAVAILABLE: what it needs did not come in time
START_PATIENCE = 60.0  # seconds to wait for the secrets at start
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
                    log.warning("Redis does not answer, waiting for it", error=str(error), **_address(self.settings))
                    told = True
                await self.pause(delay)
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
    secrets = await _patient_secrets(settings, os.environ)
    instruments = instruments_class(registry())
    redis = redis_connector.connect(settings.redis, secrets)
    process = Process(service, settings, instruments, Health(service, instruments), secrets, redis)
    process.health.watch("redis", lambda: redis_connector.is_connected(redis))
    _take_signals(process)
    renewal = asyncio.create_task(secrets.keep_fresh(), name="secrets")
    try:
        await main(process)
    finally:
        renewal.cancel()
        await redis.aclose()
    log.info("stopped in order")


def _take_signals(process: Process[Any, Any]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, process.stopping.set)
    loop.add_signal_handler(signal.SIGHUP, process.reload.set)
    if signals.held_hangups():
        process.reload.set()


async def _patient_secrets(settings: CommonSettings, environ: Mapping[str, str]) -> SecretSource:
    deadline = asyncio.get_running_loop().time() + START_PATIENCE
    while True:
        try:
            return await open_secrets(settings.vault, environ)
        except TransientError:
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(BACK_OFF_MOST)


def _address(settings: CommonSettings) -> dict[str, Any]:
    return {"redis_host": settings.redis.host, "redis_port": settings.redis.port}
