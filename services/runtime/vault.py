"""Secrets from Vault by AppRole: a token that is renewed and replaced as it ages, each call in a thread of its own."""

import asyncio
import json
import math
import ssl
import stat
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import hvac
import requests
from hvac import exceptions as vault_errors

from mutt.errors import MisconfiguredError, MuttError, TransientError
from mutt.server_settings import VaultSettings
from mutt.tls_faults import Server, explain
from services.logging_utils import get_logger
from services.runtime.secrets import APART_SECONDS, SecretSource
from services.runtime.trust import authorities

CONNECT_SECONDS, REPLY_SECONDS = 2.0, 3.0  # for one call
CALLS_SECONDS = 10.0  # for the calls of one reading
SHARE_OF_TTL = 0.5  # a token is looked at before this much of what it has left is over
OPEN_TO_OTHERS = stat.S_IRGRP | stat.S_IROTH

REFUSALS = (vault_errors.InvalidRequest, vault_errors.Unauthorized, vault_errors.Forbidden, vault_errors.InvalidPath)

Value = TypeVar("Value")

log = get_logger(__name__)


class _Place(NamedTuple):
    """Where the secrets are: the path to read, and whether it holds versions."""

    path: str
    versioned: bool


class VaultClient:
    """The half that blocks: login, renewal, reading. Used by one thread at a time.

    Raises SettingsError for a file of authorities that is of no use, MisconfiguredError for the file of the secret id,
    TransientError for secrets that are not there, and what hvac and requests raise for all else.
    """

    def __init__(self, settings: VaultSettings) -> None:
        self._settings = settings
        self._client = hvac.Client(
            url=settings.addr,
            token="",  # else hvac takes one from VAULT_TOKEN or the home folder
            verify=_bundle(settings),
            timeout=(CONNECT_SECONDS, REPLY_SECONDS),
            strict_http=False,
        )
        self._place: _Place | None = None
        self._lifetime = math.inf  # seconds that the token was given at the login
        self._warned: object = None
        self.token_due = float("-inf")  # on the monotonic clock: when the token has to be looked at

    def read(self) -> dict[str, str]:
        """Look after the token where that is due, and return the secrets; logs in where the token does not serve."""
        known = self._client.token
        if time.monotonic() >= self.token_due:
            left = self._keep_token()
            self.token_due = time.monotonic() + min(self._settings.renew_check_interval, left * SHARE_OF_TTL)
        try:
            return self._read()
        except vault_errors.Forbidden:
            if self._client.token != known:
                raise  # a new token is refused as well: it is not the token
            # Revoked or ended between two looks at it, or the role has other policies now.
            self._login()
            return self._read()

    def _keep_token(self) -> float:
        """Renew the token below the threshold, replace it where that no longer helps; return its seconds left."""
        if not self._client.token:
            return self._login()
        try:
            token = self._client.auth.token.lookup_self()["data"]
        except vault_errors.Forbidden:
            log.info("the Vault token is no longer valid, logging in again")
            self._client.token = ""  # not to be asked about again, nor told, while logins fail
            return self._login()
        left = math.inf if token.get("expire_time") is None else float(token["ttl"])
        if left >= self._settings.token_renew_threshold:
            return left
        if token.get("renewable"):
            left = float(self._client.auth.token.renew_self()["auth"]["lease_duration"])
        if left <= self._lifetime * SHARE_OF_TTL:
            log.info("the Vault token is close to the end of its longest life, logging in again")
            return self._login()
        return left

    def _login(self) -> float:
        settings, secret_id = self._settings, self._secret_id()
        try:
            reply = self._client.auth.approle.login(role_id=settings.role_id, secret_id=secret_id)
        except REFUSALS as error:
            raise TransientError(
                f"Vault at {settings.addr} refuses the AppRole ({_answer(error)}): is it enabled at auth/approle, is "
                f"VAULT_ROLE_ID right, has the secret id in {settings.secret_id_file} ended?"
            ) from error
        self._lifetime = float(reply["auth"]["lease_duration"]) or math.inf  # zero: it never ends
        return self._lifetime

    def _secret_id(self) -> str:
        path = Path(self._settings.secret_id_file)
        named = f"VAULT_SECRET_ID_FILE={str(path)!r}"
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
            secret_id = path.read_text(encoding="ascii").strip()
        except OSError as error:
            raise MisconfiguredError(
                f"{named} cannot be read ({error.strerror}): put the AppRole's secret id there, "
                "readable to the user that runs the service"
            ) from error
        except UnicodeDecodeError as error:
            raise MisconfiguredError(f"{named} holds something else than a secret id") from error
        if not secret_id:
            raise MisconfiguredError(f"{named} is empty: put the AppRole's secret id there")
        if mode & OPEN_TO_OTHERS and self._warned != (path, mode):
            self._warned = (path, mode)
            log.warning(
                "the file of the secret id can be read by others than its owner: chmod 0400, and make a new secret id",
                file=str(path),
                mode=f"{mode:04o}",
            )
        return secret_id

    def _read(self) -> dict[str, str]:
        place = self._place or self._find()
        reply = self._client.read(place.path)
        found: Any = (reply or {}).get("data")
        if place.versioned:
            found = (found or {}).get("data")
        if not isinstance(found, Mapping):
            self._place = None  # the mount may have become one of versions, or none
            raise TransientError(
                f"there is nothing at VAULT_SECRETS_PATH={self._settings.secrets_path!r} in Vault, "
                "or its newest version is deleted: write the secrets there"
            )
        self._place = place
        return {name: _text(value) for name, value in found.items()}

    def _find(self) -> _Place:
        """Ask what is mounted where the secrets are, as `vault kv` does: that tells version 1 from 2."""
        wanted = self._settings.secrets_path.strip("/")
        mount = (self._client.read(f"sys/internal/ui/mounts/{wanted}") or {}).get("data") or {}
        base, options = str(mount.get("path", "")), mount.get("options") or {}
        if not base or not wanted.startswith(base) or wanted == base:
            raise TransientError(
                f"VAULT_SECRETS_PATH={self._settings.secrets_path!r} has to be the path of a KV mount "
                "and the name of the secret in it, such as secret/mutt"
            )
        versioned = str(options.get("version", "1")) == "2"
        rest = wanted.removeprefix(base)
        return _Place(f"{base}data/{rest}" if versioned else wanted, versioned)


class VaultSecrets(SecretSource):
    """Secrets of production: KV version 2 or 1, whichever is mounted, by AppRole."""

    kind = "vault"

    def __init__(self, settings: VaultSettings) -> None:
        super().__init__()
        self._settings = settings
        self._client = VaultClient(settings)

    async def _fetch(self) -> dict[str, str]:
        try:
            return await in_thread(self._client.read, CALLS_SECONDS)
        except TimeoutError as error:
            # The thread may still wait in the old client: it is left to itself.
            self._client = VaultClient(self._settings)
            raise self._away(f"did not answer within {CALLS_SECONDS:g} s") from error
        except (requests.RequestException, OSError) as error:
            raise self._unreachable(error) from error
        except MuttError:
            raise
        except Exception as error:  # whatever an answer makes hvac stumble over
            raise self._away(_words(error, self._settings)) from error

    def _due(self) -> float:
        interval = self._settings.refresh_interval
        # A token that could not be looked after stays due: not to be tried without a pause.
        return interval if self.problem else max(0.0, min(interval, self._client.token_due - time.monotonic()))

    def _apart(self) -> float:
        return APART_SECONDS

    def _place(self) -> str:
        path = self._settings.secrets_path
        return f"Vault at VAULT_SECRETS_PATH={path!r} (`vault kv patch` changes a field, `kv put` replaces all of them)"

    def _unreachable(self, error: Exception) -> TransientError:
        address = urlsplit(str(self._settings.addr))
        server = Server("Vault", f"{address.hostname}:{address.port or 443}", "VAULT_ADDR", "VAULT_CACERT")
        if isinstance(error, requests.exceptions.SSLError) and (told := explain(str(error), server)):
            return TransientError(told)
        if isinstance(error, requests.Timeout):
            return self._away("does not answer in time")
        return self._away(f"cannot be reached: {_innermost(error)}")

    def _away(self, why: str) -> TransientError:
        return TransientError(f"Vault at {self._settings.addr} {why}")


async def in_thread(work: Callable[[], Value], seconds: float) -> Value:
    """Return what `work` returns, run in a thread that nothing waits for at the end of the process."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[Value] = loop.create_future()

    def settle(settler: Callable[[Any], None], result: object) -> None:
        if not ended.done():
            settler(result)

    def run() -> None:
        settler: Callable[[Any], None] = ended.set_result
        try:
            result: object = work()
        except Exception as error:  # noqa: BLE001  (whatever it is belongs to the one who waits)
            settler, result = ended.set_exception, error
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, settler, result)

    threading.Thread(target=run, name="vault", daemon=True).start()
    async with asyncio.timeout(seconds):
        return await ended


def _bundle(settings: VaultSettings) -> str | bool:
    """Return the authorities that requests is to trust: without a file the system's, where it would take its own."""
    authorities(settings.cacert, "VAULT_CACERT")
    system = ssl.get_default_verify_paths()
    return settings.cacert or system.cafile or system.capath or True


def _text(value: object) -> str:
    return (value if isinstance(value, str) else json.dumps(value)).strip()


def _words(error: Exception, settings: VaultSettings) -> str:
    """Say what an answer of Vault means for an operator."""
    match error:
        case vault_errors.VaultDown():
            return "is sealed, or not ready: unseal it"
        case vault_errors.Forbidden():
            return (
                f"lets the AppRole not read VAULT_SECRETS_PATH={settings.secrets_path!r} ({_answer(error)}): give its "
                "policy `read` there (with KV version 2 that is MOUNT/data/NAME)"
            )
        case vault_errors.VaultError():
            return f"answers what MUTT cannot use: {type(error).__name__}: {_answer(error)}"
        case _:
            return (
                f"does not answer as a Vault does ({type(error).__name__}: {error}): is VAULT_ADDR right, "
                "or does a proxy answer in its place?"
            )


def _answer(error: Exception) -> str:
    return " ".join(("; ".join(getattr(error, "errors", None) or ()) or str(error)).split())


def _innermost(error: BaseException) -> str:
    """Return what lies at the bottom of nested errors: the layers above it repeat addresses."""
    while (inner := getattr(error, "reason", None) or error.__cause__ or error.__context__) is not None:
        if not isinstance(inner, BaseException):
            break
        error = inner
    return str(error) or type(error).__name__
