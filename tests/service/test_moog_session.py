"""The forwarder's own HTTP client on a real socket: what servers do to it, and that no request goes out twice."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import psutil
import pytest

from services.moog_forwarder import session as module
from services.moog_forwarder.connection import ANSWER_MOST, BrokenConnectionError, Reply
from services.moog_forwarder.session import Session
from tests.harness.waiting import eventually

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
HANG, CLOSE = b"hang", b"close"  # what is done instead of writing


class Server:
    """Answers the n-th request, over whichever connection, with the n-th of `script`; then with `OK`."""

    def __init__(self, script: Sequence[Sequence[bytes]]) -> None:
        self.script = list(script)
        self.requests: list[tuple[int, bytes]] = []  # with the number of their connection
        self.connections = 0
        self.writers: list[asyncio.StreamWriter] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, self.connections = self.connections, self.connections + 1
        self.writers.append(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
                self.requests.append((number, head + await reader.readexactly(length)))
                for part in self.script.pop(0) if self.script else [OK]:
                    if part == CLOSE:
                        return
                    if part == HANG:
                        await asyncio.sleep(60)
                    writer.write(part)
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def talking(*script: Sequence[bytes], patience: float = 30) -> AsyncIterator[tuple[Session, Server]]:
    server = Server(script)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    session = Session(f"http://127.0.0.1:{port}/a b?c=d#e", {"X-Fixed": "1"}, patience, ssl.create_default_context())
    try:
        yield session, server
    finally:
        session.close()
        listening.close()
        for writer in server.writers:
            writer.close()


async def post(session: Session, body: bytes = b"{}") -> Reply:
    return await posted(session, body)


def posted(session: Session, body: bytes = b"{}") -> "asyncio.Future[Reply]":
    answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

    def hear(reply: Reply | Exception) -> None:
        if answer.done():
            return
        if isinstance(reply, Exception):
            answer.set_exception(reply)
        else:
            answer.set_result(reply)

    session.post(session.head({"X-More": "2"}), body, hear)
    return answer


def peers() -> set[int]:
    """Return the ports that this process has connections to."""
    return {one.raddr.port for one in psutil.Process().net_connections() if one.raddr}


def has_come(server: Server, count: int) -> bool:
    return len(server.requests) == count


async def until_lost(session: Session) -> None:
    await eventually(lambda: not session._shared.idle, "the loss of the idle connection")


async def test_requests_are_whole_and_share_a_connection() -> None:
    async with talking() as (session, server):
        assert await post(session, b'{"a":1}') == Reply(200, None, b"{}")
        assert await post(session) == Reply(200, None, b"{}")
        assert [number for number, _ in server.requests] == [0, 0]
        lines = server.requests[0][1].split(b"\r\n")
        host = server.writers[0].get_extra_info("sockname")[1]
        assert lines == [
            b"POST /a%20b?c=d HTTP/1.1",
            f"Host: 127.0.0.1:{host}".encode(),
            b"X-Fixed: 1",
            b"X-More: 2",
            b"Content-Length: 7",
            b"",
            b'{"a":1}',
        ]


async def test_requests_at_once_have_a_connection_each() -> None:
    async with talking() as (session, server):
        assert {reply.status for reply in await asyncio.gather(*(post(session) for _ in range(5)))} == {200}
        assert server.connections == 5
        await post(session)
        assert server.connections == 5


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        (
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"2\r\n{}\r\n", b"0\r\n\r\n"],
            Reply(200, None, b"{}"),
        ),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", OK], Reply(200, None, b"{}")),
        ([b"HTTP/1.1 103 Early Hints\r\nRetry-After: 9\r\n\r\n" + OK], Reply(200, None, b"{}")),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], Reply(204, None, b"")),
        ([b"HTTP/1.1 429 No\r\nretry-after: 3\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n"], Reply(429, "3", b"")),
        ([b"HTTP/1.1 307 No\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n"], Reply(307, None, b"")),
        ([b"HTTP/1.1 2", b"00 OK\r\nContent-Le", b"ngth: 2\r\n\r\n{", b"}"], Reply(200, None, b"{}")),
        ([b"HTTP/1.1 200 OK\nServer: \x01\nContent-Length: 2\n\n{}"], Reply(200, None, b"{}")),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2  \r\n{}\r\n0\r\n\r\n"], Reply(200, None, b"{}")),
        (
            [b"HTTP/1.1 200 OK\r\nUpgrade: h2,h2c\r\nConnection: Upgrade, Keep-Alive\r\nContent-Length: 2\r\n\r\n{}"],
            Reply(200, None, b"{}"),
        ),
    ],
    ids=[
        "chunked",
        "continue",
        "hints",
        "no content",
        "retry after",
        "redirect",
        "in pieces",
        "sloppy",
        "padded",
        "h2",
    ],
)
async def test_an_answer_of_any_form_is_read_and_its_connection_goes_on(answer: list[bytes], reply: Reply) -> None:
    async with talking(answer) as (session, server):
        assert await post(session) == reply
        assert await post(session) == Reply(200, None, b"{}")
        assert [number for number, _ in server.requests] == [0, 0]


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        ([b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"], Reply(200, None, b"{}")),
        ([b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}"], Reply(200, None, b"{}")),
        ([b"HTTP/1.1 200 OK\r\n\r\n{}", CLOSE], Reply(200, None, b"{}")),
        ([b"HTTP/1.1 503 No\r\nContent-Length: 99\r\n\r\nbusy", CLOSE], Reply(503, None, b"busy")),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\nnonsense\r\n"], Reply(200, None, b"{}")),
        ([OK + OK], Reply(200, None, b"{}")),
        ([b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 2 * ANSWER_MOST, HANG], Reply(200, None, b"x" * ANSWER_MOST)),
    ],
    ids=["close", "1.0", "until its end", "cut", "broken body", "two for one", "endless"],
)
async def test_the_status_counts_whatever_becomes_of_the_body_and_the_next_request_goes_elsewhere(
    answer: list[bytes], reply: Reply
) -> None:
    async with talking(answer) as (session, server):
        assert await post(session) == reply
        assert await post(session) == Reply(200, None, b"{}")
        assert [number for number, _ in server.requests] == [0, 1]


@pytest.mark.parametrize(
    "answer",
    [
        [CLOSE],
        [b"HTTP/1.1 200 OK\r\nContent-", CLOSE],
        [b"SSH-2.0-OpenSSH\r\n", HANG],
        [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", HANG],
        [b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 2 * ANSWER_MOST, HANG],
        [b"HTTP/1.1 100 Continue\r\n\r\n", CLOSE],
    ],
    ids=["closed", "half a head", "no HTTP", "upgrade", "endless head", "only continue"],
)
async def test_no_answer_is_an_error_and_no_second_request(answer: list[bytes]) -> None:
    async with talking([OK], answer) as (session, server):
        await post(session)
        with pytest.raises(BrokenConnectionError):
            await post(session)
        assert len(server.requests) == 2
        assert await post(session) == Reply(200, None, b"{}")
        assert len(server.requests) == 3


async def test_a_server_that_says_nothing_is_not_waited_for_longer_than_is_set() -> None:
    async with talking([HANG], [b"HTTP/1.1 503 No\r\nContent-Length: 9\r\n\r\nbusy", HANG], patience=0.3) as (
        session,
        server,
    ):
        with pytest.raises(TimeoutError):
            await post(session)
        assert await post(session) == Reply(503, None, b"busy")
        assert await post(session) == Reply(200, None, b"{}")
        assert [number for number, _ in server.requests] == [0, 1, 2]


async def test_each_of_many_requests_ends_in_its_time() -> None:
    async with talking([HANG], [HANG], [HANG], patience=0.3) as (session, server):
        waiting = []
        for begun in range(1, 4):
            waiting.append(posted(session))
            await eventually(partial(has_come, server, begun), "the request")
        assert [type(end) for end in await asyncio.gather(*waiting, return_exceptions=True)] == [TimeoutError] * 3
        assert (await post(session)).status == 200


async def test_a_trailer_without_an_end_is_not_read_until_the_time_is_over() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: "
    async with talking([head + b"x" * 2 * ANSWER_MOST, HANG], patience=600) as (session, _), asyncio.timeout(30):
        assert await post(session) == Reply(200, None, b"")


async def test_a_connection_that_the_server_closed_meanwhile_is_not_used() -> None:
    async with talking() as (session, server):
        await post(session)
        server.writers[0].close()
        await until_lost(session)
        await post(session)
        assert [number for number, _ in server.requests] == [0, 1]


@pytest.mark.parametrize("fate", [b"Connection: close\r\n", b""], ids=["close", "keep-alive"])
async def test_a_connection_whose_server_answers_and_does_not_read_on_is_not_kept(fate: bytes) -> None:
    ended = asyncio.Event()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(b"HTTP/1.1 401 No\r\n" + fate + b"Content-Length: 0\r\n\r\n")
        await ended.wait()
        writer.transport.abort()

    listening = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    session = Session(f"http://127.0.0.1:{port}/", {}, 30, ssl.create_default_context())
    try:
        assert (await post(session, b"x" * 8_000_000)).status == 401
        assert not session._shared.idle
        await eventually(lambda: port not in peers(), "the end of the connection")
    finally:
        ended.set()
        listening.close()


async def test_many_who_need_an_address_at_once_ask_for_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, asked = asyncio.get_running_loop(), [0]
    look_up = loop.getaddrinfo

    async def count(*what: Any, **how: Any) -> Any:
        asked[0] += 1
        await asyncio.sleep(0)
        return await look_up(*what, **how)

    monkeypatch.setattr(loop, "getaddrinfo", count)
    async with talking() as (session, server):
        assert {reply.status for reply in await asyncio.gather(*(post(session) for _ in range(5)))} == {200}
        assert (server.connections, asked[0]) == (5, 1)


async def test_a_look_up_that_hangs_is_not_waited_for_and_not_made_again_beside_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = [0]

    async def hang(*_what: Any, **_how: Any) -> None:
        asked[0] += 1
        await asyncio.sleep(60)

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", hang)
    session = Session("http://moog.example/", {}, 0.05, ssl.create_default_context())
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await post(session)
    assert asked[0] == 1
    session.close()


async def test_what_comes_unasked_answers_no_later_request() -> None:
    async with talking() as (session, server):
        await post(session)
        server.writers[0].write(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
        await until_lost(session)
        assert (await post(session)).status == 200
        assert [number for number, _ in server.requests] == [0, 1]


async def test_a_connection_that_was_idle_for_long_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_MOST", 0.0)
    async with talking() as (session, server):
        await post(session)
        await asyncio.sleep(0.01)
        await post(session)
        assert [number for number, _ in server.requests] == [0, 1]


async def test_a_request_that_nobody_waits_for_any_more_leaves_no_answer_behind() -> None:
    async with talking([b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"]) as (session, server):
        waiting = posted(session)
        await eventually(lambda: server.requests, "the request")
        waiting.cancel()
        assert (await post(session)).status == 200


async def test_a_host_is_reached_by_its_name_and_a_refusal_is_told() -> None:
    async with talking() as (session, server):
        await post(session)
        port = server.writers[0].get_extra_info("sockname")[1]
        named = Session(f"http://localhost:{port}/", {}, 30, ssl.create_default_context())
        assert (await post(named)).status == 200
        named.close()
    with pytest.raises(OSError, match=str(port)):
        await post(named)


@pytest.mark.parametrize("host", ["moog..example", "m" * 64 + ".example"])
async def test_a_name_that_can_be_no_host_s_is_an_error_of_the_connection(host: str) -> None:
    session = Session(f"http://{host}/", {}, 30, ssl.create_default_context())
    with pytest.raises(BrokenConnectionError, match=host):
        await post(session)
