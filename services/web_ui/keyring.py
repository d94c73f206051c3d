"""Who may do what: API keys by name and role, compared as SHA-256 digests in constant time."""

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from enum import IntEnum
from typing import Any, NamedTuple

from mutt.errors import SettingsError
from services.logging_utils import get_logger
from services.runtime.secrets import SecretSource, required

DEFAULT_NAME = "default"
_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_SECRETS = ("WEBUI_API_KEY", "WEBUI_API_KEY_NEXT", "WEBUI_API_KEYS")

log = get_logger(__name__)


class Role(IntEnum):
    """Each role may also do what the lower ones may."""

    VIEWER = 1
    OPERATOR = 2
    EDITOR = 3
    ADMIN = 4


class Caller(NamedTuple):
    """Who makes a request; the name is what audit rows say."""

    name: str
    role: Role


class _Key(NamedTuple):
    digest: bytes
    caller: Caller


class KeyRing:
    """The keys of WEBUI_API_KEY, WEBUI_API_KEY_NEXT and WEBUI_API_KEYS, followed when the secrets change.

    Raises SettingsError at start; keys that turn bad later are reported and leave the good ones in force.
    """

    def __init__(self, secrets: SecretSource) -> None:
        self._secrets = secrets
        self._read_from = self._raw()
        self._keys, self._signing = _keys(secrets), _signing_key(secrets)
        self._refused: str | None = None

    def find(self, presented: str) -> Caller | None:
        """Return whose key a header holds; every key is compared, so the time says nothing."""
        # HTTP headers arrive as Latin-1 text whatever their bytes meant.
        digest = hashlib.sha256(presented.encode("latin-1", "replace")).digest()
        found = None
        for key in self._current():
            if hmac.compare_digest(key.digest, digest):
                found = key.caller
        return found

    @property
    def problem(self) -> str | None:
        """Return why the secrets held may be old, None while they are current."""
        self._current()
        return self._secrets.problem or self._refused

    def mark(self, presented: str) -> str:
        """Return what stands for a known key in a session; it says nothing of the key."""
        return self._mark(hashlib.sha256(presented.encode("latin-1", "replace")).digest())

    def marked(self, mark: str) -> Caller | None:
        """Return whose key a session was opened with, as long as that key is in force."""
        found = None
        for key in self._current():
            if hmac.compare_digest(self._mark(key.digest), mark):
                found = key.caller
        return found

    def signing_key(self) -> bytes:
        """Return the key that sessions are signed with; another WEBUI_API_KEY makes another one."""
        self._current()
        return self._signing

    def _mark(self, digest: bytes) -> str:
        return hmac.new(self.signing_key(), digest, "sha256").hexdigest()[:32]

    def _current(self) -> list[_Key]:
        raw = self._raw()
        if raw != self._read_from:
            self._read_from = raw
            try:
                self._keys, self._signing = _keys(self._secrets), _signing_key(self._secrets)
            except SettingsError as error:
                self._refused = f"the changed API keys are refused, the former ones stay: {error}"
                log.critical("the changed API keys are refused, the former ones stay", problem=str(error))
            else:
                self._refused = None
        return self._keys

    def _raw(self) -> tuple[str | None, ...]:
        return tuple(self._secrets.get(name) for name in _SECRETS)


def _keys(secrets: SecretSource) -> list[_Key]:
    default = Caller(DEFAULT_NAME, Role.ADMIN)
    plain = [required(secrets, "WEBUI_API_KEY"), secrets.get("WEBUI_API_KEY_NEXT")]
    keys = [_Key(hashlib.sha256(key.encode()).digest(), default) for key in plain if key]
    return keys + _named(secrets.get("WEBUI_API_KEYS"))


def _signing_key(secrets: SecretSource) -> bytes:
    return hmac.digest(required(secrets, "WEBUI_API_KEY").encode(), b"mutt session v1", "sha256")


def _named(text: str | None) -> list[_Key]:
    if not text:
        return []
    try:
        listed = json.loads(text)
    except ValueError as error:
        raise SettingsError(f"WEBUI_API_KEYS is not JSON: {error}") from None
    if not isinstance(listed, Mapping):
        raise SettingsError('WEBUI_API_KEYS has to be an object: {"name": {"sha256": "…", "role": "viewer"}}')
    return [_named_key(name, entry) for name, entry in listed.items()]


def _named_key(name: str, entry: Any) -> _Key:
    where = f"WEBUI_API_KEYS, key {name}"
    if not _NAME.fullmatch(name) or name == DEFAULT_NAME:
        raise SettingsError(f"{where}: a name is 1 to 64 of A-Z a-z 0-9 . _ @ - and not {DEFAULT_NAME!r}")
    if not isinstance(entry, Mapping) or set(entry) != {"sha256", "role"}:
        raise SettingsError(f'{where}: {{"sha256": "…", "role": "…"}} is needed')
    digest, role = entry["sha256"], entry["role"]
    if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
        raise SettingsError(f"{where}: sha256 has to be the key's SHA-256 in 64 hexadecimal digits")
    roles = {each.name.lower(): each for each in Role}
    if not isinstance(role, str) or role not in roles:
        raise SettingsError(f"{where}: role {role!r} is not one of {', '.join(roles)}")
    return _Key(bytes.fromhex(digest), Caller(name, roles[role]))
