"""How unmatched events are counted: read by the alerter that counts, and by the web UI that shows the counts."""

from dataclasses import dataclass

from mutt.variables import var


@dataclass(frozen=True, slots=True)
class CountingSettings:
    """How unmatched events are counted; to be set alike."""

    unhandled_threshold: int = var("UNHANDLED_THRESHOLD", 100, "Events before meta-alert", low=1, high=1_000_000_000)
    unhandled_expiry_seconds: int = var(
        "UNHANDLED_EXPIRY_SECONDS", 86_400, "Counter expiry (seconds)", low=1, high=31_536_000
    )
    unhandled_max_patterns: int = var(
        "UNHANDLED_MAX_PATTERNS",
        10_000,
        "Patterns counted apart; past it they count as `overflow`",
        low=1,
        high=1_000_000,
    )
