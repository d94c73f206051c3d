"""A real Vault for tests, and how it is filled."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mutt.server_settings import VaultSettings
from scripts.devtools.vault import SECRETS_PATH, VaultServer, provision

ROLE_ID = "role-id-of-a-test"
SECRET_ID = "secret-id-of-a-test"  # of a server on the loopback that lives as long as the tests
HELD: dict[str, str] = {"INGEST_API_KEY": "ingest-key-in-vault", "REDIS_PASS_CURRENT": "redis-password-in-vault"}


@contextmanager
def running_vault(folder: Path, *, tls: bool = False) -> Iterator[VaultServer]:
    """Run a Vault that nothing was written to."""
    server = VaultServer(folder, tls=tls)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def fill(server: VaultServer, folder: Path, values: Mapping[str, str] = HELD, **role: Any) -> dict[str, str]:
    """Write policy, AppRole and secrets, the secret id's file too, and return the variables of a service."""
    provision(server.client, ROLE_ID, SECRET_ID, values, **role)
    secret_id_file = folder / "secret-id"
    secret_id_file.write_text(f"{SECRET_ID}\n", encoding="ascii")
    secret_id_file.chmod(0o600)
    return {
        "VAULT_ADDR": server.address,
        "VAULT_ROLE_ID": ROLE_ID,
        "VAULT_SECRET_ID_FILE": str(secret_id_file),
        "VAULT_SECRETS_PATH": SECRETS_PATH,
    }


def settings_of(environ: Mapping[str, str], **changes: Any) -> VaultSettings:
    """Return the settings as a service reads them, some changed."""
    known: dict[str, Any] = {
        "addr": environ["VAULT_ADDR"],
        "role_id": environ["VAULT_ROLE_ID"],
        "secret_id_file": environ["VAULT_SECRET_ID_FILE"],
        "secrets_path": environ["VAULT_SECRETS_PATH"],
    }
    return VaultSettings(**known | changes)
