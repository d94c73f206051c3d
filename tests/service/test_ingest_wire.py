"""The ingestor's own connection to Redis, against a server that answers whatever it is told to."""

import asyncio
import gc
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio.connection import Connection, DefaultParser
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    InvalidResponse,
    NoScriptError,
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from mutt.server_settings import RedisSettings
from services import redis_connector
from services.ingestor import commit
from services.ingestor import line as line_module
from services.ingestor.line import FEW, Line
from services.ingestor.wire import Wire
from services.protocol.script import beside
from services.runtime.secrets import EnvironmentSecrets
from tests.harness.waiting import eventually

PATIENCE = 60.0  # seconds
PUSH = beside(commit.__file__, "push")
PUSHED = b"*3\r\n:0\r\n:12\r\n:-1\r\n"


class Server(asyncio.Protocol):
    """Keeps what it is sent; answers by hand."""

    received = b""
    is_over = False
    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, _exc: Exception | None) -> None:
        self.is_over = True

    def data_received(self, data: bytes) -> None:
        self.received += data

    def answer(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.transport.write(piece)


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Wire, Server]]:
    loop, server = asyncio.get_running_loop(), Server()
    listening = await loop.create_server(lambda: server, "127.0.0.1", 0)
    async with listening:
        transport, _ = await loop.create_connection(asyncio.Protocol, *listening.sockets[0].getsockname())
        wire = Wire(transport, DefaultParser.parse_error)
        await eventually(lambda: hasattr(server, "transport"), "the connection")
        yield wire, server
        transport.close()
        server.transport.close()


@asynccontextmanager
async def pushing(asked: Callable[[Server], None]) -> AsyncIterator[tuple[Line, list[Server]]]:
    """Give a line to a server that does `asked` at each push, and the server's ends of its connections."""
    servers: list[Server] = []

    class Pushed(Server):
        def data_received(self, data: bytes) -> None:
            if not self.received:
                servers.append(self)
            self.received += data
            if b"EVALSHA" in data:
                asked(self)
            elif b"EVALSHA" not in self.received:
                self.answer(b"+OK\r\n" * data.count(b"*"))

    listening = await asyncio.get_running_loop().create_server(Pushed, "127.0.0.1", 0)
    async with listening:
        settings = RedisSettings(port=listening.sockets[0].getsockname()[1], tls_enabled=False)
        client = redis_connector.connect(settings, EnvironmentSecrets({"REDIS_PASS_CURRENT": "a password"}))
        line = Line(client, settings, lambda: 0)
        try:
            yield line, servers
        finally:
            await line.drop()
            await redis_connector.close(client)


async def test_the_replies_to_a_question_are_lists_and_integers() -> None:
    async with connected() as (wire, server):
        for depth in (1, 2):
            wire.send(b"push", 2)
            await eventually(lambda depth=depth: server.received == b"push" * depth, "the question")  # type: ignore[misc]
            server.answer(PUSHED, b":1\r\n")
            assert await wire.replies(PATIENCE) == [[0, 12, -1], 1]
        assert not wire.is_lost


@given(st.lists(st.integers(1, len(PUSHED * 2) - 1), max_size=4, unique=True))
def test_replies_in_any_pieces_are_the_same_replies(cuts: list[int]) -> None:
    data, at = PUSHED * 2, [0, *sorted(cuts), len(PUSHED * 2)]
    pieces = [data[begin:end] for begin, end in itertools.pairwise(at)]

    async def ask() -> list[object]:
        async with connected() as (wire, _):
            wire.send(b"push", 2)
            for piece in pieces:
                wire.data_received(piece)
            return await wire.replies(PATIENCE)

    assert asyncio.run(ask()) == [[0, 12, -1]] * 2


async def test_an_error_is_a_reply_like_any_other() -> None:
    async with connected() as (wire, server):
        wire.send(b"push", 2)
        server.answer(b"-NOSCRIPT No matching script.\r\n-ERR \xff\r\n")
        first, second = await wire.replies(PATIENCE)
        assert isinstance(first, NoScriptError)
        assert isinstance(second, ResponseError)
        assert not wire.is_lost


@pytest.mark.parametrize(
    "data", [b"$1\r\nx\r\n", b"*1\r\n+OK\r\n", b"HTTP/1.1 400\r\n", b":x\r\n", b"*-1\r\n", b"\r\n"]
)
async def test_what_is_no_reply_to_a_push_is_an_error(data: bytes) -> None:
    async with connected() as (wire, server):
        wire.send(b"push", 1)
        server.answer(data)
        with pytest.raises(InvalidResponse):
            await wire.replies(PATIENCE)


async def test_a_reply_that_does_not_come_in_time_is_a_timeout() -> None:
    async with connected() as (wire, _):
        wire.send(b"push", 1)
        with pytest.raises(RedisTimeoutError):
            await wire.replies(0.01)


async def test_a_connection_that_ends_tells_whoever_waits_and_takes_nothing_more() -> None:
    async with connected() as (wire, server):
        wire.send(b"push", 1)
        await eventually(lambda: server.received == b"push", "the question")
        server.transport.close()
        with pytest.raises(RedisConnectionError):
            await wire.replies(PATIENCE)
        assert wire.is_lost
        with pytest.raises(RedisConnectionError):
            wire.send(b"push", 1)


@pytest.mark.parametrize("asked", [True, False])
async def test_a_reply_that_nobody_asked_for_makes_the_connection_untrusted(asked: bool) -> None:
    async with connected() as (wire, server):
        if asked:
            wire.send(b"push", 1)
            server.answer(PUSHED + b":1\r\n")
            assert await wire.replies(PATIENCE) == [[0, 12, -1]]
        else:
            server.answer(b":1\r\n")
        await eventually(lambda: wire.is_lost, "the end of trust")


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"LOADING Redis is loading the dataset in memory", BusyLoadingError),
        (b"NOAUTH Authentication required.", AuthenticationError),
        (b"READONLY You can't write against a read only replica.", ReadOnlyError),
        (b"MISCONF Errors writing to the AOF file", ResponseError),
    ],
)
async def test_whatever_redis_says_instead_of_pushing_is_an_error_of_redis(said: bytes, error: type[Exception]) -> None:
    """Whoever sent the events is asked to come again then; of any other error it would be told that it may not."""
    async with pushing(lambda server: server.answer(b"-" + said + b"\r\n")) as (line, servers):
        for _ in range(2):
            with pytest.raises(error):
                await line.call(PUSH, ["a queue"], [1])
        # One that may never again do what is asked is not asked again.
        assert len(servers) == (1 if error is ResponseError else 2)


@pytest.mark.parametrize("is_there", [True, False])
@pytest.mark.parametrize("more", [1, 2 * FEW])
async def test_a_push_is_packed_as_the_client_packs_it(
    more: int, is_there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With hiredis, or on a processor that its wheel does not run on."""
    if not is_there:
        monkeypatch.setattr(line_module, "_pack_fast", None)
    arguments = [7, "text", b"\xff\r\n", *range(more)]
    async with pushing(lambda server: server.answer(PUSHED)) as (line, servers):
        assert await line.call(PUSH, ["a queue"], arguments) == [0, 12, -1]
        sent = Connection().pack_command("EVALSHA", PUSH.digest, 1, "a queue", *arguments)
        assert servers[0].received.endswith(b"\r\n" + b"".join(sent))


async def test_an_error_of_redis_keeps_nothing_of_the_push_in_memory() -> None:
    """A Redis with a full disk says so at each push: what is held until garbage is collected would be all of them."""
    async with pushing(lambda server: server.answer(b"-MISCONF Errors writing to the AOF file\r\n")) as (line, _):
        gc.disable()
        try:
            with suppress(ResponseError):
                await line.call(PUSH, ["a queue"], [1])
            assert [each for each in gc.get_objects() if type(each) is ResponseError] == []
        finally:
            gc.enable()


async def test_what_is_left_of_a_push_that_is_given_up_is_not_sent_any_more() -> None:
    """It would be held until Redis reads again, and be pushed then."""
    event = b"x" * (32 << 20)  # far more than the kernel takes
    async with pushing(lambda server: server.transport.pause_reading()) as (line, servers):
        push = asyncio.create_task(line.call(PUSH, ["a queue"], [event]))
        await eventually(lambda: bool(servers) and b"EVALSHA" in servers[0].received, "a part of the push")
        push.cancel()
        with pytest.raises(asyncio.CancelledError):
            await push
        servers[0].transport.resume_reading()
        await eventually(lambda: servers[0].is_over, "the end of the connection")
        assert len(servers[0].received) < len(event)
