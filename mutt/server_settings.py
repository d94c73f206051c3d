"""The variables of the servers that MUTT talks to: Redis, PostgreSQL, Vault."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from mutt.errors import SettingsError
from mutt.variables import var

PORT_LOW, PORT_HIGH = 1, 65535
STANDALONE, SENTINEL, CLUSTER = "standalone", "sentinel", "cluster"
SENTINEL_PORT = 26379


@dataclass(frozen=True, slots=True)
class RedisSettings:
    """Where Redis is and how to talk to it; the passwords come from the secrets."""

    mode: str = var(
        "REDIS_MODE",
        STANDALONE,
        "One server at REDIS_HOST, or the primary that Sentinel names; a cluster is refused so far",
        choices=(STANDALONE, SENTINEL, CLUSTER),
    )
    sentinels: tuple[str, ...] = var(
        "REDIS_SENTINELS", (), "Sentinels as host:port, by comma (26379 where no port stands); for REDIS_MODE=sentinel"
    )
    sentinel_master: str = var("REDIS_SENTINEL_MASTER", "mymaster", "Name that the sentinels know the primary by")
    host: str = var("REDIS_HOST", "localhost", "Redis hostname")
    port: int = var("REDIS_PORT", 6379, "Redis port", low=PORT_LOW, high=PORT_HIGH)
    tls_enabled: bool = var("REDIS_TLS_ENABLED", True, "Use TLS to Redis")
    ca_cert_path: str | None = var(
        "REDIS_CA_CERT_PATH", None, "File of the certificate authority; empty means the system's trust store"
    )
    max_connections: int = var(
        "REDIS_MAX_CONNECTIONS", 20, "Connection pool size; past it a caller waits 2 s", low=2, high=10_000
    )
    timeout: float = var(
        "REDIS_TIMEOUT",
        5.0,
        "Longest wait for a reply of Redis (seconds), beside a blocking call's own",
        low=0.1,
        high=60,
    )
    durable: bool = var(
        "REDIS_DURABLE",
        False,
        "Acknowledge an event only when it survives a crash of Redis and a fail-over: appendfsync always, all replicas",
    )
    wait_replicas: int = var(
        "REDIS_WAIT_REPLICAS",
        0,
        "Replicas at least that must hold a push before it is acknowledged",
        low=0,
        high=16,
    )

    def __post_init__(self) -> None:
        """Refuse a cluster, and sentinels that are missing or cannot be read."""
        if self.mode == CLUSTER:
            raise SettingsError(
                "REDIS_MODE=cluster is not possible so far: MUTT moves entries between its queues in one step, which a "
                "cluster does only within one hash slot. Use sentinel, or standalone for one server"
            )
        if self.mode == SENTINEL and not self.sentinels:
            raise SettingsError(
                "REDIS_SENTINELS is not set: REDIS_MODE=sentinel needs the sentinels as host:port, by comma"
            )
        _ = self.sentinel_addresses

    @property
    def sentinel_addresses(self) -> list[tuple[str, int]]:
        """Return host and port of each sentinel; raises SettingsError naming the one that cannot be read."""
        return [_address("REDIS_SENTINELS", text, SENTINEL_PORT) for text in self.sentinels]


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """Where PostgreSQL is and how to talk to it; the password comes from the secrets."""

    host: str = var("DB_HOST", "localhost", "PostgreSQL hostname")
    port: int = var("DB_PORT", 5432, "PostgreSQL port", low=PORT_LOW, high=PORT_HIGH)
    name: str = var("DB_NAME", "mutt_db", "Database name")
    user: str = var("DB_USER", "mutt_user", "Database user")
    tls_enabled: bool = var("DB_TLS_ENABLED", True, "Use TLS to PostgreSQL")
    tls_ca_cert_path: str | None = var(
        "DB_TLS_CA_CERT_PATH", None, "File of the certificate authority; empty means the system's trust store"
    )
    pool_min_conn: int = var("DB_POOL_MIN_CONN", 2, "Min connections in pool", low=0, high=1000)
    pool_max_conn: int = var("DB_POOL_MAX_CONN", 10, "Max connections in pool", low=1, high=1000)


@dataclass(frozen=True, slots=True)
class VaultSettings:
    """Where the secrets are; without an address they come from the environment (NAME or NAME_FILE)."""

    addr: str | None = var("VAULT_ADDR", None, "Vault URL; empty means secrets from NAME or NAME_FILE variables")
    role_id: str | None = var("VAULT_ROLE_ID", None, "AppRole role ID (required with VAULT_ADDR)")
    secret_id_file: str = var("VAULT_SECRET_ID_FILE", "/etc/mutt/secrets/vault_secret_id", "Path to secret ID file")
    secrets_path: str = var("VAULT_SECRETS_PATH", "secret/mutt", "KV path for secrets")
    token_renew_threshold: int = var(
        "VAULT_TOKEN_RENEW_THRESHOLD", 3600, "Renew when TTL < N seconds", low=1, high=31_536_000
    )
    renew_check_interval: int = var(
        "VAULT_RENEW_CHECK_INTERVAL", 300, "Check token TTL every N seconds", low=1, high=86_400
    )
    cacert: str | None = var(
        "VAULT_CACERT", None, "File of the certificate authority; empty means the system's trust store"
    )
    start_timeout: float = var(
        "VAULT_START_TIMEOUT", 300.0, "Seconds to wait for Vault at start, then the service ends", low=0, high=86_400
    )
    refresh_interval: float = var(
        "SECRETS_REFRESH_INTERVAL", 60.0, "Seconds after which the secrets are read again", low=0.1, high=86_400
    )

    def __post_init__(self) -> None:
        """Refuse an address that is none, and Vault without a role."""
        if self.addr is None:
            return
        if "@" in self.addr:
            raise SettingsError("VAULT_ADDR holds a user name or password: MUTT logs in by AppRole alone")
        check_url("VAULT_ADDR", self.addr, "https://host:8200")
        if not self.role_id:
            raise SettingsError("VAULT_ROLE_ID is not set: Vault (VAULT_ADDR) is used by AppRole, which needs it")


@dataclass(frozen=True, slots=True)
class OwnTlsSettings:
    """TLS of a service's own port; without a certificate it speaks plain HTTP."""

    cert_path: str | None = var(
        "MUTT_TLS_CERT_PATH", None, "File of the own certificate and its chain (PEM); empty means plain HTTP"
    )
    key_path: str | None = var("MUTT_TLS_KEY_PATH", None, "File of the certificate's private key (PEM, no passphrase)")

    def __post_init__(self) -> None:
        """Refuse half of a pair."""
        if (self.cert_path is None) != (self.key_path is None):
            missing = "MUTT_TLS_KEY_PATH" if self.key_path is None else "MUTT_TLS_CERT_PATH"
            raise SettingsError(f"{missing} is not set: TLS needs both MUTT_TLS_CERT_PATH and MUTT_TLS_KEY_PATH")


def check_url(variable: str, url: str, example: str) -> None:
    """Raise SettingsError where an address is none of HTTP's."""
    try:
        parts = urlsplit(url)
        is_possible = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_possible = False
    if not is_possible:
        shown = "with an @ in it" if "@" in url else repr(url)  # (there may be a password in it)
        raise SettingsError(f"{variable}={shown} is not possible: an address like {example} is needed")


def _address(variable: str, text: str, default_port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port or default_port
    except ValueError:
        host, port = None, 0
    if not host or text != parts.netloc or "@" in text:
        raise SettingsError(f"{variable}: {text!r} is not possible: host:port is needed, such as redis-1.example:26379")
    return host, port
