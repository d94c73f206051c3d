"""Bodies posted once each over a few connections, and which of them were acknowledged; ends when the server is gone."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

CONNECTIONS = 4


class Poster:
    """Sends from the start of the block on, in threads of this process."""

    def __init__(self, url: str, bodies: Sequence[bytes], headers: Mapping[str, str]) -> None:
        self._url, self._bodies = urlsplit(url), bodies
        self._headers = {"Content-Type": "application/json", **headers}
        self._threads = ThreadPoolExecutor(CONNECTIONS)
        self._runs: list[Future[None]] = []
        self.acknowledged: set[int] = set()  # places in `bodies`

    def __enter__(self) -> Self:
        self._runs = [self._threads.submit(self._send, first) for first in range(CONNECTIONS)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown()
        for run in self._runs:
            run.result()

    @property
    def ended(self) -> bool:
        """Tell whether nothing is sent any more."""
        return all(run.done() for run in self._runs)

    def _send(self, first: int) -> None:
        connection = HTTPConnection(self._url.hostname or "127.0.0.1", self._url.port, timeout=60)
        try:
            for place in range(first, len(self._bodies), CONNECTIONS):
                connection.request("POST", self._url.path, self._bodies[place], self._headers)
                answer = connection.getresponse()
                answer.read()
                if answer.status != HTTPStatus.OK:
                    return  # it refuses: what is behind it has been killed
                self.acknowledged.add(place)
        except (OSError, HTTPException):
            return  # it was killed
        finally:
            connection.close()
