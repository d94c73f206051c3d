"""How the workers beat and how fast alerts may go out: read by them, and by the web UI that shows how they are."""

from dataclasses import dataclass

from mutt.variables import var


@dataclass(frozen=True, slots=True)
class BeatingSettings:
    """Variables of other services that the web UI needs to tell how old a heartbeat is; set them alike."""

    alerter_timeout: int = var(
        "ALERTER_JANITOR_TIMEOUT", 30, "Heartbeat expiry (seconds), at least 3 heartbeats", low=3, high=86_400
    )
    moog_timeout: int = var(
        "MOOG_JANITOR_TIMEOUT", 30, "Heartbeat expiry (seconds), at least 3 heartbeats", low=3, high=86_400
    )
    remediation_timeout: float = var(
        "REMEDIATION_LEASE_SECONDS",
        30.0,
        "Lifetime of the one working instance's lease; another takes over when it was not refreshed",
        low=1,
        high=120,
    )
    rate_period: float = var("MOOG_RATE_PERIOD", 1.0, "Rate limit window (seconds)", low=0.1, high=3600)
    dlq_max: int = var(
        "MUTT_DLQ_MAX", 500_000, "Dead letters past which shedding defers instead", low=1, high=1_000_000_000
    )
