"""Syslog lines as devices send them."""

import socket
from collections.abc import Iterable

from scripts.devtools.services import HOST
from tests.harness.waiting import wait_for
from tests.integrations.stage import Running


def rfc5424(severity: int, host: str, message: str, time: str) -> bytes:
    """Return a line of RFC 5424, facility local7."""
    return f"<{23 * 8 + severity}>1 {time} {host} app 4711 ID1 - {message}".encode()


def rfc3164(severity: int, host: str, tag: str, message: str, time: str) -> bytes:
    """Return a line of RFC 3164, facility local7."""
    return f"<{23 * 8 + severity}>{time} {host} {tag} {message}".encode()


def send_tcp(port: int, lines: Iterable[bytes]) -> None:
    """Send lines with their lengths before them (RFC 6587), so that one may hold line feeds."""
    with connected(port) as connection:
        connection.sendall(b"".join(b"%d %s" % (len(line), line) for line in lines))


def send_udp(port: int, lines: Iterable[bytes]) -> None:
    """Send a datagram a line."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for line in lines:
            sender.sendto(line, (HOST, port))


def connected(port: int, receiver: Running | None = None) -> socket.socket:
    """Connect as soon as the receiver listens; fails with what it printed, and at once when it has ended."""
    made: list[socket.socket] = []

    def look() -> bool:
        try:
            made.append(socket.create_connection((HOST, port), timeout=20))
        except ConnectionRefusedError:
            if receiver is not None and receiver.process.poll() is not None:
                raise AssertionError(f"it ended with {receiver.process.returncode}") from None
            return False
        return True

    try:
        wait_for(look, f"a listener on port {port}")
    except AssertionError as error:
        raise AssertionError(f"{error}; it printed:\n{receiver.log()[-4000:] if receiver else '?'}") from None
    return made[0]
