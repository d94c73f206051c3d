"""The variables of the servers that MUTT talks to: Redis, PostgreSQL, Vault."""

from dataclasses import dataclass

from mutt.variables import var

PORT_LOW, PORT_HIGH = 1, 65535


@dataclass(frozen=True, slots=True)
class RedisSettings:
    """Where Redis is and how to talk to it; the password comes from the secrets."""

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
    wait_replicas: int = var(
        "REDIS_WAIT_REPLICAS",
        0,
        "Replicas that must hold a push before it is acknowledged (durable mode)",
        low=0,
        high=16,
    )


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
