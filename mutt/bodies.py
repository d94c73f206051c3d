"""A request's body, unpacked and cut into records, whatever its headers claim it to be."""

import re
import sys
import zlib
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from itertools import islice
from typing import NamedTuple, TypeVar

import msgspec

from mutt.records import RecordError, is_record

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
IDENTITY_CODINGS = frozenset({"", "identity"})
ZLIB_CODINGS = frozenset({"gzip", "x-gzip", "deflate"})
ZSTD_CODING = "zstd"
# A frame says how much memory its reader needs; RFC 9659 allows no more than this for HTTP.
_ZSTD_WINDOW: dict[int, int] = {zstd.DecompressionParameter.window_log_max: 23}
# Concatenated gzip files or zstd frames are one body; each costs a copy of all that follow it.
MEMBERS_MOST = 100
# An array with more commas than this is cut piece by piece: as a list, 16 MiB of [1,1,…] would be 600 MiB.
COMMAS_MOST = 1_000_000
TOKENS_MOST = 3_000_000  # strings and brackets of a body that is cut so: fields take more than 16 MiB has for so many
# One JSON object alone does not say whether it is a batch of one: for these types it is.
BATCH_TYPES = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/json-seq")

Record = TypeVar("Record", bytes, msgspec.Raw)

_WHITESPACE = b" \t\r\n"
# RFC 7464 puts a record separator before each text; syslog-ng's delimiter may be a comma.
_BETWEEN = b" \t\r\n\x1e,"
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[{}\[\]]', re.DOTALL)
_LINE = re.compile(rb"[^\n]+")
_ADJACENT = re.compile(rb"\}[ \t]*\{")

[_NEWLINE] = b"\n"  # a byte is found by its number in a tenth of the time that it takes as bytes

_array = msgspec.json.Decoder(list[msgspec.Raw])


class Body(NamedTuple):
    """The records of a body, each as its own bytes; `single` asks for the reply of a single event.

    Records that are not `nested` have no bracket but their own.
    """

    records: list[bytes]
    single: bool
    nested: bool = True


def is_one_object(body: bytes) -> bool:
    """Say whether a body is so plainly one JSON object that nothing has to be unpacked or cut.

    Nothing ends before its last byte; most senders of single events send this, and it is quick to see.
    """
    return body.find(b"}") == len(body) - 1 and body[:1] == b"{"


def is_one_line(body: bytes) -> bool:
    """Say the same of a body that may have objects within its own: no line ends, and none begins behind another."""
    return body[:1] == b"{" and body[-1:] == b"}" and _NEWLINE not in body and _ADJACENT.search(body) is None


def inflate(body: bytes, coding: str, max_bytes: int) -> bytes:
    """Return the body unpacked, gzip and zstd by their first bytes even where no header says so; raises RecordError.

    Never holds more than `max_bytes` of output, so that a small body cannot fill the memory.
    """
    is_packed = body.startswith((GZIP_MAGIC, ZSTD_MAGIC))
    if not coding and not is_packed:
        return body
    coding = coding.strip().lower()
    if coding not in IDENTITY_CODINGS | ZLIB_CODINGS | {ZSTD_CODING}:
        raise RecordError("json", f"Content-Encoding {coding!r} is not known here: send gzip, deflate, zstd or none")
    if coding in IDENTITY_CODINGS and not is_packed:
        return body
    # What the bytes are decides: some senders name another coding than they used.
    is_zstd = body.startswith(ZSTD_MAGIC) or (coding == ZSTD_CODING and not body.startswith(GZIP_MAGIC))
    parts: list[bytes] = []
    room = max_bytes
    try:
        while body:
            if len(parts) == MEMBERS_MOST:
                raise RecordError("json", f"the compressed body has over {MEMBERS_MOST} members: send it as one")
            unpacker = zstd.ZstdDecompressor(options=_ZSTD_WINDOW) if is_zstd else zlib.decompressobj(_GZIP_OR_ZLIB)
            parts.append(unpacker.decompress(body, room + 1))
            room -= len(parts[-1])
            if room < 0:
                raise RecordError("too_large", f"the unpacked body is over {max_bytes} bytes")
            if not unpacker.eof:
                raise RecordError("json", "the compressed body is cut off")
            body = unpacker.unused_data.lstrip(b"\x00")
    except (zlib.error, zstd.ZstdError) as error:
        raise RecordError("json", f"the body is not valid {coding or 'gzip or zstd'}: {error}") from error
    return b"".join(parts)


def split_body(body: bytes, content_type: str, max_records: int, max_depth: int) -> Body:
    """Cut an unpacked body into records: an array, one object, or NDJSON / concatenated JSON; raises RecordError."""
    body = body.removeprefix(BYTE_ORDER_MARK).strip(_WHITESPACE)
    if not body:
        raise RecordError("json", "the body is empty: send one JSON object, an array of them, or one a line")
    if body.startswith(b"["):
        return Body(_of_array(body, max_records), single=False)
    if lines := plain_lines(body, max_records):
        return lines
    records = split_sequence(body, max_depth, max_records)
    return Body(records, single=len(records) == 1 and not is_batch_type(content_type))


@lru_cache(maxsize=32)
def is_batch_type(content_type: str) -> bool:
    """Say whether a media type promises a batch, even of one."""
    return content_type.lower().startswith(BATCH_TYPES)


def plain_lines(body: bytes, most: int) -> Body | None:
    """Cut a body of at least two lines, of which each is an object and nothing else; None where it is another one."""
    objects = body.count(b"}\n{") + 1
    if not 1 < objects <= most or not (body.startswith(b"{") and body.endswith(b"}")):
        return None
    lines = body.split(b"\n", objects)
    is_flat = body.count(b"}") == objects
    if len(lines) != objects or not (is_flat or _ADJACENT.search(body) is None):
        return None
    return Body(lines, single=False, nested=not is_flat or b"[" in body)


def _of_array(body: bytes, most: int) -> list[bytes]:
    items: list[msgspec.Raw] | None = None
    if len(body) <= COMMAS_MOST or body.count(b",") <= COMMAS_MOST:
        with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            items = _array.decode(body)
    if items is None:
        if not body.endswith(b"]"):
            raise RecordError("json", "the body begins an array that does not end: was it cut off?")
        # Something in it is no JSON: cut it by its brackets, so that it costs one record and not the batch.
        return _not_too_many(_bounded(_pieces(body[1:-1]), most), most)
    return [bytes(item) for item in _not_too_many(items if len(items) <= most else None, most)]


def split_sequence(body: bytes, max_depth: int, most: int) -> list[bytes]:
    """Cut a body that is no array, however its objects are parted; raises RecordError."""
    adjacent = _ADJACENT.search(body) is not None
    if b"\n" not in body and not adjacent:
        return [body]
    lines = _bounded(_lines(body), most)
    if lines is not None and not adjacent and all(line.startswith(b"{") and line.endswith(b"}") for line in lines):
        return lines
    # Objects over several lines, several on one line, or a broken line: the reading that makes more
    # sense of the body is the right one.
    pieces = _bounded(_pieces(body), most)
    if pieces is None:
        return _not_too_many(lines if any(is_record(line, max_depth) for line in lines or ()) else None, most)
    readable = sum(is_record(piece, max_depth) for piece in pieces)
    if readable < len(pieces) and lines is not None and sum(is_record(line, max_depth) for line in lines) >= readable:
        return lines
    return pieces


def _bounded(records: Iterator[bytes], most: int) -> list[bytes] | None:
    """Return the records, None where they are too many: what is small as a body may be gigabytes as records."""
    taken = list(islice(records, most + 1))
    return taken if len(taken) <= most else None


def _not_too_many(records: list[Record] | None, most: int) -> list[Record]:
    if records is None:
        raise RecordError("too_large", f"over {most} records: send no more than that in one body", most + 1)
    return records


def _lines(body: bytes) -> Iterator[bytes]:
    for found in _LINE.finditer(body):
        if line := found[0].strip(_BETWEEN):
            yield line


def _pieces(text: bytes) -> Iterator[bytes]:
    """Yield each balanced object or array, and what is left between them, without the separators."""
    depth = start = 0
    for number, token in enumerate(_TOKEN.finditer(text)):
        if number == TOKENS_MOST:
            raise RecordError(
                "too_large", f"over {TOKENS_MOST} strings and brackets: send no more than that in one body"
            )
        bracket = text[token.start()]
        if bracket in b"{[":
            if depth == 0 and (stray := text[start : token.start()].strip(_BETWEEN)):
                yield stray
            if depth == 0:
                start = token.start()
            depth += 1
        elif bracket in b"}]":
            depth -= 1
            if depth <= 0:
                yield text[start : token.end()].strip(_BETWEEN)
                start, depth = token.end(), 0
    if rest := text[start:].strip(_BETWEEN):
        yield rest
