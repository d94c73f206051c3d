"""Where archives lie: a folder (NFS too) or a bucket of S3. A file is there whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any, Protocol
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs

from mutt.archive_settings import ArchiveSettings
from mutt.errors import SettingsError
from scripts.archiving.errors import ArchiveError
from services.runtime.secrets import SecretSource

MARK = "mutt-archive.json"
CONNECT_SECONDS, REQUEST_SECONDS, TRIES = 5, 40, 3  # a server that hangs is told after two minutes


class Sink:
    """A file under way, which counts and hashes what is written into it."""

    closed = False

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._hash = sha256()
        self.size = 0

    def write(self, data: Any) -> int:
        """Write all of it."""
        view = memoryview(data)
        self._stream.write(view)
        self._hash.update(view)
        self.size += view.nbytes
        return view.nbytes

    def tell(self) -> int:
        """Return how much was written."""
        return self.size

    def flush(self) -> None:
        """Do nothing: what counts is the end."""

    def close(self) -> None:
        """Do nothing: who opened it closes it."""

    @property
    def sha256(self) -> str:
        """The hash of what was written."""
        return self._hash.hexdigest()


class Store(Protocol):
    """Files by their path below the archive's root."""

    words: str

    def writing(self, path: str) -> Any:
        """Return a context with a Sink; the file is there when it ends well, and durable."""

    def read(self, path: str) -> bytes:
        """Return a file's bytes; raises FileNotFoundError."""

    def files(self, folder: str) -> list[str]:
        """List all files below a folder, by their paths; none when there is no such folder."""

    def remove(self, folder: str, last: str = "") -> None:
        """Remove a folder with all its files; `last` is a name that goes first, so that what is left is no part."""


class _ArrowStore:
    """What both kinds share."""

    def __init__(self, filesystem: Any, root: str, words: str) -> None:
        self._fs = filesystem
        self._root = root
        self.words = words

    def read(self, path: str) -> bytes:
        with self._named("read", path), self._fs.open_input_file(self._full(path)) as stream:
            data: bytes = stream.read()
            return data

    def files(self, folder: str) -> list[str]:
        selector = fs.FileSelector(self._full(folder), allow_not_found=True, recursive=True)
        with self._named("list", folder):
            found = [info.path for info in self._fs.get_file_info(selector) if info.type == fs.FileType.File]
        return sorted(str(PurePosixPath(path).relative_to(self._root)) for path in found)

    def remove(self, folder: str, last: str = "") -> None:
        paths = self.files(folder)
        for path in sorted(paths, key=lambda path: path.rpartition("/")[2] != last):
            with self._named("remove", path):
                self._fs.delete_file(self._full(path))
        with self._named("remove", folder):
            self._remove_folder(folder)

    def _remove_folder(self, folder: str) -> None:
        """S3 has no folders."""

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}".rstrip("/")

    @contextmanager
    def _named(self, what: str, path: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except (OSError, pa.ArrowException) as error:
            raise ArchiveError(f"{self.words}: cannot {what} {path}: {reason(error)}") from error


class FolderStore(_ArrowStore):
    """A folder; a file is written beside its place, synced and then renamed."""

    def __init__(self, root: Path) -> None:
        super().__init__(fs.LocalFileSystem(), str(root), f"archive folder {root}")
        if not root.is_dir():
            raise ArchiveError(f"archive folder {root} does not exist: make it, or mount it")

    @contextmanager
    def writing(self, path: str) -> Iterator[Sink]:
        """Return a file that is there when the context ends well."""
        target = Path(self._full(path))
        partial = target.with_name(f".{target.name}.partial")
        with self._named("write", path):
            target.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as stream:
                yield Sink(stream)
                stream.flush()
                os.fsync(stream.fileno())
            partial.replace(target)
            # The names too: of the file, and of the folders above it that may be new.
            for folder in target.parents:
                _sync(folder)
                if str(folder) == self._root:
                    break

    def _remove_folder(self, folder: str) -> None:
        path = Path(self._full(folder))
        if path.is_dir():
            path.rmdir()
            _sync(path.parent)


class BucketStore(_ArrowStore):
    """A bucket of S3; an upload is complete when its end has been acknowledged."""

    @contextmanager
    def writing(self, path: str) -> Iterator[Sink]:
        """Return an object that is there when the context ends well."""
        with self._named("write", path), self._fs.open_output_stream(self._full(path)) as stream:
            yield Sink(stream)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def open_store(settings: ArchiveSettings, secrets: SecretSource) -> Store:
    """Return the archive that the settings name; raises SettingsError or ArchiveError."""
    location = settings.location
    if not location:
        raise SettingsError("ARCHIVE_LOCATION is not set: a folder (/mnt/archive) or a bucket (s3://bucket/prefix)")
    if not location.startswith("s3://"):
        if not location.startswith("/"):
            raise SettingsError(f"ARCHIVE_LOCATION={location!r} is not possible: an absolute path or s3:// is needed")
        return FolderStore(Path(location))
    parts = urlsplit(location)
    endpoint = urlsplit(settings.s3_endpoint or "https://")
    if endpoint.scheme not in ("http", "https") or (settings.s3_endpoint and not endpoint.netloc):
        raise SettingsError(f"ARCHIVE_S3_ENDPOINT={settings.s3_endpoint!r} is not possible: https://host is needed")
    if "@" in endpoint.netloc or endpoint.path.strip("/"):
        raise SettingsError(
            "ARCHIVE_S3_ENDPOINT is not possible: https://host:port is needed, without credentials or path"
        )
    if not parts.netloc or parts.username is not None:
        raise SettingsError("ARCHIVE_LOCATION is not possible: s3://bucket/prefix is needed, without credentials")
    key, secret = secrets.get("AWS_ACCESS_KEY_ID"), secrets.get("AWS_SECRET_ACCESS_KEY")
    if bool(key) != bool(secret):
        raise SettingsError("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY belong together: one is set, one is not")
    filesystem = fs.S3FileSystem(
        access_key=key,
        secret_key=secret,
        session_token=secrets.get("AWS_SESSION_TOKEN") if key else None,
        region=settings.s3_region,
        scheme=endpoint.scheme,
        endpoint_override=endpoint.netloc or None,
        connect_timeout=CONNECT_SECONDS,
        request_timeout=REQUEST_SECONDS,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=TRIES),
        tls_ca_file_path=settings.s3_ca_cert_path,
        background_writes=False,
    )
    root = f"{parts.netloc}/{parts.path.strip('/')}".rstrip("/")
    return BucketStore(filesystem, root, f"archive s3://{root}")


def reason(error: BaseException) -> str:
    """Return the cause in words; what Amazon's client says of a refused key is long and names no setting."""
    text = " ".join(str(error).split())
    for code in ("INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "ACCESS_DENIED"):
        if code in text:
            return f"the server refuses AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY ({code})"
    return text[:500]
