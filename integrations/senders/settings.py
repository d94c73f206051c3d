"""The file that tells a sender where MUTT is and which key to show: `NAME=value` lines, as systemd reads them too."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

DEFAULT_FILE = "/etc/mutt/sender.env"
INGEST_PATH = "/api/v2/ingest"
LEAST_SECONDS, MOST_SECONDS = 0.1, 3600.0


class SettingsError(Exception):
    """The file cannot be used; the message says what is wrong and what would be right."""


@dataclass(frozen=True)
class Settings:
    """Where to send and how; `timeout` of a request and `longest_pause` between two in seconds."""

    url: str
    api_key: str
    ca_file: str | None = None
    timeout: float = 30.0
    longest_pause: float = 60.0
    gzip: bool = False


def read_settings(path: str) -> Settings:
    """Read the file; raises SettingsError."""
    values = _values(path)
    url = values.get("MUTT_URL", "").rstrip("/")
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:  # a port or an IPv6 address that is none
        is_url = False
    if not is_url:
        raise SettingsError(f"{path}: MUTT_URL has to be http://HOST:PORT or https://HOST:PORT, not {url!r}")
    key = values.get("MUTT_API_KEY", "")
    if not key:
        raise SettingsError(f"{path}: MUTT_API_KEY is missing: it is one of the ingestor's INGEST_API_KEY")
    if not key.isascii() or not key.isprintable():
        raise SettingsError(f"{path}: MUTT_API_KEY holds characters that no HTTP header can carry")
    return Settings(
        url=url if parts.path.strip("/") else url + INGEST_PATH,
        api_key=key,
        ca_file=values.get("MUTT_CA_FILE") or None,
        timeout=_seconds(path, values, "MUTT_TIMEOUT", 30.0),
        longest_pause=_seconds(path, values, "MUTT_LONGEST_PAUSE", 60.0),
        gzip=values.get("MUTT_GZIP", "").lower() in {"1", "on", "true", "yes"},
    )


def _values(path: str) -> dict[str, str]:
    try:
        with Path(path).open(encoding="utf-8") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error
    if mode & 0o027:
        raise SettingsError(f"{path} holds a key and has mode {mode:04o}: chmod 600 {path}")
    values = {}
    for line in text.splitlines():
        name, found, value = line.strip().partition("=")
        if found and not name.startswith("#"):
            values[name.strip()] = _unquoted(value.strip())
    return values


def _seconds(path: str, values: dict[str, str], name: str, default: float) -> float:
    text = values.get(name) or str(default)
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
        raise SettingsError(f"{path}: {name} has to be {LEAST_SECONDS:g} to {MOST_SECONDS:g} seconds, not {text!r}")
    return seconds


def _unquoted(value: str) -> str:
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if quoted else value
