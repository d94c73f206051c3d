"""What a request brings: its JSON object, its reason, and the version that it was made for."""

import asyncio
from typing import Any

import msgspec
from fastapi import Request

from mutt.checks import text
from services.web_ui.keyring import Caller
from services.web_ui.queries import Change
from services.web_ui.replies import ApiError

BODY_MAX = 256 * 1024  # bytes; the largest valid rule has about 30 KB
BODY_SECONDS = 15.0
REASON_MAX = 500


async def read_bytes(request: Request, most: int = BODY_MAX) -> bytes:
    """Return the body; raises ApiError 408 or 413."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _read(request, most)
    except TimeoutError:
        raise ApiError(408, f"the body did not arrive within {BODY_SECONDS:g} s") from None


async def read_object(request: Request) -> dict[str, Any]:
    """Return the body's JSON object; raises ApiError 400, 408 or 413 that says what is wrong."""
    body = await read_bytes(request)
    if not body.strip():
        raise ApiError(400, "the body is empty; a JSON object is needed")
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ApiError(400, f"the body is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise ApiError(400, "the body has to be a JSON object")
    return found


def change_of(request: Request, caller: Caller, body: dict[str, Any] | None = None) -> Change:
    """Return who makes this change and why; the reason is taken out of `body`, or out of the query."""
    reason = (body or {}).pop("reason", None) or request.query_params.get("reason")
    try:
        reason = text(REASON_MAX)(reason)
    except (TypeError, ValueError) as error:
        raise ApiError(400, f"the reason is not valid: {error}", details={"reason": str(error)}) from None
    return Change(caller.name, reason, request.state.correlation_id)


def check_version(request: Request, found: int, body: dict[str, Any] | None = None) -> None:
    """Raise ApiError 412 when the request was made for another version; `version` is taken out of `body`.

    The version comes in If-Match (`"3"`, `3`, `*`) or as the body's `version`.
    """
    wanted: set[str] = set()
    header = request.headers.get("if-match")
    if header is not None and header.strip() != "*":
        wanted.add(header.strip().removeprefix("W/").strip('"'))
    version = (body or {}).pop("version", None)
    if version is not None:
        wanted.add(str(version))
    if wanted - {str(found)}:
        raise ApiError(
            412,
            f"this is version {found} by now, the change was made for {', '.join(sorted(wanted))}: "
            "read it again and repeat the change",
        )


async def _read(request: Request, most: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise ApiError(413, f"the body is larger than {most} bytes", headers={"Connection": "close"})
    return bytes(body)
