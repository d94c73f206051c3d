"""Wraps requests over HTTP that change something, and what changes a folder."""

import asyncio
import io
import os
import sys
from typing import Any

import aiohttp
import pyarrow.fs
from aiohttp.client_reqrep import ClientResponse

from tests.chaos.killer import Killer, Visit
from tests.chaos.points import AFTER, BEFORE, SENT

ANSWER_SECONDS = 0.1  # after which a request that was sent has arrived, on this machine


def wrap_http(killer: Killer) -> None:
    """Wrap requests that change something at the other side."""
    request, start = aiohttp.ClientSession._request, ClientResponse.start
    sent: list[Visit] = []

    async def wrapped(self: Any, method: str, *args: Any, **options: Any) -> Any:
        if method.upper() in {"GET", "HEAD"}:
            return await request(self, method, *args, **options)
        step = killer.comes_to(f"HTTP {method.upper()}", sys._getframe(1))
        killer.at(step, BEFORE)
        if step is not None and killer.is_at(step, SENT):
            sent.append(step)
        try:
            return await request(self, method, *args, **options)
        finally:
            killer.at(step, AFTER)

    async def started(self: Any, *args: Any) -> Any:
        if sent:
            await asyncio.sleep(ANSWER_SECONDS)
            killer.at(sent[0], SENT)
        return await start(self, *args)

    aiohttp.ClientSession._request = wrapped  # type: ignore[method-assign]
    ClientResponse.start = started  # type: ignore[method-assign,assignment]


def wrap_files(killer: Killer) -> None:
    """Wrap what changes a folder."""

    def wrap(owner: Any, name: str, effect: str) -> None:
        original = getattr(owner, name)

        def wrapped(*args: Any, **options: Any) -> Any:
            step = killer.comes_to(effect, sys._getframe(1))
            killer.at(step, BEFORE)
            try:
                return original(*args, **options)
            finally:
                killer.at(step, AFTER)

        setattr(owner, name, wrapped)

    for name in ("replace", "rename", "fsync", "mkdir", "rmdir", "unlink", "remove", "truncate"):
        wrap(os, name, f"file {name}")
    plain = io.open

    def opened(file: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
        step = killer.comes_to("file open", sys._getframe(1)) if set(mode) & set("wax+") else None
        killer.at(step, BEFORE)
        done = plain(file, mode, *args, **options)
        killer.at(step, AFTER)
        return done

    io.open = opened

    class Folder(pyarrow.fs.LocalFileSystem):  # type: ignore[misc]
        def delete_file(self, path: str) -> None:
            step = killer.comes_to("file delete", sys._getframe(1))
            killer.at(step, BEFORE)
            super().delete_file(path)
            killer.at(step, AFTER)

    pyarrow.fs.LocalFileSystem = Folder
