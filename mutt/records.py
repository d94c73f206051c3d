"""One record of a body, read the way real senders write it: clean JSON fast, dirty syslog text with care."""

import json
import re
from typing import Any

import msgspec

from mutt.errors import MuttError

REPLACEMENT = "\ufffd"
# PostgreSQL's text and jsonb hold neither of these; JSON can spell both.
_FORBIDDEN = re.compile("[\x00\ud800-\udfff]")
_NOT_CLEAN = (msgspec.DecodeError, UnicodeDecodeError)
UNREADABLE = (*_NOT_CLEAN, RecursionError)

decode_object = msgspec.json.Decoder(dict[str, Any]).decode


class RecordError(MuttError):
    """A record or body that is not taken; `reason` is the metric's label: json, validation or too_large.

    `kept` is what the quarantine keeps instead of the record's own bytes: what another protocol's record means.
    """

    def __init__(self, reason: str, message: str, records: int = 1) -> None:
        self.reason = reason
        self.records = records
        self.kept: bytes | None = None
        super().__init__(message)


class Record(msgspec.Struct, frozen=True, gc=False):
    """A record's fields; `clean` means that its bytes as received may stand in a queue entry as they are.

    `origin` is what tells it from a record of the same bytes elsewhere: other protocols say once for many records, or
    not at all, which host they are of.
    """

    fields: dict[str, Any]
    clean: bool
    sanitized: bool
    traceparent: str | None = None
    origin: bytes = b""


def decode_record(raw: bytes, max_depth: int) -> Record:
    """Read one JSON object; raises RecordError (json) where no reading makes sense of it."""
    try:
        fields = decode_object(raw)
    except RecursionError:
        raise _too_deep(max_depth) from None
    except _NOT_CLEAN:
        return _decode_dirty(raw, max_depth)
    # No record is deeper than it has opening brackets, which are quicker to count than levels.
    nested = raw.find(b"{", 1) >= 0 or b"[" in raw
    if nested and raw.count(b"{") + raw.count(b"[") > max_depth and _depth(fields) > max_depth:
        raise _too_deep(max_depth)
    if b"\\" in raw and b"\\u0000" in raw:
        return made_record(fields)
    return Record(fields, clean=True, sanitized=False)


def made_record(
    fields: dict[str, Any], *, sanitized: bool = False, traceparent: str | None = None, origin: bytes = b""
) -> Record:
    """Return the record that another protocol's fields are; what PostgreSQL cannot hold is replaced."""
    made = _without_forbidden(fields)
    return Record(made, clean=False, sanitized=sanitized or made != fields, traceparent=traceparent, origin=origin)


def is_record(raw: bytes, max_depth: int) -> bool:
    """Say whether `decode_record` can read these bytes."""
    try:
        decode_record(raw, max_depth)
    except RecordError:
        return False
    return True


def _decode_dirty(raw: bytes, max_depth: int) -> Record:
    text = raw.decode("utf-8", "replace").replace("\x00", REPLACEMENT)
    try:
        # strict=False takes raw control characters in strings, as a careless template writes them.
        fields = json.loads(text, strict=False, parse_int=_integer, parse_float=_float, parse_constant=_refuse_constant)
    except RecursionError:
        raise _too_deep(max_depth) from None
    except ValueError as error:
        raise RecordError("json", f"not valid JSON: {error}") from error
    if not isinstance(fields, dict):
        raise RecordError("json", f"an event is a JSON object, not {_kind(fields)}")
    if _depth(fields) > max_depth:
        raise _too_deep(max_depth)
    replaced = REPLACEMENT in text and text.encode() != raw
    return made_record(fields, sanitized=replaced)


def _without_forbidden(value: Any) -> Any:
    if isinstance(value, str):
        return _FORBIDDEN.sub(REPLACEMENT, value)
    if isinstance(value, list):
        return [_without_forbidden(item) for item in value]
    if isinstance(value, dict):
        return {_FORBIDDEN.sub(REPLACEMENT, name): _without_forbidden(item) for name, item in value.items()}
    return value


def _depth(value: Any) -> int:
    depth = 0
    level = [value]
    while level:
        depth += 1
        inner: list[Any] = []
        for item in level:
            children = item.values() if isinstance(item, dict) else item
            inner.extend(child for child in children if isinstance(child, dict | list))
        level = inner
    return depth


def _integer(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:  # more digits than Python converts; no column or reader takes such a number
        return text


def _float(text: str) -> float | str:
    number = float(text)
    return text if number in (float("inf"), float("-inf")) else number


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value")


def _kind(value: Any) -> str:
    return {list: "an array", str: "a string", bool: "true or false", type(None): "null"}.get(type(value), "a number")


def _too_deep(max_depth: int) -> RecordError:
    return RecordError("json", f"nested more than {max_depth} levels deep")
