"""A connection of the forwarder's HTTP client: an answer that is known by its bytes is as one that was parsed."""

import asyncio
import math
import socket

from hypothesis import given, settings
from hypothesis import strategies as st

from services.moog_forwarder.connection import Connection, Reply, Shared
from tests.service.test_moog_session import OK


async def read(answers: list[list[bytes]], *, remembers: bool) -> list[tuple[Reply | str, bool]]:
    """Return what came of requests with these answers, one after another, and whether their connection was kept."""
    loop, shared, ends = asyncio.get_running_loop(), Shared(), list[tuple[Reply | str, bool]]()
    sockets = list[socket.socket]()
    try:
        for pieces in answers:
            if not shared.idle:
                own, other = socket.socketpair()
                sockets.append(other)
                await loop.create_connection(lambda: Connection(shared), sock=own)
                (connection,) = [one for one in shared.open if one.is_open and one not in shared.idle]
            else:
                connection = shared.idle.pop()
            heard: list[Reply | Exception] = []
            connection.post(b"x", math.inf, heard.append)
            for piece in pieces:
                if not remembers:
                    shared.known = None
                connection.data_received(piece)
            if not heard:
                connection.connection_lost(None)
            ends.append((heard[0] if isinstance(heard[0], Reply) else repr(heard[0]), connection in shared.idle))
            if connection not in shared.idle:
                connection.abort()
                shared.open.discard(connection)
    finally:
        for connection in shared.open:
            connection.close()
        for one in sockets:
            one.close()
    return ends


ANSWERS = [
    [OK],
    [OK[:20], OK[20:]],
    [OK[20:]],
    [b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (2 * len(OK)), OK, OK],
    [OK + OK],
    [OK + b"\r\n"],
    [OK + b"H"],
    [b"HTTP/1.1 100 Continue\r\n\r\n", OK],
    [b"HTTP/1.1 100 Continue\r\n\r\n" + OK],
    [b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"],
    [b"HTTP/1.1 503 No\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n"],
    [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
    [b"nonsense\r\n\r\n"],
]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(ANSWERS), max_size=9))
async def test_an_answer_that_is_known_by_its_bytes_is_read_as_by_the_parser(answers: list[list[bytes]]) -> None:
    assert await read(answers, remembers=True) == await read(answers, remembers=False)
