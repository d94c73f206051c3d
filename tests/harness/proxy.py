"""A TCP proxy between a service and one of its servers, for the faults that no server can be asked for.

proxy.url                       the server's URL with the proxy's port in it
proxy.lose_reply(b"EVALSHA")    the next request that holds these bytes is executed, its reply is lost
proxy.cut() / proxy.mend()      all connections are reset and new ones refused / accepted again
proxy.hang() / proxy.mend()     nothing passes in either direction, connections stay open
proxy.hang_after(b"EVALSHA")    the same from the next request on that holds these bytes: its reply is the first to wait
proxy.aim(port)                 new connections go to another server, as an address that is taken over
proxy.reset()                   all connections are reset, new ones are accepted
proxy.slow(0.3) / .mend()       each reply comes late, by this much or up to twice as much
proxy.halve(5) / .mend()        of each fifth reply half is delivered, then nothing more: the connection stays open
proxy.halve(5, end=True)        the same, and the connection is ended
"""

import contextlib
import itertools
import re
import socket
import struct
import threading
from types import TracebackType
from typing import Self

from scripts.devtools.embedded import HOST, free_port

CHUNK = 1 << 16
LARGE = 1 << 22  # what is late must not be narrow too
RESET = struct.pack("ii", 1, 0)  # linger 0: close() sends RST


class _Pair:
    """One connection of a client and its twin to the server."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        self.losing = False
        self.has_led = False
        self.mute = False

    def reset(self) -> None:
        for end in (self.client, self.server):
            _reset(end)

    def halve(self, data: bytes, *, end: bool) -> None:
        """Deliver half of a reply and nothing after it."""
        self.mute = True
        if _send(self.client, data[: len(data) // 2]) and end:
            with contextlib.suppress(OSError):
                self.client.shutdown(socket.SHUT_WR)


class Proxy:
    """A proxy in front of the server at `url`, in threads of this process."""

    def __init__(self, url: str) -> None:
        port = re.search(r":(\d+)/", url.rsplit("@", 1)[-1])
        if port is None:
            raise AssertionError(f"no port in {url!r}")
        self._target = int(port[1])
        self._pairs: set[_Pair] = set()
        self._flowing = threading.Event()
        self._flowing.set()
        self._marker: bytes | None = None
        self._after = b""
        self._last: bytes | None = None
        self._delay = 0.0
        self._halving: tuple[int, bool] | None = None
        self._replied = itertools.count(1)
        self._listener: socket.socket | None = None
        self.lost = threading.Event()
        self.hung = threading.Event()
        # Not one of the system's choice: while the proxy is cut, an outgoing connection might be given it.
        self.port = free_port()
        self._listen()
        self.url = url.replace(f":{self._target}/", f":{self.port}/")

    def lose_reply(self, marker: bytes, after: bytes = b"") -> None:
        """Let the next request that holds `marker` be executed, and reset its connection instead of the reply.

        With `after`, the next one on a connection that has sent these bytes since.
        """
        self.lost.clear()
        for pair in list(self._pairs):
            pair.has_led = not after
        self._marker, self._after = marker, after

    def aim(self, port: int) -> None:
        """Lead new connections to another server; those that are open stay with theirs."""
        self._target = port

    def cut(self) -> None:
        """Reset all connections and refuse new ones."""
        if self._listener is not None:
            _reset(self._listener)
            self._listener = None
        self.reset()

    def reset(self) -> None:
        """Reset all connections, and accept new ones."""
        for pair in list(self._pairs):
            pair.reset()

    def slow(self, seconds: float) -> None:
        """Let each reply come late."""
        self._delay = seconds

    def halve(self, every: int, *, end: bool = False) -> None:
        """Deliver half of each `every`-th reply; with `end` the connection ends there, else it says nothing more."""
        self._halving = every, end

    def hang(self) -> None:
        """Let nothing pass."""
        self._flowing.clear()

    def hang_after(self, marker: bytes) -> None:
        """Let nothing pass once a request that holds `marker` has: it is executed, its reply waits for `mend`."""
        self.hung.clear()
        self._last = marker

    def mend(self) -> None:
        """Undo `cut`, `hang`, `slow` and `halve`; what has been halved stays so until its connection ends."""
        self._delay, self._halving = 0.0, None
        self._flowing.set()
        if self._listener is None:
            self._listen()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._flowing.set()
        self.cut()

    def _listen(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, self.port))
        listener.listen(128)
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection((HOST, self._target))
            except OSError:
                _reset(client)
                continue
            pair = _Pair(client, server)
            self._pairs.add(pair)
            if listener is not self._listener:  # cut meanwhile
                self._forget(pair)
                continue
            threading.Thread(target=self._requests, args=(pair,), daemon=True).start()
            threading.Thread(target=self._replies, args=(pair,), daemon=True).start()

    def _requests(self, pair: _Pair) -> None:
        while data := _receive(pair.client):
            self._flowing.wait()
            pair.has_led = pair.has_led or self._after in data
            if self._marker is not None and pair.has_led and self._marker in data:
                self._marker, pair.losing = None, True
            if self._last is not None and self._last in data:
                self._last = None
                self.hang()
                self.hung.set()
            if not _send(pair.server, data):
                break
        self._forget(pair)

    def _replies(self, pair: _Pair) -> None:
        while data := _receive(pair.server, LARGE if self._delay else CHUNK):
            self._flowing.wait()
            if self._delay:
                threading.Event().wait(self._delay)
            if pair.losing:
                self._forget(pair)
                self.lost.set()
                return
            if pair.mute:
                continue
            if self._halving and next(self._replied) % self._halving[0] == 0:
                pair.halve(data, end=self._halving[1])
                continue
            if not _send(pair.client, data):
                break
        self._forget(pair)

    def _forget(self, pair: _Pair) -> None:
        self._pairs.discard(pair)
        pair.reset()


def _receive(end: socket.socket, size: int = CHUNK) -> bytes:
    try:
        return end.recv(size)
    except OSError:
        return b""


def _send(end: socket.socket, data: bytes) -> bool:
    try:
        end.sendall(data)
    except OSError:
        return False
    return True


def _reset(end: socket.socket) -> None:
    """Close a socket so that its peer notices, and so that a thread that waits in it wakes up."""
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        end.shutdown(socket.SHUT_RD)
    end.close()
