"""Wraps requests over HTTP that change something, and what changes a folder."""

import io
import os
import sys
from typing import Any

import pyarrow.fs

from services.moog_forwarder.connection import Connection, Heard, Reply
from services.moog_forwarder.session import Session
from tests.chaos.killer import Killer, Visit
from tests.chaos.points import AFTER, BEFORE, SENT


def wrap_http(killer: Killer) -> None:
    """Wrap requests that change something at the other side."""
    post, received = Session.post, Connection.data_received
    sent: list[Visit] = []

    def posted(self: Session, head: bytes, body: bytes, heard: Heard) -> None:
        step = killer.comes_to("HTTP POST", sys._getframe(1))
        killer.at(step, BEFORE)
        if step is not None and killer.is_at(step, SENT):
            sent.append(step)

        def hear(reply: Reply | Exception) -> None:
            killer.at(step, AFTER)
            heard(reply)

        post(self, head, body, hear)

    def started(self: Connection, data: bytes) -> None:
        if sent:
            killer.at(sent[0], SENT)
        received(self, data)

    Session.post = posted  # type: ignore[method-assign]
    Connection.data_received = started  # type: ignore[method-assign]


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
