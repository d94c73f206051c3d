"""What services say of themselves over HTTP while Redis is away, at the addresses that they reported before."""

import asyncio
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import aiohttp

from services.web_ui.board_redis import RedisBoard

PATIENCE = aiohttp.ClientTimeout(total=1.5)
# Whoever may write to Redis must not choose a name for this process to look up.
HOST = r"(\d{1,3}(\.\d{1,3}){3}|\[[0-9a-f:.]+\])"
ADDRESS = re.compile(rf"http://{HOST}:\d{{1,5}}/health|https://{HOST}:\d{{1,5}}/health#(?P<certificate>[0-9a-f]{{64}})")
STATES = ("connected", "disconnected")


class Testimony(NamedTuple):
    """One instance's word: how it stands, its state in a word, its own words; whether it reaches Redis, if it says."""

    kind: str
    service: str
    name: str
    state: str
    words: str
    reaches_redis: bool | None = None


async def ask(seen: RedisBoard) -> tuple[Testimony, ...]:
    """Ask every instance that was alive at the last look; never raises for what one of them does."""
    async with aiohttp.ClientSession(timeout=PATIENCE, trust_env=False) as session:
        answers = (_ask(session, *instance, report.health) for instance, report in seen.reports.items())
        return tuple(await asyncio.gather(*answers))


async def _ask(session: aiohttp.ClientSession, service: str, name: str, address: str) -> Testimony:
    known = ADDRESS.fullmatch(address)
    if known is None:
        return Testimony("nodata", service, name, "unknown", "it has not reported an address to ask at")
    certificate = known["certificate"]
    pinned = aiohttp.Fingerprint(bytes.fromhex(certificate)) if certificate else True
    try:
        async with session.get(address, allow_redirects=False, ssl=pinned) as reply:
            return read(service, name, reply.status, await reply.json(content_type=None))
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        # The library's own words of this one are the bytes of both fingerprints.
        other = isinstance(error, aiohttp.ServerFingerprintMismatch)
        said = "it shows another certificate than the one reported" if other else str(error) or type(error).__name__
        address = address.partition("#")[0]
        return Testimony("critical", service, name, "silent", f"no answer from {address}: {said}")


def read(service: str, name: str, status: int, document: Any) -> Testimony:
    """Return what a health document says."""
    if not isinstance(document, dict):
        return Testimony("critical", service, name, str(status), "its health document cannot be read")
    problems = document.get("problems")
    said = [f"{key}: {value}" for key, value in document.items() if value in STATES]
    said += [f"{key}: {value}" for key, value in problems.items()] if isinstance(problems, dict) else []
    reaches = {"connected": True, "disconnected": False}.get(str(document.get("redis")))
    if reaches is not False:
        kind, state = ("ok", "live") if status < 400 else ("warn", "unfit")  # noqa: PLR2004
    else:
        # An ingestor refuses what comes; a worker keeps what it holds and goes on later.
        kind, state = ("critical", str(status)) if service == "ingestor" else ("warn", "waiting")
    return Testimony(kind, service, name, state, ", ".join(said)[:300], reaches)


def answering(said: Iterable[Testimony], service: str) -> int:
    """Return how many instances of a service gave an answer."""
    return sum(each.service == service and each.reaches_redis is not None for each in said)
