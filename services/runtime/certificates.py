"""When the certificates of the servers that MUTT talks to end: looked at rarely, beside the connections in use."""

import asyncio
import random
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from prometheus_client import Gauge

from mutt.server_settings import SENTINEL
from mutt.settings import AlerterSettings, CommonSettings, MoogForwarderSettings, WebUiSettings
from mutt.tls_faults import NO_TLS

if TYPE_CHECKING:
    from cryptography import x509

PATIENCE = 5.0  # seconds for one look
LOOK_SECONDS = 600.0  # between two looks when every server showed its certificate
SOON_SECONDS = 60.0  # when one did not
POSTGRES_TLS = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"  # SSLRequest: a length and a code

Address = tuple[str, int]


class Peer(NamedTuple):
    """Servers that count as one, under the label `name`; `postgres` ones begin in the clear."""

    name: str
    addresses: Callable[[], Sequence[Address]]
    postgres: bool = False


def peers(settings: CommonSettings, redis: Callable[[], Address | None]) -> list[Peer]:
    """Return the servers that a service reaches by TLS; `redis` tells where the primary is now."""
    found = []
    if settings.redis.tls_enabled:
        found.append(Peer("redis", lambda: [at] if (at := redis()) else []))
        if settings.redis.mode == SENTINEL:
            found.append(Peer("sentinel", lambda: settings.redis.sentinel_addresses))
    if isinstance(settings, (AlerterSettings, MoogForwarderSettings, WebUiSettings)) and settings.db.tls_enabled:
        found.append(Peer("postgres", lambda: [(settings.db.host, settings.db.port)], postgres=True))
    urls = {"vault": settings.vault.addr}
    if isinstance(settings, MoogForwarderSettings):
        urls["moogsoft"] = settings.webhook_url
    if isinstance(settings, WebUiSettings):
        urls["prometheus"] = settings.prometheus_url
    return found + [_by_url(name, url) for name, url in urls.items() if url and url.startswith("https:")]


async def watch(watched: Sequence[Peer], ends: Gauge) -> None:
    """Keep the gauge at the end of each peer's certificate, the earliest where there are several, until cancelled."""
    while True:
        seen = [await _look(peer, ends) for peer in watched]
        await asyncio.sleep((LOOK_SECONDS if all(seen) else SOON_SECONDS) * random.uniform(0.8, 1))


async def presented(address: Address, *, postgres: bool = False) -> "x509.Certificate":
    """Return the certificate that a server shows, whoever signed it and however old it is; raises OSError.

    Nothing is said over this connection, so that nobody learns anything who should not.
    """
    from cryptography import x509  # a service without TLS starts without it

    anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anybody.check_hostname = False
    anybody.verify_mode = ssl.CERT_NONE
    return x509.load_der_x509_certificate(await handshake(address, anybody, postgres=postgres))


async def handshake(address: Address, context: ssl.SSLContext, *, postgres: bool = False) -> bytes:
    """Shake hands, hang up, and return the server's certificate; raises OSError, ssl's own among them."""
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(PATIENCE):
            if postgres:
                reader, writer = await asyncio.open_connection(*address)
                writer.write(POSTGRES_TLS)
                if await reader.readexactly(1) != b"S":
                    raise ssl.SSLError(0, f"the server {NO_TLS}")
                await writer.start_tls(context, server_hostname=address[0])
            else:
                _, writer = await asyncio.open_connection(*address, ssl=context, server_hostname=address[0])
            shown: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            return shown
    except asyncio.IncompleteReadError as error:
        raise ConnectionResetError("the server hung up") from error
    finally:
        if writer is not None:
            writer.close()
            with suppress(OSError, TimeoutError):
                await asyncio.wait_for(writer.wait_closed(), PATIENCE)


async def _look(peer: Peer, ends: Gauge) -> bool:
    """Set the gauge; returns whether every server of the peer showed its certificate."""
    addresses = peer.addresses()
    found = []
    for address in addresses:
        with suppress(OSError, ValueError):
            found.append(await presented(address, postgres=peer.postgres))
    if found:
        ends.labels(peer.name).set(min(each.not_valid_after_utc.timestamp() for each in found))
    return len(found) == len(addresses) > 0


def _by_url(name: str, url: str) -> Peer:
    parts = urlsplit(url)
    return Peer(name, lambda: [(parts.hostname or "", parts.port or 443)])
