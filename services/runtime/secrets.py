"""Secrets from Vault in production, from the environment or files in development, behind one interface."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import hvac

from mutt.errors import MisconfiguredError, SettingsError, TransientError
from mutt.server_settings import VaultSettings
from services.logging_utils import get_logger

log = get_logger(__name__)


class SecretSource(Protocol):
    """Named secrets, held in memory; `problem` says why what is held may be old (None: it is current)."""

    problem: str | None

    def get(self, name: str) -> str | None:
        """Return a secret as last read, None when there is none."""

    async def refresh(self) -> None:
        """Read all secrets again; on failure keep what is held and set `problem`."""

    async def keep_fresh(self) -> None:
        """Renew what has to be renewed, for ever; cancelled at the end of the process."""


class EnvironmentSecrets:
    """Secrets of development: variable NAME, or the file that NAME_FILE names (read again at each refresh)."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = dict(environ)
        self._files: dict[str, str] = {}
        self.problem: str | None = None
        self._read()

    def get(self, name: str) -> str | None:
        """Return NAME's value, else the content of NAME_FILE, else None."""
        return self._environ.get(name) or self._files.get(name) or None

    async def refresh(self) -> None:
        """Read the files again."""
        try:
            self._read()
        except SettingsError as error:
            self.problem = str(error)

    async def keep_fresh(self) -> None:
        """Nothing expires here."""

    def _read(self) -> None:
        for variable, path in self._environ.items():
            if not variable.endswith("_FILE") or not _is_secret(variable.removesuffix("_FILE")) or not path:
                continue
            try:
                self._files[variable.removesuffix("_FILE")] = Path(path).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise SettingsError(f"{variable}={path!r} cannot be read: {error}") from error
        self.problem = None


class VaultSecrets:
    """Secrets of production: KV version 2, or 1 where the mount is that, by AppRole."""

    def __init__(self, settings: VaultSettings) -> None:
        self._settings = settings
        self._client = hvac.Client(url=settings.addr, timeout=5)
        self._values: dict[str, Any] = {}
        self.problem: str | None = None

    def get(self, name: str) -> str | None:
        """Return a secret as last read from Vault."""
        value = self._values.get(name)
        return str(value) if value else None

    async def refresh(self) -> None:
        """Read the path again, logging in first where the token is missing or no longer valid."""
        try:
            self._values = await asyncio.to_thread(self._fetch)
            self.problem = None
        except Exception as error:  # noqa: BLE001  (hvac raises its own, requests' and OSError: Vault is away)
            self.problem = f"Vault at {self._settings.addr} cannot be read: {type(error).__name__}: {error}"
            log.warning("secrets are not current, going on with what is held", problem=self.problem)

    async def keep_fresh(self) -> None:
        """Every `VAULT_RENEW_CHECK_INTERVAL` seconds renew a token that is about to expire."""
        while True:
            await asyncio.sleep(self._settings.renew_check_interval)
            try:
                await asyncio.to_thread(self._renew)
            except Exception as error:  # noqa: BLE001  (as above; the next refresh logs in again)
                log.warning("the Vault token was not renewed", error=f"{type(error).__name__}: {error}")
                await self.refresh()

    def _fetch(self) -> dict[str, Any]:
        if not self._client.is_authenticated():
            self._login()
        mount, _, path = self._settings.secrets_path.partition("/")
        try:
            reply = self._client.secrets.kv.v2.read_secret_version(
                path=path, mount_point=mount, raise_on_deleted_version=True
            )
            return dict(reply["data"]["data"])
        except hvac.exceptions.InvalidPath:
            return dict(self._client.secrets.kv.v1.read_secret(path=path, mount_point=mount)["data"])

    def _login(self) -> None:
        path = Path(self._settings.secret_id_file)
        try:
            secret_id = path.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise MisconfiguredError(f"VAULT_SECRET_ID_FILE={str(path)!r} cannot be read: {error}") from error
        self._client.auth.approle.login(role_id=self._settings.role_id, secret_id=secret_id)

    def _renew(self) -> None:
        token = self._client.auth.token.lookup_self()["data"]
        if token["ttl"] < self._settings.token_renew_threshold:
            self._client.auth.token.renew_self()


async def open_secrets(settings: VaultSettings, environ: Mapping[str, str]) -> SecretSource:
    """Return the source that the settings name, read once; raises TransientError when Vault cannot be read."""
    if not settings.addr:
        log.info("secrets come from the environment, since VAULT_ADDR is not set")
        return EnvironmentSecrets(environ)
    vault = VaultSecrets(settings)
    await vault.refresh()
    if vault.problem:
        raise TransientError(vault.problem)
    return vault


def required(secrets: SecretSource, name: str) -> str:
    """Return a secret that the service cannot start without; raises SettingsError that says where to put it."""
    value = secrets.get(name)
    if value is None:
        raise SettingsError(f"{name} is not set: give it in Vault, or in {name} or {name}_FILE without Vault")
    return value


def _is_secret(name: str) -> bool:
    return name.endswith(("_KEY", "_KEYS", "_KEY_NEXT", "_CURRENT", "_NEXT"))
