"""Moogsoft's webhook: its name, its port, its certificate. Nothing is posted."""

import asyncio
import socket
from urllib.parse import urlsplit

from mutt.findings import Finding, ok, problem
from mutt.settings import MoogForwarderSettings
from mutt.tls_faults import Server, explain
from services.runtime.certificates import PATIENCE, handshake
from services.runtime.trust import authorities

CA_VARIABLE = "MOOG_CA_CERT_PATH"


async def examine(settings: MoogForwarderSettings) -> list[Finding]:
    """Return what was found; raises SettingsError when the file of the authority is of no use."""
    parts = urlsplit(settings.webhook_url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    at = f"{host}:{port}"
    try:
        await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        return [problem("moogsoft", f"{host} has no address ({error})", "mend MOOG_WEBHOOK_URL, or the name server")]
    try:
        if secure:
            await handshake((host, port), authorities(settings.ca_cert_path, CA_VARIABLE))
        else:
            async with asyncio.timeout(PATIENCE):
                _, writer = await asyncio.open_connection(host, port)
            writer.close()
    except (OSError, TimeoutError) as error:
        told = explain(str(error), Server("Moogsoft", at, "MOOG_WEBHOOK_URL", CA_VARIABLE))
        remedy = "do that" if told else "mend MOOG_WEBHOOK_URL, or the way there (firewall, proxy)"
        return [problem("moogsoft", told or f"{at} cannot be reached ({str(error) or 'no answer in time'})", remedy)]
    return [ok("moogsoft", f"{at} reached; nothing was sent")]
