"""One instance of the developer mode: its data folder, ports, secrets, and whether it runs."""

import fcntl
import json
import os
import secrets
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from scripts.devtools.services import HOST, SERVICES, TREE

DEFAULT_FOLDER = TREE / ".muttdev"
STAND_IN, VAULT = "moogsoft-stand-in", "vault"
SERVER_PORTS = {"redis": 6379, "postgres": 5432, STAND_IN: 8095, VAULT: 8200}
NAMES = (*SERVICES, "redis", "postgres", STAND_IN)  # and Vault, where it was asked for
LOCK = "lock"
DATABASE, DATABASE_USER = "mutt_db", "mutt_user"
SECRETS = (
    "INGEST_API_KEY",
    "WEBUI_API_KEY",
    "MOOG_API_KEY",
    "REDIS_PASS_CURRENT",
    "DB_PASS_CURRENT",
    "POSTGRES_SUPERUSER_PASSWORD",
)
VAULT_SECRETS = ("VAULT_ROLE_ID", "VAULT_SECRET_ID", "VAULT_ROOT_TOKEN")


class UserError(Exception):
    """Something the user has to know; the text says what to do."""


@dataclass(frozen=True)
class Options:
    """What `up` was asked for; kept in the data folder, so that the other commands know it."""

    port_offset: int = 0
    samples: bool = True
    redis_url: str | None = None
    database_url: str | None = None
    vault: bool = False


class Instance:
    """The instance in a data folder."""

    def __init__(self, folder: Path, options: Options) -> None:
        self.folder = folder
        self.options = options
        self.logs = folder / "logs"
        self.own_log = self.logs / "muttdev.log"
        self._secrets = folder / "secrets"

    # -- the folder

    @classmethod
    def find(cls, folder: Path) -> "Instance":
        """Return the instance that `up` made in `folder`. Raises UserError when there is none."""
        folder = folder.resolve()
        try:
            kept = json.loads((folder / "options.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(
                f"there is no MUTT in {folder}. Start one: python3 scripts/muttdev.py up"
                f"{'' if folder == DEFAULT_FOLDER else f' --data-dir {folder}'}, or name its folder with --data-dir"
            ) from None
        except (OSError, ValueError) as error:
            raise UserError(
                f"{folder / 'options.json'} cannot be read ({error}): is --data-dir right, and are you the user "
                "who ran up? A broken file may be deleted, and up run again"
            ) from error
        return cls(folder, Options(**kept))

    @classmethod
    def claim(cls, folder: Path, **wished: Any) -> "tuple[Instance, IO[str]] | None":
        """Return the instance in `folder`, made where it is new, and its lock; None when it runs already.

        What is wished for (not None) is kept from now on.
        """
        folder = folder.resolve()
        known = (folder / "options.json").exists()
        if not known and folder.is_dir() and {entry.name for entry in folder.iterdir()} - {LOCK}:
            raise UserError(
                f"{folder} holds something else than a MUTT instance: give --data-dir a new or empty folder"
            )
        # PostgreSQL's own user has to pass through, when root starts it; what is secret is in folders of mode 0700.
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o711)
        lock = take_lock(folder, patience=0.5)
        if lock is None:
            return None
        options = asdict(cls.find(folder).options if known else Options())
        options.update({name: value for name, value in wished.items() if value is not None})
        instance = cls(folder, Options(**options))
        for private in (instance.logs, instance._secrets):
            private.mkdir(exist_ok=True, mode=0o700)
        instance._make_secrets()
        write_file(folder / "options.json", json.dumps(options, indent=2), mode=0o600)  # a URL holds a password
        return instance, lock

    def forget(self) -> None:
        """Remove the folder of an instance that nothing has run in yet."""
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- secrets

    def secret(self, name: str) -> str:
        """Return a secret of this instance."""
        return self.secret_file(name).read_text(encoding="utf-8")

    def secret_file(self, name: str) -> Path:
        """Return the file, mode 0600, that holds a secret."""
        return self._secrets / name

    def keep_secret(self, name: str, value: str) -> None:
        """Replace a secret."""
        write_file(self.secret_file(name), value, mode=0o600)

    def _make_secrets(self) -> None:
        for name in (*SECRETS, *(VAULT_SECRETS if self.options.vault else ())):
            if not self.secret_file(name).exists():
                self.keep_secret(name, secrets.token_hex(16))
        for name, url in (
            ("REDIS_PASS_CURRENT", self.options.redis_url),
            ("DB_PASS_CURRENT", self.options.database_url),
        ):
            if url:
                self.keep_secret(name, unquote(urlsplit(url).password or ""))

    # -- addresses

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all services and servers of this instance."""
        return (*NAMES, VAULT) if self.options.vault else NAMES

    def port(self, name: str, use: str = "port") -> int:
        """Return the port of a service ("http", "metrics", "health") or of a server ("port")."""
        documented = SERVER_PORTS[name] if name in SERVER_PORTS else SERVICES[name].ports[use][1]
        return documented + self.options.port_offset

    def ports(self, name: str) -> dict[str, int]:
        """Return all ports of a service or server by their use; none for a server that is not ours."""
        if self.is_external(name):
            return {}
        if name == VAULT:
            return {"port": self.port(VAULT), "cluster": self.port(VAULT) + 1}  # the second is the server's own choice
        uses = ("port",) if name in SERVER_PORTS else tuple(SERVICES[name].ports)
        return {use: self.port(name, use) for use in uses}

    def is_external(self, name: str) -> bool:
        """Return whether the server was given by its URL."""
        return bool({"redis": self.options.redis_url, "postgres": self.options.database_url}.get(name))

    @property
    def redis_url(self) -> str:
        """The address of Redis with its password."""
        password = self.secret("REDIS_PASS_CURRENT")
        return self.options.redis_url or f"redis://:{password}@{HOST}:{self.port('redis')}/0"

    @property
    def database_url(self) -> str:
        """The address of the database with its owner's password."""
        login = f"{DATABASE_USER}:{self.secret('DB_PASS_CURRENT')}"
        return self.options.database_url or f"postgresql://{login}@{HOST}:{self.port('postgres')}/{DATABASE}"

    def http_url(self, name: str, use: str = "http") -> str:
        """Return the base address of a service's HTTP port, of the stand-in's or of Vault's."""
        return f"http://{HOST}:{self.port(name, use)}"

    def health_url(self, name: str) -> str:
        """Return the address of a service's or a server's health check."""
        if name == VAULT:
            return f"{self.http_url(VAULT)}/v1/sys/health"
        if name == STAND_IN:
            return f"{self.http_url(name)}/health"
        return f"{self.http_url(name, 'http' if 'http' in SERVICES[name].ports else 'health')}/health"

    def environment(self) -> dict[str, str]:
        """Return what `muttdev.py env` prints: where everything is, and the keys."""
        return {
            "INGEST_URL": self.http_url("ingestor"),
            "INGEST_API_KEY": self.secret("INGEST_API_KEY"),
            "WEBUI_URL": self.http_url("webui"),
            "WEBUI_API_KEY": self.secret("WEBUI_API_KEY"),
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis_url,
            "MOOG_URL": self.http_url(STAND_IN),
            "MOOG_API_KEY": self.secret("MOOG_API_KEY"),
            "MUTT_DATA_DIR": str(self.folder),
            **(
                self.vault_environment() | {"VAULT_TOKEN": self.secret("VAULT_ROOT_TOKEN")}
                if self.options.vault
                else {}
            ),
        }

    def vault_environment(self) -> dict[str, str]:
        """Return the variables by which a service logs in to Vault."""
        return {
            "VAULT_ADDR": self.http_url(VAULT),
            "VAULT_ROLE_ID": self.secret("VAULT_ROLE_ID"),
            "VAULT_SECRET_ID_FILE": str(self.secret_file("VAULT_SECRET_ID")),
        }

    # -- running or not

    def lock(self, patience: float = 0.0) -> IO[str] | None:
        """Return the held lock of this instance, None when a supervisor holds it; it goes with the process."""
        return take_lock(self.folder, patience)

    @property
    def running(self) -> bool:
        """Whether a supervisor of this instance runs."""
        held = self.lock()
        if held is not None:
            held.close()
        return held is None

    def state(self) -> dict[str, Any]:
        """Return what the supervisor wrote last: phase, message, supervisor, services; {} before the first."""
        try:
            state: dict[str, Any] = json.loads((self.folder / "state.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return state

    def write_state(self, state: Mapping[str, Any]) -> None:
        """Replace the state in one step, so that no reader sees half of it."""
        write_file(self.folder / "state.json", json.dumps(state))


def take_lock(folder: Path, patience: float) -> IO[str] | None:
    """Return the held lock of the instance in `folder`; None when another holds it for longer than `patience`."""
    handle = (folder / LOCK).open("a", encoding="utf-8")
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:  # patience is for `status`, which looks by taking it for a moment
                handle.close()
                return None
            time.sleep(0.02)
        else:
            return handle


def write_file(path: Path, text: str, mode: int = 0o644) -> None:
    """Replace the file in one step; it never has wider access than `mode`, nor half of its content."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as handle:
        handle.write(text)
    fresh.replace(path)
