"""The five services as processes: entry file, ports of the documentation, and the environment each is started with."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

TREE = Path(__file__).resolve().parent.parent.parent
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Service:
    """One service: `ports` maps a use ("http", "metrics", "health") to its variable and documented port."""

    name: str
    entry: str
    ports: Mapping[str, tuple[str, int]]
    uses_database: bool = True

    @property
    def command(self) -> list[str]:
        """The command line: a path that `pgrep -f` finds."""
        return [sys.executable, str(TREE / "services" / self.entry)]


SERVICES = {
    service.name: service
    for service in (
        Service("ingestor", "ingestor_service.py", {"http": ("SERVER_PORT_INGESTOR", 8080)}, uses_database=False),
        Service(
            "alerter",
            "alerter_service.py",
            {"metrics": ("METRICS_PORT_ALERTER", 8081), "health": ("HEALTH_PORT_ALERTER", 8082)},
        ),
        Service(
            "moog-forwarder",
            "moog_forwarder_service.py",
            {"metrics": ("METRICS_PORT_MOOG", 8083), "health": ("HEALTH_PORT_MOOG", 8084)},
        ),
        Service("webui", "web_ui_service.py", {"http": ("SERVER_PORT_WEBUI", 8090)}),
        Service(
            "remediation",
            "remediation_service.py",
            {"metrics": ("METRICS_PORT_REMEDIATION", 8086), "health": ("HEALTH_PORT_REMEDIATION", 8087)},
        ),
    )
}


def port_environment(service: Service, ports: Mapping[str, int]) -> dict[str, str]:
    """Return the variables that make `service` listen on `ports` ("http", "metrics", "health")."""
    return {variable: str(ports[use]) for use, (variable, _) in service.ports.items()}


def redis_environment(url: str) -> dict[str, str]:
    """Return the REDIS_ variables of a redis:// or rediss:// URL, and its password as the secret."""
    parts = urlsplit(url)
    return {
        "REDIS_HOST": parts.hostname or HOST,
        "REDIS_PORT": str(parts.port or 6379),
        "REDIS_TLS_ENABLED": str(parts.scheme == "rediss").lower(),
        "REDIS_PASS_CURRENT": unquote(parts.password or ""),
    }


def database_environment(url: str) -> dict[str, str]:
    """Return the DB_ variables of a postgresql:// URL, and its password as the secret."""
    parts = urlsplit(url)
    return {
        "DB_HOST": parts.hostname or HOST,
        "DB_PORT": str(parts.port or 5432),
        "DB_NAME": unquote(parts.path.lstrip("/")) or "mutt_db",
        "DB_USER": unquote(parts.username or "mutt_user"),
        "DB_TLS_ENABLED": str("sslmode=verify" in parts.query).lower(),
        "DB_PASS_CURRENT": unquote(parts.password or ""),
    }
