"""The bytes that a sender puts on the wire, made from its documented format: a file NAME.http with the request's text.

Its head stands as it is sent, its body as it is before it is packed; an empty line is between the two. `@NAME@` is
filled in; a body is gzipped, chunked or turned into protobuf where the head says that it is.
"""

import gzip
import json
import socket
import uuid
from base64 import b64encode
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from tests.harness.credentials import INGEST_API_KEY
from tests.harness.otlp import as_protobuf

HERE = Path(__file__).parent
NAMES = sorted(path.stem for path in HERE.glob("*.http"))
CHUNK = 512  # bytes


def recorded(name: str, url: str, host: str, moment: datetime) -> bytes:
    """Return the bytes of a request about two events of `host`, at `moment` and a second later."""
    text = (HERE / f"{name}.http").read_text(encoding="utf-8")
    for place, value in values(url, host, moment).items():
        text = text.replace(f"@{place}@", value)
    head, _, rest = text.partition("\n\n")
    body = packed(head, rest.encode())
    return head.replace("@LENGTH@", str(len(body))).replace("\n", "\r\n").encode() + b"\r\n\r\n" + body


def values(url: str, host: str, moment: datetime) -> dict[str, str]:
    """Return what is filled in; the two ids are the host's, so that a request made twice is the same."""
    made = {
        "ADDRESS": urlsplit(url).netloc,
        "KEY": INGEST_API_KEY,
        "BASIC": b64encode(f"mutt:{INGEST_API_KEY}".encode()).decode(),
        "HOST": host,
    }
    for number in (1, 2):
        time = moment + timedelta(seconds=number - 1)
        text = time.replace(tzinfo=None).isoformat(timespec="microseconds")
        microseconds = round(time.timestamp() * 1_000_000)
        made |= {
            f"MICRO{number}": text,
            f"MILLI{number}": text[:-3],
            f"SECONDS{number}": f"{microseconds / 1_000_000:.6f}",
            f"EPOCH_MS{number}": str(microseconds // 1000),
            f"NANO{number}": str(microseconds * 1000 + 789),
            f"ID{number}": str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{number}.{host}")),
        }
    return made


def packed(head: str, body: bytes) -> bytes:
    """Return a body as its head says that it is."""
    said = head.lower()
    if "application/x-protobuf" in said:
        body = as_protobuf(json.loads(body))
    if "content-encoding: gzip" in said:
        body = gzip.compress(body, mtime=0)
    if "transfer-encoding: chunked" in said:
        pieces = [body[at : at + CHUNK] for at in range(0, len(body), CHUNK)]
        body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    return body


def send(url: str, data: bytes) -> tuple[int, dict[str, str], bytes]:
    """Write bytes to a socket and return status, headers (lower-case names) and body of the reply."""
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    with closing(socket.create_connection((parts.hostname, parts.port), timeout=60)) as connection:
        connection.sendall(data)
        with connection.makefile("rb") as reader:
            status = int(reader.readline().split()[1])
            headers = {}
            while line := reader.readline().strip():
                name, _, value = line.decode().partition(": ")
                headers[name.lower()] = value
            return status, headers, reader.read(int(headers["content-length"]))
