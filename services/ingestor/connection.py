"""What an exchange and its connection know of each other."""

from typing import Protocol

from services.ingestor.peers import Peer


class Connection(Protocol):
    """What an exchange asks of its connection."""

    @property
    def peer(self) -> Peer:
        """Whose connection it is."""

    def send(self, data: bytes) -> None:
        """Write, unless the sender has gone."""

    def date(self) -> bytes:
        """Return the Date header line."""

    def sender(self) -> str:
        """Return the address of the other end."""

    def finished(self, now: float, *, close: bool) -> None:
        """Go on with the connection's next request, or close it."""


class _Nobody:
    """In the place of the event that wakes an ASGI application, of which there is none here."""

    def set(self) -> None:
        """Wake nobody."""


NOBODY = _Nobody()
