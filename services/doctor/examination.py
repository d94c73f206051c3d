"""All that is looked at, at once, each within its own time."""

import asyncio
import time
from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path

from mutt.errors import MuttError
from mutt.findings import Finding, ok, problem, warning
from mutt.server_settings import DatabaseSettings
from mutt.settings import CommonSettings, MoogForwarderSettings
from services.doctor import database, local, moogsoft, redis_server
from services.runtime import certificates
from services.runtime.secrets import SecretSource, make_source

PATIENCE = 15.0  # seconds for all that is asked of one server
RENEW_DAYS = 14
# Keys that MUTT itself asks for. 16 random characters are 80 bits and more: nobody finds one by trying.
OWN_KEYS = ("INGEST_API_KEY", "INGEST_API_KEY_NEXT", "WEBUI_API_KEY", "WEBUI_API_KEY_NEXT")
KEY_LENGTH = 16
DAY = 86_400
# Without these a service does not start, or does none of its work.
NEEDED = {
    "ingestor": ("INGEST_API_KEY",),
    "alerter": ("DB_PASS_CURRENT",),
    "moog-forwarder": ("MOOG_API_KEY", "DB_PASS_CURRENT"),
    "webui": ("WEBUI_API_KEY", "DB_PASS_CURRENT"),
    "remediation": (),
}


async def examine(services: Sequence[str], environ: Mapping[str, str], environment_file: Path | None) -> list[Finding]:
    """Return what was found of these services' surroundings, in the order in which it is best read."""
    settings, found = local.settings_of(services, environ)
    found += [*local.libraries(), *local.files(environ, environment_file)]
    if not settings:
        return found
    common = next(iter(settings.values()))
    secrets, told = await _secrets(common, settings, environ)
    found += told
    looks: list[Awaitable[list[Finding]]] = []
    if secrets is not None:
        looks.append(_bounded("redis", redis_server.examine(common, secrets)))
        databases = {name: db for name, each in settings.items() if (db := _database(each)) is not None}
        if databases:
            looks.append(_bounded("postgresql", database.examine(databases, secrets)))
    forwarder = settings.get("moog-forwarder")
    if isinstance(forwarder, MoogForwarderSettings):
        looks.append(_bounded("moogsoft", moogsoft.examine(forwarder)))
    looks += [_bounded("certificates", _certificates(list(settings.values()))), local.ports(settings)]
    for each in await asyncio.gather(*looks):
        found += each
    return found


def _database(settings: CommonSettings) -> DatabaseSettings | None:
    return getattr(settings, "db", None)


async def _bounded(what: str, look: Awaitable[list[Finding]]) -> list[Finding]:
    try:
        async with asyncio.timeout(PATIENCE):
            return await look
    except TimeoutError:
        return [problem(what, f"no answer within {PATIENCE:g} s", "it hangs, or the network loses packets to it")]
    except MuttError as error:
        return [problem(what, str(error), "change the setting that is named")]
    except Exception as error:  # noqa: BLE001  (what one look stumbles over hides nothing of the others)
        return [problem(what, f"{type(error).__name__}: {error}", "it answers as no server of that kind does")]


async def _secrets(
    common: CommonSettings, settings: Mapping[str, CommonSettings], environ: Mapping[str, str]
) -> tuple[SecretSource | None, list[Finding]]:
    try:
        source = make_source(common.vault, environ)
        await source.read()
    except MuttError as error:
        return None, [problem("secrets", str(error), "see docs/operations/secrets.md")]
    lacking = {name for each in settings for name in NEEDED[each] if source.get(name) is None}
    place = f"from Vault at {common.vault.addr}" if common.vault.addr else "from the environment"
    found = [
        problem("secrets", f"{place}: {', '.join(sorted(lacking))} is not there", "see docs/operations/secrets.md")
        if lacking
        else ok("secrets", f"{place}, all there")
    ]
    short = [name for name in OWN_KEYS if (key := source.get(name)) is not None and len(key) < KEY_LENGTH]
    if short:
        seen = f"{', '.join(short)} has fewer than {KEY_LENGTH} characters and may be guessed"
        found.append(warning("keys", seen, "make a new one (openssl rand -hex 16): docs/operations/secrets.md"))
    if not common.vault.addr:
        remedy = "in production set VAULT_ADDR and VAULT_ROLE_ID: docs/operations/secrets.md"
        found.append(warning("vault", "is not used", remedy))
    return source, found


async def _certificates(settings: Sequence[CommonSettings]) -> list[Finding]:
    """Say how long the certificate of each server that is reached by TLS still holds."""
    known = {(each.name, at, each.postgres) for one in settings for each in _peers(one) for at in each.addresses()}
    return list(await asyncio.gather(*(_certificate(*each) for each in sorted(known))))


def _peers(settings: CommonSettings) -> list[certificates.Peer]:
    where = (settings.redis.host, settings.redis.port)
    return certificates.peers(settings, lambda: None if settings.redis.sentinels else where)


async def _certificate(name: str, address: tuple[str, int], postgres: bool) -> Finding:
    what = f"certificate of {name}"
    at = f"{address[0]}:{address[1]}"
    try:
        shown = await certificates.presented(address, postgres=postgres)
    except (OSError, ValueError) as error:
        why = str(error) or "no answer in time"  # a TimeoutError says nothing
        return warning(what, f"{at} shows none ({why})", "see what is said of the server itself")
    end = shown.not_valid_after_utc
    days = (end.timestamp() - time.time()) / DAY
    seen = f"{at}, until {end:%Y-%m-%d %H:%M} UTC"
    if days < 0:
        return problem(what, f"{seen}: expired", "renew it at the server: docs/operations/tls.md")
    if days < RENEW_DAYS:
        return warning(what, f"{seen}: {days:.0f} days left", "renew it at the server: docs/operations/tls.md")
    return ok(what, f"{seen}, {days:.0f} days left")
