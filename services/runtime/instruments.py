"""Every Prometheus metric and every label value of MUTT, in one place; docs/metrics.md is made of it."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.runtime.histogram import QuickHistogram

INGEST_REASONS = ("", "auth", "json", "validation", "too_large", "queue_full", "redis", "internal")
EVENT_STATUSES = ("handled", "unhandled", "poison", "error")
SHED_MODES = ("dlq", "defer")
MOOG_REASONS = ("", "timeout", "connection", "4xx", "5xx", "throttled", "config")
ALERT_STATUSES = ("success", "dlq", "error")
REPLAY_SOURCES = ("alerter", "moog")
REPLAY_STATUSES = ("success", "fail")
QUEUES = ("ingest", "quarantine", "alert", "dlq_alerter", "audit_pending", "retry", "dlq_moog", "poison")
TLS_PEERS = ("redis", "sentinel", "postgres", "vault", "moogsoft", "prometheus", "own")
DB_OPERATIONS = ("select", "insert", "update", "delete")
LATER = {"queue": QUEUES, "peer": TLS_PEERS}  # values of labels whose series are absent until something is known

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
WAYS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
MILLISECONDS = (0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000)


class CommonInstruments:
    """What every service measures of itself."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.dependency_up = Gauge(
            "mutt_dependency_up", "1 while the dependency answers, else 0", ["dependency"], registry=registry
        )
        self.loop_errors = Counter(
            "mutt_loop_errors_total", "Failed passes of a service's loops", ["loop"], registry=registry
        )
        self.recovered = Counter(
            "mutt_recovered_entries_total", "Entries handed back from workers that died", registry=registry
        )
        self.displaced = Counter(
            "mutt_worker_displaced_total", "Times that another worker took this one's name", registry=registry
        )
        self.healthy = Gauge("mutt_healthy", "1 while /health answers 200, else 0", registry=registry)
        self.heartbeat = Gauge(
            "mutt_heartbeat_timestamp_seconds",
            "When this instance last refreshed its heartbeat in Redis; 0: it keeps none",
            registry=registry,
        )
        self.secrets_read = Gauge(
            "mutt_secrets_read_timestamp_seconds",
            "When the last reading of the secrets that succeeded began",
            registry=registry,
        )
        self.certificate_ends = Gauge(
            "mutt_tls_certificate_expiry_timestamp_seconds",
            "When the certificate of a peer ends, or this service's own; of several peers the first to end",
            ["peer"],
            registry=registry,
        )
        self.config_refused = Gauge(
            "mutt_config_refused", "Dynamic values in Redis that this instance refuses", registry=registry
        )


class QueueInstruments(CommonInstruments):
    """What those services measure that look after queues; each a part of them, so that none needs all to be seen."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self.oldest_age = Gauge(
            "mutt_queue_oldest_age_seconds",
            "Time since the oldest entry of a queue was received; 0: the queue is empty",
            ["queue"],
            registry=registry,
        )


class IngestorInstruments(QueueInstruments):
    """The ingestor's metrics (port 8080)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self.requests = Counter(
            "mutt_ingest_requests_total", "Events by outcome", ["status", "reason"], registry=registry
        )
        for reason in INGEST_REASONS:
            self.requests.labels("success" if reason == "" else "fail", reason)
        self.queue_depth = Gauge("mutt_ingest_queue_depth", "Current queue depth", registry=registry)
        self.latency = QuickHistogram(
            "mutt_ingest_latency_seconds",
            "First byte to reply, per request",
            buckets=SECONDS,
            registry=registry,
        )
        self.quarantined = Counter(
            "mutt_ingest_quarantined_total", "Rejected records put into the quarantine", registry=registry
        )
        self.quarantine_dropped = Counter(
            "mutt_ingest_quarantine_dropped_total",
            "Records that fell off the full quarantine",
            registry=registry,
        )
        self.over_share = Counter(
            "mutt_ingest_over_share_total",
            "Events refused because their sender had had its share; among those with the reason queue_full",
            registry=registry,
        )
        self.in_flight = Gauge("mutt_ingest_in_flight_bytes", "Bytes of requests that are held", registry=registry)
        self.clock_skew = Gauge(
            "mutt_ingest_clock_skew_seconds", "This machine's clock minus Redis's", registry=registry
        )
        self.redis_used = Gauge("mutt_redis_used_memory_bytes", "Memory that Redis uses", registry=registry)
        self.redis_most = Gauge(
            "mutt_redis_maxmemory_bytes", "Memory that Redis may use; 0: as much as there is", registry=registry
        )


class AlerterInstruments(QueueInstruments):
    """The alerter's metrics (port 8081)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self.events = Counter("mutt_alerter_events_processed_total", "Events by status", ["status"], registry=registry)
        for status in EVENT_STATUSES:
            self.events.labels(status)
        self.latency = QuickHistogram(
            "mutt_alerter_processing_latency_seconds",
            "Claim to settle, per event",
            buckets=SECONDS,
            registry=registry,
        )
        self.audited = QuickHistogram(
            "mutt_alerter_end_to_end_latency_seconds",
            "Received by the ingestor to audited, per event",
            buckets=WAYS,
            registry=registry,
        )
        self.partitions_missing = Gauge(
            "mutt_audit_partitions_missing", "Months due that have no partition of the audit", registry=registry
        )
        self.queue_depth = Gauge("mutt_alerter_queue_depth", "Alert queue depth", registry=registry)
        self.shed = Counter("mutt_alerter_shed_events_total", "Shed or deferred", ["mode"], registry=registry)
        for mode in SHED_MODES:
            self.shed.labels(mode)
        self.rules = Gauge("mutt_alerter_cache_rules_count", "Rules in cache", registry=registry)
        self.dev_hosts = Gauge("mutt_alerter_cache_dev_hosts_count", "Dev hosts in cache", registry=registry)
        self.teams = Gauge("mutt_alerter_cache_teams_count", "Team mappings in cache", registry=registry)
        self.dlq_depth = Gauge("mutt_alerter_dlq_depth", "Alerter DLQ depth", registry=registry)
        self.processing_depth = Gauge(
            "mutt_alerter_processing_list_depth", "This worker's processing list depth", registry=registry
        )
        self.reload_failures = Counter(
            "mutt_alerter_cache_reload_failures_total", "Failed cache reloads", registry=registry
        )
        self.db_write = Histogram(
            "mutt_db_write_latency_ms", "Database write latency (ms)", buckets=MILLISECONDS, registry=registry
        )
        self.audit_pending = Gauge(
            "mutt_audit_pending_depth", "Audit rows that wait for PostgreSQL in Redis", registry=registry
        )
        self.meta_alerts = Counter(
            "mutt_alerter_meta_alerts_total", "Meta-alerts of unmatched patterns", registry=registry
        )


class MoogForwarderInstruments(QueueInstruments):
    """The Moog forwarder's metrics (port 8083)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self.requests = Counter(
            "mutt_moog_requests_total", "Moog webhook requests", ["status", "reason"], registry=registry
        )
        for reason in MOOG_REASONS:
            self.requests.labels("success" if reason == "" else "fail", reason)
        self.latency = QuickHistogram(
            "mutt_moog_request_latency_seconds", "Webhook request latency", buckets=SECONDS, registry=registry
        )
        self.delivered = QuickHistogram(
            "mutt_moog_end_to_end_latency_seconds",
            "Received by the ingestor to delivered, per alert",
            buckets=WAYS,
            registry=registry,
        )
        self.dlq_depth = Gauge("mutt_moog_dlq_depth", "Moog DLQ depth", registry=registry)
        self.processing_depth = Gauge(
            "mutt_moog_processing_list_depth", "This worker's processing list depth", registry=registry
        )
        self.rate_limit_hits = Counter("mutt_moog_rate_limit_hits_total", "Times rate limit was hit", registry=registry)
        self.alerts = Counter("mutt_moog_alerts_processed_total", "Alerts by outcome", ["status"], registry=registry)
        for status in ALERT_STATUSES:
            self.alerts.labels(status)
        self.circuit_state = Gauge("mutt_moog_circuit_state", "0=CLOSED, 1=OPEN, 2=HALF_OPEN", registry=registry)
        self.retry_depth = Gauge("mutt_moog_retry_depth", "Alerts that wait for their retry", registry=registry)
        self.delivery_rows_dropped = Counter(
            "mutt_moog_delivery_rows_dropped_total",
            "Rows of delivery_log lost to PostgreSQL's absence",
            registry=registry,
        )


class WebUiInstruments(CommonInstruments):
    """The web UI's metrics (port 8090)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self.requests = Counter(
            "mutt_webui_api_requests_total", "API requests", ["endpoint", "status"], registry=registry
        )
        self.latency = Histogram(
            "mutt_webui_api_latency_seconds", "API latency", ["endpoint"], buckets=SECONDS, registry=registry
        )
        self.wrong_keys = Counter(
            "mutt_webui_wrong_keys_total", "Requests and sign-ins with a key that is not known", registry=registry
        )
        self.redis_scan = Histogram(
            "mutt_webui_redis_scan_latency_seconds", "Redis SCAN latency", buckets=SECONDS, registry=registry
        )
        self.db_query = Histogram(
            "mutt_webui_db_query_latency_ms",
            "DB query latency (ms)",
            ["operation"],
            buckets=MILLISECONDS,
            registry=registry,
        )
        for operation in DB_OPERATIONS:
            self.db_query.labels(operation)


class RemediationInstruments(QueueInstruments):
    """The remediation service's metrics (port 8086)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self.replayed = Counter(
            "mutt_remediation_replayed_total", "Replay attempts", ["source", "status"], registry=registry
        )
        for source in REPLAY_SOURCES:
            for status in REPLAY_STATUSES:
                self.replayed.labels(source, status)
        self.scan_duration = Histogram(
            "mutt_remediation_dlq_scan_duration_seconds",
            "DLQ scan duration",
            buckets=SECONDS,
            registry=registry,
        )
        self.poison_depth = Gauge(
            "mutt_remediation_poison_depth", "Entries given up on in mutt:poison:permanent", registry=registry
        )


SERVICES: dict[str, type[CommonInstruments]] = {
    "ingestor": IngestorInstruments,
    "alerter": AlerterInstruments,
    "moog-forwarder": MoogForwarderInstruments,
    "webui": WebUiInstruments,
    "remediation": RemediationInstruments,
}
