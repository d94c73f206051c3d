"""Single events that came in one round of the event loop, read together: one time of receipt, one pass over all."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from mutt.intake import Accepted, Receipt
from services.logging_utils import get_logger

log = get_logger(__name__)


class Gathered(Protocol):
    """A request for one plain event, as far as its head and its first and last byte tell."""

    def read(self, body: bytes) -> None:
        """Read it by itself."""

    def hold(self, event: Accepted) -> None:
        """Keep its event, which is pushed next."""

    def fail(self, error: Exception) -> None:
        """Answer that it could not be pushed."""


Together = Callable[[Sequence[bytes], Receipt], Sequence[Accepted | None]]


class Gathering:
    """What has come since the last round; `read` reads bodies together, None for one that has to be read by itself."""

    def __init__(
        self, read: Together, push: Callable[..., None], unix_us: Callable[[], int], may: Callable[[], bool]
    ) -> None:
        self._read = read
        self._push = push
        self._unix_us = unix_us
        self._may = may
        self._requests: list[Gathered] = []
        self._bodies: list[bytes] = []

    def add(self, request: Gathered, body: bytes) -> None:
        """Have a request read at the end of this round."""
        if not self._requests:
            asyncio.get_running_loop().call_soon(self._round)
        self._requests.append(request)
        self._bodies.append(body)

    def _round(self) -> None:
        requests, bodies = self._requests, self._bodies
        self._requests, self._bodies = [], []
        held: list[Gathered] = []
        for request, body, event in zip(requests, bodies, self._events(bodies), strict=True):
            if event is None:
                request.read(body)
            else:
                request.hold(event)
                held.append(request)
        if held:
            self._submit(held)

    def _submit(self, held: Sequence[Gathered]) -> None:
        try:
            self._push(*held)
        except Exception as error:  # noqa: BLE001  (a process boundary: every failure becomes a reply)
            for request in held:
                request.fail(error)

    def _events(self, bodies: Sequence[bytes]) -> Sequence[Accepted | None]:
        if self._may():
            try:
                return self._read(bodies, Receipt(self._unix_us()))
            except Exception:  # (whoever is at fault is found when each is read by itself)
                log.exception("requests could not be read together")
        return [None] * len(bodies)
