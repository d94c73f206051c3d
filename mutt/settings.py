"""Every environment variable of MUTT: type, default, limits, purpose; docs/configuration.md is made of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TypeVar
from urllib.parse import urlsplit

from mutt.beating_settings import BeatingSettings
from mutt.counting_settings import CountingSettings
from mutt.errors import SettingsError
from mutt.intake_settings import IntakeSettings
from mutt.judging_settings import JudgingSettings
from mutt.server_settings import (
    PORT_HIGH,
    PORT_LOW,
    DatabaseSettings,
    OwnTlsSettings,
    RedisSettings,
    VaultSettings,
    check_url,
)
from mutt.variables import read, var

POD_NAME_PATTERN = r"[A-Za-z0-9._-]{1,63}"
TRACES_SAMPLERS = (
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
)
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


@dataclass(frozen=True, slots=True)
class LogSettings:
    """How a service speaks."""

    level: str = var("LOG_LEVEL", "INFO", "Logging level", choices=LOG_LEVELS)
    json_enabled: bool = var("LOG_JSON_ENABLED", False, "One JSON object a log line instead of plain text")


@dataclass(frozen=True, slots=True)
class TracingSettings:
    """OpenTelemetry."""

    enabled: bool = var("OTEL_ENABLED", False, "Enable OpenTelemetry tracing")
    endpoint: str | None = var(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        None,
        "OTLP collector endpoint (gRPC), such as http://collector:4317",
        pattern=r"https?://(\[[0-9A-Fa-f:.]+\]|[^\s/@:\[\]]+):[0-9]+/?",
    )
    sampler: str = var(
        "OTEL_TRACES_SAMPLER", "parentbased_traceidratio", "Which requests are traced", choices=TRACES_SAMPLERS
    )
    ratio: float = var("OTEL_TRACES_SAMPLER_ARG", 0.01, "Share of traces that a ratio sampler keeps", low=0, high=1)


@dataclass(frozen=True, slots=True)
class QueueNames:
    """Names of queues and prefixes, read by every service that touches the key."""

    ingest_queue: str = var("INGEST_QUEUE_NAME", "mutt:ingest_queue", "Queue of accepted events")
    alert_queue: str = var("ALERT_QUEUE_NAME", "mutt:alert_queue", "Queue of alerts to forward")
    alerter_processing: str = var(
        "ALERTER_PROCESSING_LIST_PREFIX", "mutt:processing:alerter", "Processing list prefix of alerters"
    )
    alerter_heartbeat: str = var("ALERTER_HEARTBEAT_PREFIX", "mutt:heartbeat:alerter", "Heartbeat prefix of alerters")
    alerter_dlq: str = var("ALERTER_DLQ_NAME", "mutt:dlq:alerter", "Dead letters of alerters")
    moog_processing: str = var(
        "MOOG_PROCESSING_LIST_PREFIX", "mutt:processing:moog", "Processing list prefix of forwarders"
    )
    moog_heartbeat: str = var("MOOG_HEARTBEAT_PREFIX", "mutt:heartbeat:moog", "Heartbeat prefix of forwarders")
    moog_dlq: str = var("MOOG_DLQ_NAME", "mutt:dlq:moog", "Dead letters of forwarders")
    unhandled: str = var("UNHANDLED_PREFIX", "mutt:unhandled", "Prefix of the counters of unmatched patterns")
    rate_limit: str = var("MOOG_RATE_LIMIT_KEY", "mutt:rate_limit:moog", "Shared rate limiter key")


@dataclass(frozen=True, slots=True)
class CircuitSettings:
    """When the circuit breaker in front of Moogsoft opens, and for how long."""

    threshold: int = var("MOOG_CIRCUIT_THRESHOLD", 5, "Consecutive failures that open the circuit", low=1, high=1000)
    open_seconds: float = var(
        "MOOG_CIRCUIT_OPEN_SECONDS", 60.0, "Seconds that an open circuit waits before a probe", low=0.1, high=3600
    )


@dataclass(frozen=True, slots=True)
class CommonSettings:
    """What all five services share."""

    logs: LogSettings = field(default_factory=LogSettings)
    tracing: TracingSettings = field(default_factory=TracingSettings)
    redis: RedisSettings = field(default_factory=RedisSettings)
    vault: VaultSettings = field(default_factory=VaultSettings)
    names: QueueNames = field(default_factory=QueueNames)
    dynamic_config_enabled: bool = var("DYNAMIC_CONFIG_ENABLED", False, "Enable dynamic config reads")
    bind_host: str = var("MUTT_BIND_HOST", "0.0.0.0", "Address that the service's ports listen on")  # noqa: S104
    shutdown_grace: float = var(
        "MUTT_SHUTDOWN_GRACE", 20.0, "Seconds to settle what is in flight after SIGTERM", low=0, high=600
    )


@dataclass(frozen=True, slots=True)
class IngestorSettings(CommonSettings):
    """The ingestor's own variables."""

    pod_name: str | None = var(
        "POD_NAME", None, "Name of this instance; empty means {host}-{port}", pattern=POD_NAME_PATTERN
    )
    port: int = var("SERVER_PORT_INGESTOR", 8080, "HTTP listen port", low=PORT_LOW, high=PORT_HIGH)
    tls: OwnTlsSettings = field(default_factory=OwnTlsSettings)
    max_ingest_queue_size: int = var(
        "MAX_INGEST_QUEUE_SIZE", 1_000_000, "Queue cap for backpressure", low=1, high=1_000_000_000
    )
    required_message_fields: tuple[str, ...] = var(
        "REQUIRED_MESSAGE_FIELDS",
        ("timestamp", "message", "hostname"),
        "Required fields for events, by comma",
    )
    max_body_bytes: int = var(
        "INGEST_MAX_BODY_BYTES", 16_777_216, "Largest body, packed or unpacked", low=1024, high=1_073_741_824
    )
    max_records: int = var("INGEST_MAX_RECORDS", 50_000, "Most records in one body", low=1, high=500_000)
    max_event_bytes: int = var("INGEST_MAX_EVENT_BYTES", 65_536, "Largest event", low=256, high=16_777_216)
    max_json_depth: int = var("INGEST_MAX_JSON_DEPTH", 32, "Most levels of an event's JSON", low=1, high=200)
    body_timeout: float = var("INGEST_BODY_TIMEOUT", 30.0, "Seconds to read a request", low=0.1, high=3600)
    keep_alive: int = var(
        "INGEST_KEEP_ALIVE", 75, "Seconds that a sender's idle connection stays open", low=1, high=86_400
    )
    max_in_flight_bytes: int = var(
        "INGEST_MAX_IN_FLIGHT_BYTES",
        268_435_456,
        "Bytes of bodies held at once, past which new ones get 503",
        low=1024,
        high=1_099_511_627_776,
    )
    max_memory_percent: int = var(
        "INGEST_MAX_MEMORY_PERCENT",
        75,
        "Share of Redis's maxmemory past which events get 503 (percent; 0: do not look)",
        low=0,
        high=100,
    )


@dataclass(frozen=True, slots=True)
class AlerterSettings(CommonSettings):
    """The alerter's own variables."""

    db: DatabaseSettings = field(default_factory=DatabaseSettings)
    pod_name: str | None = var(
        "POD_NAME", None, "Unique worker identifier; empty means alerter-{random}", pattern=POD_NAME_PATTERN
    )
    metrics_port: int = var("METRICS_PORT_ALERTER", 8081, "Prometheus metrics port", low=PORT_LOW, high=PORT_HIGH)
    health_port: int = var("HEALTH_PORT_ALERTER", 8082, "Health check port", low=PORT_LOW, high=PORT_HIGH)
    heartbeat_interval: int = var("ALERTER_HEARTBEAT_INTERVAL", 10, "Heartbeat refresh (seconds)", low=1, high=3600)
    janitor_timeout: int = var(
        "ALERTER_JANITOR_TIMEOUT", 30, "Heartbeat expiry (seconds), at least 3 heartbeats", low=3, high=86_400
    )
    max_retries: int = var(
        "ALERTER_MAX_RETRIES",
        3,
        "Max retries before DLQ; below 2, what a dead alerter held is claimed one by one",
        low=0,
        high=1000,
    )
    brpoplpush_timeout: int = var(
        "BRPOPLPUSH_TIMEOUT", 5, "Longest wait of one blocking claim (seconds)", low=1, high=60
    )
    cache_reload_interval: int = var(
        "CACHE_RELOAD_INTERVAL", 300, "Cache refresh interval (seconds)", low=1, high=86_400
    )
    counting: CountingSettings = field(default_factory=CountingSettings)
    unhandled_default_team: str = var("UNHANDLED_DEFAULT_TEAM", "NETO", "Default team for unhandled")
    host_match_short: bool = var(
        "HOST_MATCH_SHORT", False, "Look a host up by its short name when the full one is not listed"
    )
    dlq_max: int = var(
        "MUTT_DLQ_MAX", 500_000, "Dead letters past which shedding defers instead", low=1, high=1_000_000_000
    )
    batch_size: int = var("ALERTER_BATCH_SIZE", 1000, "Most events in one claim", low=1, high=1000)
    database_grace: float = var(
        "ALERTER_DATABASE_GRACE",
        15.0,
        "Seconds that alerts wait for PostgreSQL before they go ahead of the audit",
        low=0,
        high=3600,
    )

    def __post_init__(self) -> None:
        """Refuse a heartbeat that one lost refresh would let expire."""
        _check_heartbeat("ALERTER", self.heartbeat_interval, self.janitor_timeout)


@dataclass(frozen=True, slots=True)
class MoogForwarderSettings(CommonSettings):
    """The Moog forwarder's own variables."""

    db: DatabaseSettings = field(default_factory=DatabaseSettings)
    pod_name: str | None = var(
        "POD_NAME",
        None,
        "Unique worker identifier; empty means moog-forwarder-{random}",
        pattern=POD_NAME_PATTERN,
    )
    metrics_port: int = var("METRICS_PORT_MOOG", 8083, "Prometheus metrics port", low=PORT_LOW, high=PORT_HIGH)
    health_port: int = var("HEALTH_PORT_MOOG", 8084, "Health check port", low=PORT_LOW, high=PORT_HIGH)
    heartbeat_interval: int = var("MOOG_HEARTBEAT_INTERVAL", 10, "Heartbeat refresh (seconds)", low=1, high=3600)
    janitor_timeout: int = var(
        "MOOG_JANITOR_TIMEOUT", 30, "Heartbeat expiry (seconds), at least 3 heartbeats", low=3, high=86_400
    )
    brpoplpush_timeout: int = var(
        "BRPOPLPUSH_TIMEOUT", 5, "Longest wait of one blocking claim (seconds)", low=1, high=60
    )
    webhook_url: str = var("MOOG_WEBHOOK_URL", "", "Moogsoft webhook URL (required)", required=True)
    webhook_timeout: float = var("MOOG_WEBHOOK_TIMEOUT", 10.0, "HTTP request timeout (seconds)", low=0.1, high=300)
    rate_limit: int = var("MOOG_RATE_LIMIT", 50, "Max requests/period (shared)", low=1, high=100_000)
    rate_period: float = var("MOOG_RATE_PERIOD", 1.0, "Rate limit window (seconds)", low=0.1, high=3600)
    max_retries: int = var("MOOG_MAX_RETRIES", 5, "Max retries before DLQ", low=0, high=1000)
    retry_base_delay: float = var("MOOG_RETRY_BASE_DELAY", 1.0, "Initial retry delay (seconds)", low=0.01, high=3600)
    retry_max_delay: float = var("MOOG_RETRY_MAX_DELAY", 60.0, "Max retry delay (seconds)", low=0.01, high=86_400)
    circuit: CircuitSettings = field(default_factory=CircuitSettings)
    profile: str = var(
        "MOOG_PROFILE", "onprem", "Shape of an alert: the product's own or the cloud's", choices=("onprem", "saas")
    )
    batch_mode: str = var(
        "MOOG_BATCH_MODE",
        "single",
        "One alert a request, or an object `events` with up to moog_batch_size of them",
        choices=("single", "events"),
    )
    concurrency: int = var("MOOG_CONCURRENCY", 32, "Requests under way at once", low=1, high=1000)
    allow_http: bool = var("MOOG_ALLOW_HTTP", False, "Allow a webhook without TLS that is not on this machine")
    ca_cert_path: str | None = var(
        "MOOG_CA_CERT_PATH", None, "File of the certificate authority; empty means the system's trust store"
    )
    auth_header: str = var(
        "MOOG_AUTH_HEADER",
        "Authorization",
        "Header that carries the secret MOOG_API_KEY",
        pattern=r"[A-Za-z0-9!#$%&'*+.^_`|~-]+",
    )
    auth_scheme: str = var(
        "MOOG_AUTH_SCHEME",
        "Bearer",
        "What stands before the key; Basic takes a key `user:password`, none sends the key alone",
        choices=("Bearer", "Basic", "none"),
    )

    def __post_init__(self) -> None:
        """Refuse a heartbeat that one lost refresh would let expire, and a webhook that shows the key to all."""
        _check_heartbeat("MOOG", self.heartbeat_interval, self.janitor_timeout)
        if self.webhook_url:
            _check_webhook(self.webhook_url, self.allow_http)


@dataclass(frozen=True, slots=True)
class WebUiSettings(CommonSettings):
    """The web UI's own variables."""

    db: DatabaseSettings = field(default_factory=DatabaseSettings)
    port: int = var("SERVER_PORT_WEBUI", 8090, "HTTP listen port", low=PORT_LOW, high=PORT_HIGH)
    tls: OwnTlsSettings = field(default_factory=OwnTlsSettings)
    metrics_cache_ttl: int = var("METRICS_CACHE_TTL", 5, "Metrics cache TTL (seconds)", low=1, high=3600)
    audit_log_page_size: int = var("AUDIT_LOG_PAGE_SIZE", 50, "Default pagination size", low=1, high=200)
    prometheus_url: str = var("PROMETHEUS_URL", "http://localhost:9090", "Prometheus base URL (for SLOs)")
    prometheus_ca_cert_path: str | None = var(
        "PROMETHEUS_CA_CERT_PATH", None, "File of the certificate authority; empty means the system's trust store"
    )
    insecure_cookies: bool = var(
        "WEBUI_INSECURE_COOKIES", False, "Let the session's cookie pass over plain http (a developer's machine only)"
    )
    trusted_proxies: tuple[str, ...] = var(
        "TRUSTED_PROXIES", (), "Addresses or networks whose X-Forwarded-* headers count, by comma"
    )
    judging: JudgingSettings = field(default_factory=JudgingSettings)
    beating: BeatingSettings = field(default_factory=BeatingSettings)
    counting: CountingSettings = field(default_factory=CountingSettings)
    intake: IntakeSettings = field(default_factory=IntakeSettings)

    def __post_init__(self) -> None:
        """Refuse an address of Prometheus that is none."""
        if self.prometheus_url:
            check_url("PROMETHEUS_URL", self.prometheus_url, "http://host:9090")


@dataclass(frozen=True, slots=True)
class RemediationSettings(CommonSettings):
    """The remediation service's own variables."""

    pod_name: str | None = var(
        "POD_NAME",
        None,
        "Unique worker identifier; empty means remediation-{random}",
        pattern=POD_NAME_PATTERN,
    )
    metrics_port: int = var("METRICS_PORT_REMEDIATION", 8086, "Prometheus metrics port", low=PORT_LOW, high=PORT_HIGH)
    health_port: int = var("HEALTH_PORT_REMEDIATION", 8087, "Health check port", low=PORT_LOW, high=PORT_HIGH)
    scan_interval: float = var("REMEDIATION_SCAN_INTERVAL", 60.0, "DLQ scan interval (seconds)", low=0.1, high=86_400)
    max_retries: int = var("REMEDIATION_MAX_RETRIES", 3, "Max replay attempts", low=0, high=1000)
    backoff_base: float = var("REMEDIATION_BACKOFF_BASE", 60.0, "Initial backoff (seconds)", low=0, high=86_400)
    lease_seconds: float = var(
        "REMEDIATION_LEASE_SECONDS",
        30.0,
        "Lifetime of the one working instance's lease; another takes over when it was not refreshed",
        low=1,
        high=120,
    )
    max_ingest_queue_size: int = var(
        "MAX_INGEST_QUEUE_SIZE", 1_000_000, "Queue cap, half of which closes the way back", low=1, high=1_000_000_000
    )
    circuit: CircuitSettings = field(default_factory=CircuitSettings)


SERVICES: dict[str, type[CommonSettings]] = {
    "ingestor": IngestorSettings,
    "alerter": AlerterSettings,
    "moog-forwarder": MoogForwarderSettings,
    "webui": WebUiSettings,
    "remediation": RemediationSettings,
}

Service = TypeVar("Service", bound=CommonSettings)


def load(cls: type[Service], environ: Mapping[str, str]) -> Service:
    """Read a service's settings; raises SettingsError with one line for each impossible value."""
    return read(cls, environ)


def _check_heartbeat(service: str, interval: int, timeout: int) -> None:
    if timeout < 3 * interval:
        raise SettingsError(
            f"{service}_JANITOR_TIMEOUT={timeout} is not possible: it has to be at least 3 x "
            f"{service}_HEARTBEAT_INTERVAL={interval}, so that one late refresh costs no worker its claims"
        )


def _check_webhook(url: str, allow_http: bool) -> None:
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError as error:
        raise SettingsError(f"MOOG_WEBHOOK_URL is not possible: {error}") from None
    if parts.scheme not in ("https", "http") or not host:
        raise SettingsError(f"MOOG_WEBHOOK_URL={url!r} is not possible: an address like https://host/path is needed")
    if parts.username is not None:
        raise SettingsError("MOOG_WEBHOOK_URL holds a user name or password: put it into the secret MOOG_API_KEY")
    if parts.scheme == "http" and not allow_http and not _is_loopback(host):
        raise SettingsError(
            f"MOOG_WEBHOOK_URL={url!r} is not possible: https is needed to another machine, unless MOOG_ALLOW_HTTP=true"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
