"""Secrets from Vault in production, from the environment or files in development, behind one interface."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from mutt.errors import MuttError, SettingsError
from mutt.server_settings import VaultSettings
from services.logging_utils import get_logger

REFRESH_SECONDS = 60.0
RETRY_SECONDS = 5.0  # between two readings while the source is away
APART_SECONDS = 0.25  # between two readings, however many connections ask for one
# Without these a service does none of its work: a source that has lost one is in the middle of a mistake.
ESSENTIAL = (
    *("INGEST_API_KEY", "WEBUI_API_KEY", "MOOG_API_KEY"),
    *("REDIS_PASS_CURRENT", "REDIS_SENTINEL_PASS", "DB_PASS_CURRENT"),
)

log = get_logger(__name__)


class SecretSource(ABC):
    """Named secrets, held in memory and read again from time to time; what is held outlives its source's absence.

    `problem` says why what is held may be old (None: it is current); `read_at` is the time (epoch seconds) at which the
    last reading that succeeded began: what was written before is held now.
    """

    kind: str

    def __init__(self) -> None:
        self.problem: str | None = None
        self.read_at = 0.0
        self._held: Mapping[str, str] = {}
        self._lock = asyncio.Lock()
        self._begun = 0
        self._ended = float("-inf")
        self._wanted = asyncio.Event()
        self._followers: list[Callable[[], None]] = []
        self._readings: set[asyncio.Task[None]] = set()  # a task that nobody holds may be collected before it is done

    def get(self, name: str) -> str | None:
        """Return a secret as last read, None when there is none."""
        return self._held.get(name) or None

    def follow(self, take: Callable[[], None]) -> None:
        """Call `take` at each reading, before `read_at` tells of it: who waits for that finds the new ones valid."""
        self._followers.append(take)

    async def refresh(self) -> None:
        """Read all secrets again; on failure keep what is held and set `problem`.

        Callers that ask at once share one reading, but never one that began before they asked. It goes on to its end
        when its caller is cancelled, as a health check is that has waited long enough.
        """
        reading = asyncio.create_task(self._read_after(self._begun))
        self._readings.add(reading)
        reading.add_done_callback(self._readings.discard)
        await asyncio.shield(reading)

    async def _read_after(self, asked: int) -> None:
        async with self._lock:
            if self._begun > asked:
                return
            await asyncio.sleep(max(0.0, self._ended + self._apart() - time.monotonic()))
            self._begun += 1
            try:
                await self.read()
            except MuttError as error:
                self._tell(str(error))
            finally:
                self._ended = time.monotonic()

    async def read(self) -> None:
        """Read all secrets now; raises MuttError, and then what was held is still held."""
        began = time.time()
        fresh = await self._fetch()
        lost = [name for name in ESSENTIAL if self._held.get(name) and not fresh.get(name)]
        if lost:
            self._take({**fresh, **{name: self._held[name] for name in lost}})
            raise SettingsError(
                f"{', '.join(lost)} cannot be found any more in {self._place()}: the former value stays in force until "
                "there is one again"
            )
        self._take(fresh)
        self.read_at = began
        self._tell(None)

    def _take(self, fresh: Mapping[str, str]) -> None:
        self._held = fresh
        for take in self._followers:
            take()

    def soon(self) -> None:
        """Have `keep_fresh` read the secrets now (SIGHUP)."""
        self._wanted.set()

    async def keep_fresh(self) -> None:
        """Read the secrets again and again, for ever; cancelled at the end of the process."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(
                    self._wanted.wait(), min(RETRY_SECONDS, self._due()) if self.problem else self._due()
                )
            self._wanted.clear()
            await self.refresh()

    @abstractmethod
    async def _fetch(self) -> dict[str, str]:
        """Return the secrets as they are now; raises MuttError."""

    @abstractmethod
    def _due(self) -> float:
        """Return the seconds until the next reading."""

    @abstractmethod
    def _place(self) -> str:
        """Name the source for an operator."""

    def _apart(self) -> float:
        return 0.0

    def _tell(self, problem: str | None) -> None:
        if problem == self.problem:
            return
        if problem:
            log.warning("secrets are not current, going on with what is held", problem=problem)
        else:
            log.info("secrets are current again")
        self.problem = problem


class EnvironmentSecrets(SecretSource):
    """Secrets of development: variable NAME, or the file that NAME_FILE names (read again at each refresh)."""

    kind = "environment"

    def __init__(self, environ: Mapping[str, str], refresh_seconds: float = REFRESH_SECONDS) -> None:
        super().__init__()
        self._environ = dict(environ)
        self._refresh_seconds = refresh_seconds
        self._held = self._read_files()
        self.read_at = time.time()

    async def _fetch(self) -> dict[str, str]:
        return self._read_files()

    def _due(self) -> float:
        return self._refresh_seconds

    def _place(self) -> str:
        return "the files that NAME_FILE variables name"

    def _read_files(self) -> dict[str, str]:
        held = {name: value for name, value in self._environ.items() if value}
        for variable, path in self._environ.items():
            name = variable.removesuffix("_FILE")
            if name == variable or not _is_secret(name) or not path or held.get(name):
                continue
            try:
                held[name] = Path(path).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise SettingsError(f"{variable}={path!r} cannot be read: {error}") from error
        return held


def make_source(settings: VaultSettings, environ: Mapping[str, str]) -> SecretSource:
    """Return the source that the settings name; raises SettingsError. Vault's has not been read yet."""
    if settings.addr:
        from services.runtime.vault import VaultSecrets  # its client is a seventh of a start that needs none

        return VaultSecrets(settings)
    log.info("secrets come from the environment, since VAULT_ADDR is not set")
    return EnvironmentSecrets(environ, settings.refresh_interval)


async def open_secrets(settings: VaultSettings, environ: Mapping[str, str]) -> SecretSource:
    """Return the source that the settings name, read once; raises MuttError when that fails."""
    source = make_source(settings, environ)
    await source.read()
    return source


def required(secrets: SecretSource, name: str) -> str:
    """Return a secret that the service cannot start without; raises SettingsError that says where to put it."""
    value = secrets.get(name)
    if value is None:
        raise SettingsError(f"{name} is not set: give it in Vault, or in {name} or {name}_FILE without Vault")
    return value


def _is_secret(name: str) -> bool:
    return name.endswith(("_KEY", "_KEYS", "_KEY_ID", "_PASS", "_TOKEN", "_CURRENT", "_NEXT"))
