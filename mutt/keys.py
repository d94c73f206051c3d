"""Every Redis key of MUTT in one place; names that the environment may change are parameters."""

from datetime import datetime

RETRY_MOOG = "mutt:retry:moog"
AUDIT_PENDING = "mutt:audit:pending"
AUDIT_PROCESSING_PREFIX = "mutt:processing:audit"
POISON = "mutt:poison:permanent"
QUARANTINE = "mutt:quarantine:ingest"
QUARANTINE_MAX = 100_000

RECOVERIES_PREFIX = "mutt:recoveries"
REMEDIATION_LEASE = "mutt:lease:remediation"
INGESTOR_HEARTBEAT_PREFIX = "mutt:heartbeat:ingestor"
INGESTOR_TIMEOUT = 30  # seconds

UNHANDLED_INFO_PREFIX = "mutt:unhandled-info"
UNHANDLED_HOURS_PREFIX = "mutt:unhandled-hours"
UNHANDLED_PATTERNS = "mutt:unhandled-patterns"

CIRCUIT_STATE = "mutt:circuit:moog:state"
CIRCUIT_FAILURES = "mutt:circuit:moog:failures"
CIRCUIT_OPENED_AT = "mutt:circuit:moog:opened_at"
CIRCUIT_GENERATION = "mutt:circuit:moog:generation"
CIRCUIT_PROBE = "mutt:circuit:moog:probe"
CIRCUIT_TOLD = "mutt:circuit:moog:told"

CONFIG_PREFIX = "mutt:config"
CONFIG_UPDATES = "mutt:config:updates"

METRICS_CACHE_PREFIX = "mutt:metrics:cache"
FIGURES_PREFIX = "mutt:metrics:instance"
INGEST_REFUSED = "mutt:metrics:ingest-refused"
ENDED_SESSION_PREFIX = "mutt:webui:ended-session"
UNRECORDED = "mutt:webui:unrecorded"
MOOG_ANSWER = "mutt:metrics:moog-answer"
NO_WRITE = "mutt:health"  # never there: a write of nothing to it tells whether Redis takes writes


def per_pod(prefix: str, pod: str) -> str:
    """Return a worker's own key, such as its processing list or its heartbeat."""
    return f"{prefix}:{pod}"


def recoveries(service: str) -> str:
    """Return the hash that counts how often each entry (by its SHA-1) was recovered from a dead worker."""
    return f"{RECOVERIES_PREFIX}:{service}"


def config(key: str) -> str:
    """Return the key that holds a dynamic configuration value."""
    return f"{CONFIG_PREFIX}:{key}"


def metrics_minute(at: datetime) -> str:
    """Return the counter of events accepted in the UTC minute of `at` (kept 2 h)."""
    return f"mutt:metrics:1m:{at:%Y-%m-%dT%H:%M}"


def metrics_hour(at: datetime) -> str:
    """Return the counter of events accepted in the UTC hour of `at` (kept 48 h)."""
    return f"mutt:metrics:1h:{at:%Y-%m-%dT%H}"


def metrics_day(at: datetime) -> str:
    """Return the counter of events accepted on the UTC day of `at` (kept 30 d)."""
    return f"mutt:metrics:24h:{at:%Y-%m-%d}"


def slo(component: str, outcome: str, at: datetime) -> str:
    """Return the hourly counter of a component's good (`ok`) or bad (`fail`) events (kept 32 d)."""
    return f"mutt:slo:{component}:{outcome}:{at:%Y-%m-%dT%H}"


def figures(service: str, name: str) -> str:
    """Return what an instance of a service reports of its own work."""
    return f"{FIGURES_PREFIX}:{service}:{name}"


def ended_session(name: str) -> str:
    """Return the key that stands as long as a session that was signed out would have lasted."""
    return f"{ENDED_SESSION_PREFIX}:{name}"


METRICS_MINUTE_TTL = 2 * 3600
METRICS_HOUR_TTL = 48 * 3600
METRICS_DAY_TTL = 30 * 86_400
SLO_TTL = 32 * 86_400
