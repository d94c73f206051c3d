"""What a request brings: its JSON object, and the reason for a change."""

import asyncio
from collections.abc import Mapping
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
    reason = None if body is None else body.pop("reason", None)
    if reason in (None, ""):
        reason = request.query_params.get("reason") or None
    try:
        reason = text(REASON_MAX)(reason)
    except (TypeError, ValueError) as error:
        raise ApiError(400, f"the reason is not valid: {error}", details={"reason": str(error)}) from None
    return Change(caller.name, reason, request.state.correlation_id)


def refuse_unknown(body: Mapping[str, Any], *known: str) -> None:
    """Raise ApiError 400 that names the members of a body that mean nothing here."""
    unknown = f"unknown field; known are {', '.join((*known, 'reason'))}"
    details = {name: unknown for name in body if name not in known}
    if details:
        raise ApiError(400, f"the body holds what is not known here: {', '.join(details)}", details=details)


async def _read(request: Request, most: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise ApiError(413, f"the body is larger than {most} bytes", headers={"Connection": "close"})
    return bytes(body)
