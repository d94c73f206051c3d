"""Single rows as the API reads them, names their versions, and guards them against changes made for another one."""

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from services.web_ui.context import Context
from services.web_ui.queries import Queries, Row, Table
from services.web_ui.replies import ApiError


async def listed(parts: Context, table: Table, name: str, limit: int, offset: int) -> dict[str, Any]:
    """Return a page of a table under `name`, with how many rows there are in all."""
    async with parts.database() as queries:
        rows, total = await queries.page(table, limit, offset)
    return {name: [versioned(row) for row in rows], "total": total, "limit": limit, "offset": offset}


async def existing(queries: Queries, table: Table, key: int | str, absent: str, *, lock: bool = False) -> Row:
    """Return a row; raises ApiError 404 with the words of `absent`."""
    row = await queries.one(table, key, lock=lock)
    if row is None:
        raise ApiError(404, absent)
    return row


def versioned(row: Row) -> Row:
    """Return a row with its version: a rule's own count, of what has none a digest of all that it holds."""
    if "version" in row:
        return row
    return {**row, "version": digest(row)}


def digest(content: object) -> str:
    """Return what tells one state of something from another."""
    return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()[:16]


def etag(row: Row) -> str:
    """Return a row's version as the header that If-Match sends back."""
    return f'"{versioned(row)["version"]}"'


def check_version(stored: Row, if_match: str | None, body: dict[str, Any] | None = None) -> None:
    """Raise ApiError 412 with both versions when a change was made for another one than the one that is stored.

    It names its version in If-Match (`"3"`, `3`, several with commas, `*` for any) or as `version`, which is taken out
    of `body`. A change that names none is made to whatever is stored.
    """
    body = {} if body is None else body
    given = body.pop("version", None)
    if given is not None and (isinstance(given, bool) or not isinstance(given, int | str)):
        raise ApiError(400, "version is not valid", details={"version": "the version that was read, or absent"})
    asked = [] if given is None else [{str(given)}]
    if if_match is not None and if_match.strip() != "*":
        asked.append({each.strip().removeprefix("W/").strip('"') for each in if_match.split(",")})
    now = versioned(stored)
    for versions in asked:
        if str(now["version"]) not in versions:
            raise _conflict(now, ", ".join(sorted(versions)), body)


def _conflict(stored: Row, version: str, body: Mapping[str, Any]) -> ApiError:
    message = (
        f"this is version {stored['version']} by now, the change was made for {version}: "
        "read it again and repeat the change"
    )
    return ApiError(412, message, more={"yours": {"version": version, **body}, "stored": stored})
