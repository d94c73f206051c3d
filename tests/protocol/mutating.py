"""A hole put into a real script for the length of a test."""

from hashlib import sha1

import pytest

from services.protocol.script import Script


def mutate(monkeypatch: pytest.MonkeyPatch, script: Script, old: str, new: str) -> None:
    """Replace words of a script, which have to stand there once."""
    text = script.source.decode()
    assert text.count(old) == 1, f"{old!r} is no longer there: put the hole where it is now"
    changed = text.replace(old, new).encode()
    monkeypatch.setattr(script, "source", changed)
    monkeypatch.setattr(script, "digest", sha1(changed, usedforsecurity=False).hexdigest())
