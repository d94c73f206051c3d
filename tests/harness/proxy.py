"""A TCP proxy between a service and one of its servers, for the faults that no server can be asked for.

proxy.url                       the server's URL with the proxy's port in it
proxy.lose_reply(b"EVALSHA")    the next request that holds these bytes is executed, its reply is lost
proxy.cut() / proxy.mend()      all connections are reset and new ones refused / accepted again
proxy.hang() / proxy.mend()     nothing passes in either direction, connections stay open
"""

import contextlib
import re
import socket
import struct
import threading
from types import TracebackType
from typing import Self

from scripts.devtools.embedded import HOST, free_port

CHUNK = 1 << 16
RESET = struct.pack("ii", 1, 0)  # linger 0: close() sends RST


class _Pair:
    """One connection of a client and its twin to the server."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        self.losing = False

    def reset(self) -> None:
        for end in (self.client, self.server):
            _reset(end)


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
        self._listener: socket.socket | None = None
        self.lost = threading.Event()
        # Not one of the system's choice: while the proxy is cut, an outgoing connection might be given it.
        self.port = free_port()
        self._listen()
        self.url = url.replace(f":{self._target}/", f":{self.port}/")

    def lose_reply(self, marker: bytes) -> None:
        """Let the next request that holds `marker` be executed, and reset its connection instead of the reply."""
        self.lost.clear()
        self._marker = marker

    def cut(self) -> None:
        """Reset all connections and refuse new ones."""
        if self._listener is not None:
            _reset(self._listener)
            self._listener = None
        for pair in list(self._pairs):
            pair.reset()

    def hang(self) -> None:
        """Let nothing pass."""
        self._flowing.clear()

    def mend(self) -> None:
        """Undo `cut` and `hang`."""
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
            if self._marker is not None and self._marker in data:
                self._marker, pair.losing = None, True
            if not _send(pair.server, data):
                break
        self._forget(pair)

    def _replies(self, pair: _Pair) -> None:
        while data := _receive(pair.server):
            self._flowing.wait()
            if pair.losing:
                self._forget(pair)
                self.lost.set()
                return
            if not _send(pair.client, data):
                break
        self._forget(pair)

    def _forget(self, pair: _Pair) -> None:
        self._pairs.discard(pair)
        pair.reset()


def _receive(end: socket.socket) -> bytes:
    try:
        return end.recv(CHUNK)
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
