"""The web UI: the console's pages, and the JSON API for what they show and change."""

from services.runtime import signals

signals.hold_hangup()  # before the imports below, which take a while

# ruff: noqa: E402
import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from ipaddress import ip_network
from typing import Any

from redis.exceptions import RedisError

from mutt.errors import MisconfiguredError, SettingsError
from mutt.settings import WebUiSettings
from services import postgres_connector, redis_connector
from services.logging_utils import get_logger
from services.postgres_connector import Pool, transaction
from services.runtime.app import Process, run
from services.runtime.http_server import serve
from services.runtime.instruments import WebUiInstruments
from services.runtime.loop import background, repeat
from services.schema import ahead, check_schema
from services.web_ui import unrecorded
from services.web_ui.app import build
from services.web_ui.context import Context
from services.web_ui.ended_sessions import EndedSessions
from services.web_ui.keyring import KeyRing
from services.web_ui.sessions import SECONDS, Sessions, SignedOut
from services.web_ui.wrong_keys import WrongKeys

CHECK_SECONDS = 5.0

WebUi = Process[WebUiSettings, WebUiInstruments]

log = get_logger(__name__)


async def main(process: WebUi) -> None:
    """Serve until SIGTERM; Redis and PostgreSQL may come later. SIGHUP has secrets read again."""
    settings, health = process.settings, process.health
    keyring = KeyRing(process.secrets)
    with suppress(RedisError, OSError):
        for warning in await redis_connector.check_server(process.redis):
            log.warning(warning)
    async with postgres_connector.open_pool(settings.db, process.secrets) as pool:
        health.watch(
            "postgres", partial(postgres_connector.is_connected, pool), partial(postgres_connector.problem, pool)
        )
        health.measure_depth(partial(process.redis.llen, settings.names.ingest_queue))
        sessions = Sessions(keyring, EndedSessions(process.redis, SECONDS), insecure=settings.insecure_cookies)
        searches = asyncio.Semaphore(max(1, settings.db.pool_max_conn // 2))
        parts = Context(
            settings,
            process.instruments,
            keyring,
            sessions,
            process.redis,
            pool,
            os.environ,
            searches,
            WrongKeys(process.instruments.wrong_keys),
        )
        app, proxies = SignedOut(build(parts, health), sessions), _proxies(settings.trusted_proxies)
        grace = max(1, round(settings.shutdown_grace))
        server = serve(
            app,
            settings.bind_host,
            settings.port,
            "SERVER_PORT_WEBUI",
            tls=process.tls,
            timeout_graceful_shutdown=grace,
            **proxies,
        )
        write_left = partial(unrecorded.write_what_is_left, process.redis, pool, process.instruments)
        async with server, background() as start:
            log.info("ready", port=settings.port)
            start("unrecorded", repeat(process, "unrecorded", write_left, idle=unrecorded.EVERY_SECONDS))
            check = partial(_check_schema, process, pool)
            start("schema", repeat(process, "schema", check, idle=CHECK_SECONDS, vital=True))
            await process.stopping.wait()


def _proxies(trusted: Sequence[str]) -> dict[str, Any]:
    """Return uvicorn's options for those proxies; without them it would believe every program on this machine."""
    for network in trusted:
        try:
            ip_network(network)
        except ValueError as error:
            raise SettingsError(f"TRUSTED_PROXIES: {error}; addresses and networks are needed, by comma") from None
    return {"proxy_headers": bool(trusted), "forwarded_allow_ips": list(trusted)}


async def _check_schema(process: WebUi, pool: Pool) -> bool:
    """Show in health whether the database has the schema that this release needs."""
    try:
        async with transaction(pool) as connection:
            words = ahead(await check_schema(connection))
    except MisconfiguredError as error:
        process.health.problems["schema"] = str(error)
    else:
        process.health.problems.pop("schema", None)
        if words is None:
            process.health.notes.pop("schema", None)
        elif process.health.notes.get("schema") != words:
            log.warning(words)
            process.health.notes["schema"] = words
    return False


if __name__ == "__main__":
    run("webui", WebUiSettings, WebUiInstruments, main)
