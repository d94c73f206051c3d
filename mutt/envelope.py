"""MUTT's own fields in one object `_mutt` in front of each entry, changed without touching the rest.

An entry is JSON that begins with `{"_mutt":{`. What stands behind `_mutt` is moved byte for byte by every hop, so
numbers, member order and members that a newer version added survive.
"""

from typing import Any

import msgspec

from mutt.errors import EntryError

VERSION = 1
PREFIX = b'{"_mutt":'
OPENING = PREFIX + b"{"
_WHITESPACE = b" \t\r\n"


class LastError(msgspec.Struct, omit_defaults=True):
    """Why an entry failed last; `at` is UTC with microseconds."""

    type: str
    message: str
    at: str


class Envelope(msgspec.Struct, omit_defaults=True):
    """The members of `_mutt` that this version knows; timestamps are UTC, microseconds, `Z`."""

    event_id: str
    received_at: str
    event_timestamp: str = ""
    v: int = VERSION
    retry_count: int = 0
    first_failed_at: str | None = None
    last_error: LastError | None = None
    remediation_attempts: int = 0
    shedding_reason: str | None = None
    replaces: str | None = None
    traceparent: str | None = None
    sanitized: bool = False
    error: str | None = None


class _Members(msgspec.Struct):
    mutt: msgspec.Raw = msgspec.field(name="_mutt")


_split = msgspec.json.Decoder(_Members)
_open = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode


def split_entry(entry: bytes) -> tuple[bytes, bytes]:
    """Return the bytes of `_mutt` and those of the rest as an object of its own.

    Raises EntryError where the entry is no JSON object that begins with `_mutt`.
    """
    if not entry.startswith(OPENING):
        raise EntryError(f"an entry begins with {OPENING.decode()}, this one with {entry[:20]!r}")
    try:
        mutt = bytes(_split.decode(entry).mutt)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EntryError(f"an entry is one JSON object, this is not: {error}") from error
    end = len(PREFIX) + len(mutt)
    if entry[len(PREFIX) : end] != mutt:
        raise EntryError("an entry has one `_mutt`, this one has several")
    rest = entry[end:].lstrip(_WHITESPACE)
    if rest.startswith(b","):
        return mutt, b"{" + rest[1:]
    return mutt, b"{" + rest


def join_entry(mutt: bytes, rest: bytes) -> bytes:
    """Return the entry that `split_entry` takes apart into these two objects."""
    members = rest[1:].lstrip(_WHITESPACE)
    return PREFIX + mutt + (members if members.startswith(b"}") else b"," + members)


def amend(entry: bytes, **changes: Any) -> bytes:
    """Return the entry with members of `_mutt` set, or removed where the value is None; all else byte for byte."""
    mutt, rest = split_entry(entry)
    return join_entry(amend_envelope(mutt, changes), rest)


def amend_envelope(mutt: bytes, changes: dict[str, Any]) -> bytes:
    """Return the bytes of a `_mutt` object with members set, or removed where the value is None."""
    try:
        members = _open.decode(mutt)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EntryError(f"`_mutt` is not readable: {error}") from error
    for name, value in changes.items():
        if value is None:
            members.pop(name, None)
        else:
            members[name] = msgspec.Raw(_encode(value))
    return _encode(members)


def failed(entry: bytes, *, error_type: str, message: str, at: str, retry_count: int) -> bytes:
    """Return the entry with this failure on record; the time of its first failure stays."""
    mutt, rest = split_entry(entry)
    changes: dict[str, Any] = {
        "retry_count": retry_count,
        "last_error": LastError(error_type, message, at),
    }
    if b'"first_failed_at"' not in mutt:
        changes["first_failed_at"] = at
    return join_entry(amend_envelope(mutt, changes), rest)
