"""The environment that the supervisor gives to a service."""

import os

from mutt.settings import SERVICES as SETTINGS
from mutt.variables import variables
from scripts.devtools.instance import STAND_IN, Instance
from scripts.devtools.services import (
    HOST,
    Service,
    database_environment,
    port_environment,
    redis_environment,
)

INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE")
SECRETS = ("INGEST_API_KEY", "WEBUI_API_KEY", "MOOG_API_KEY", "REDIS_PASS_CURRENT", "DB_PASS_CURRENT")


def plain_environment() -> dict[str, str]:
    """Return what any child process is given of this one's environment."""
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return {**inherited, "PYTHONUNBUFFERED": "1"}


def service_environment(instance: Instance, service: Service) -> dict[str, str]:
    """Return the whole environment of a service: ours, and those of its own variables that the user has set.

    Not those of the user's Vault: the secrets come from this instance's own or, without one, from files.
    """
    known = {variable.name for variable, _ in variables(SETTINGS[service.name])}
    wished = {name: value for name, value in os.environ.items() if name in known and not name.startswith("VAULT_")}
    servers = {**redis_environment(instance.redis_url), **database_environment(instance.database_url)}
    return {
        **plain_environment(),
        "DYNAMIC_CONFIG_ENABLED": "true",
        "SECRETS_REFRESH_INTERVAL": "5",
        **wished,
        **{name: value for name, value in servers.items() if name not in SECRETS},
        **port_environment(service, instance.ports(service.name)),
        **_secrets(instance),
        "MUTT_BIND_HOST": HOST,
        "MOOG_WEBHOOK_URL": f"{instance.http_url(STAND_IN)}/events",
        "WEBUI_INSECURE_COOKIES": "true",
        "POD_NAME": f"dev-{service.name}",  # stable, so that a restarted service takes over its claims at once
    }


def _secrets(instance: Instance) -> dict[str, str]:
    if instance.options.vault:
        return instance.vault_environment()
    return {f"{name}_FILE": str(instance.secret_file(name)) for name in SECRETS}
