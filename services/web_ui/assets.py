"""The console's own files, held in memory under a path that changes with their content."""

import gzip
import hashlib
import mimetypes
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import Response

FOLDER = Path(__file__).parent / "static"
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
FOR_EVER = "public, max-age=31536000, immutable"
COMPRESSED_FROM = 256  # bytes

_FILES = {
    path.relative_to(FOLDER).as_posix(): path.read_bytes() for path in sorted(FOLDER.rglob("*")) if path.is_file()
}
VERSION = hashlib.sha256(b"".join(name.encode() + content for name, content in _FILES.items())).hexdigest()[:12]
_PACKED = {name: gzip.compress(content, mtime=0) for name, content in _FILES.items()}

router = APIRouter(include_in_schema=False)


def static(name: str) -> str:
    """Return the address of a file below static/; raises KeyError where there is none."""
    if name not in _FILES:
        raise KeyError(f"there is no services/web_ui/static/{name}")
    return f"/static/{VERSION}/{name}"


@router.get("/static/{version}/{name:path}")
async def serve(version: str, name: str, request: Request) -> Response:
    """Return a file; of another version's address the present one, to be kept by nobody."""
    if name not in _FILES:
        return Response("there is no such file\n", 404, media_type="text/plain")
    kind = TYPES.get(Path(name).suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    headers = {"Cache-Control": FOR_EVER if version == VERSION else "no-store", "Vary": "Accept-Encoding"}
    body = _FILES[name]
    if len(body) >= COMPRESSED_FROM and "gzip" in request.headers.get("accept-encoding", ""):
        body = _PACKED[name]
        headers["Content-Encoding"] = "gzip"
    return Response(body, media_type=kind, headers=headers)
