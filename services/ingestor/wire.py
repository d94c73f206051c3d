"""A connection to Redis without the client: bytes out, integers in, which is all that a push is answered with."""

import asyncio
from collections.abc import Callable
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError


class Wire(asyncio.Protocol):
    """Has one question under way; `transport` is of a connection that has been made and checked."""

    def __init__(self, transport: asyncio.Transport, error_of: Callable[[str], Exception]) -> None:
        self._transport = transport
        self._error_of = error_of  # what the client makes of an error's text
        self._buffer = b""
        self._wanted = 0
        self._answer: asyncio.Future[list[Any]] | None = None
        self.is_lost = False
        transport.set_protocol(self)

    def send(self, data: bytes, wanted: int) -> None:
        """Send what is answered by so many replies; raises redis.exceptions.ConnectionError when there is nobody."""
        if self.is_lost or self._transport.is_closing():
            raise RedisConnectionError("Redis has closed the connection")
        self._buffer = b""
        self._wanted, self._answer = wanted, asyncio.get_running_loop().create_future()
        self._transport.write(data)

    async def replies(self, within: float) -> list[Any]:
        """Return the replies to what was sent, `within` seconds: lists, integers, and errors, which are answers too.

        Raises redis.exceptions.ConnectionError or TimeoutError, after which the connection is of no use any more.
        """
        assert self._answer is not None  # noqa: S101  (something was sent)
        deadline = asyncio.get_running_loop().call_later(within, self._fail, RedisTimeoutError)
        try:
            return await self._answer
        finally:
            deadline.cancel()
            self._answer = None

    def end(self) -> None:
        """End the connection at once: what has not gone yet of a push that is given up must not follow."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take a piece of the replies."""
        answer = self._answer
        if answer is None or answer.done():
            self.is_lost = True  # nobody asked: which question the next reply would belong to is unknown
            return
        self._buffer += data
        if not self._buffer.endswith(b"\r\n"):
            return
        try:
            replies = self._parse(self._buffer.split(b"\r\n"))
        except ValueError as error:
            answer.set_exception(InvalidResponse(f"Redis sent what is no reply to a push: {error}"))
        else:
            if len(replies) >= self._wanted:
                answer.set_result(replies[: self._wanted])
                self.is_lost = self.is_lost or len(replies) > self._wanted

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits that no reply comes."""
        self.is_lost = True
        self._fail(RedisConnectionError, f"Redis has closed the connection: {exc or 'it was ended in order'}")

    def _fail(self, kind: type[RedisError], words: str = "Redis did not answer in time") -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(kind(words))

    def _parse(self, lines: list[bytes]) -> list[Any]:
        """Return the replies that are complete; raises ValueError where a line is none of a push's."""
        found: list[Any] = []
        at, end = 0, len(lines) - 1
        while at < end:
            line = lines[at]
            at += 1
            kind, rest = line[:1], line[1:]
            if kind == b":":
                found.append(int(rest))
            elif kind == b"-":
                found.append(self._error_of(rest.decode("utf-8", "replace")))
            elif kind == b"*" and rest.isdigit():
                size = int(rest)
                if at + size > end:
                    break
                found.append([self._integer(item) for item in lines[at : at + size]])
                at += size
            else:
                raise ValueError(line[:60])
        return found

    @staticmethod
    def _integer(line: bytes) -> int:
        if not line.startswith(b":"):
            raise ValueError(line[:60])
        return int(line[1:])
