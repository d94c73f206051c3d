"""The dynamic configuration keys: type, default, bounds and what they do."""

from collections.abc import Callable
from dataclasses import dataclass

Value = int | float | str


@dataclass(frozen=True, slots=True)
class DynamicKey:
    """One key; `low` and `high` are inclusive; `variable` is the environment variable that it overrides."""

    name: str
    kind: type[int] | type[float] | type[str]
    default: Value
    purpose: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    variable: str | None = None

    def parse(self, text: str) -> Value:
        """Convert stored text; raises ValueError that says what is allowed."""
        convert: Callable[[str], Value] = self.kind
        try:
            value = convert(text.strip())
        except ValueError:
            raise ValueError(f"{self.name}={text!r}: {self.allowed()} is needed") from None
        if self.choices and value not in self.choices:
            raise ValueError(f"{self.name}={text!r}: {self.allowed()} is needed")
        if isinstance(value, (int, float)) and not self._within(value):
            raise ValueError(f"{self.name}={text!r}: {self.allowed()} is needed")
        return value

    def allowed(self) -> str:
        """Say in words which values the key takes."""
        if self.choices:
            return " or ".join(self.choices)
        noun = "a whole number" if self.kind is int else "a number"
        return f"{noun} from {self.low:.12g} to {self.high:.12g}"

    def _within(self, value: float) -> bool:
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)


ALL: dict[str, DynamicKey] = {
    key.name: key
    for key in (
        DynamicKey(
            "cache_reload_interval",
            int,
            300,
            "Alerter cache refresh (seconds)",
            1,
            86_400,
            variable="CACHE_RELOAD_INTERVAL",
        ),
        DynamicKey(
            "max_ingest_queue_size",
            int,
            100_000,
            "Ingestor queue cap (events)",
            1,
            1_000_000_000,
            variable="MAX_INGEST_QUEUE_SIZE",
        ),
        DynamicKey("alerter_queue_warn_threshold", int, 1000, "Alert queue depth that warns", 1, 1_000_000_000),
        DynamicKey("alerter_queue_shed_threshold", int, 2000, "Alert queue depth that sheds", 1, 1_000_000_000),
        DynamicKey("alerter_shed_mode", str, "dlq", "What shedding does", choices=("dlq", "defer")),
        DynamicKey("alerter_defer_sleep_ms", int, 250, "Sleep of one deferral (milliseconds)", 1, 60_000),
        DynamicKey("moog_rate_limit", int, 50, "Requests a period (shared)", 1, 100_000, variable="MOOG_RATE_LIMIT"),
        DynamicKey("moog_batch_size", int, 100, "Alerts in one claim, or in one request of events mode", 1, 10_000),
        DynamicKey("slo_window_hours", int, 24, "SLO evaluation window (hours)", 1, 720),
        DynamicKey("slo_ingest_success_target", float, 0.995, "Ingestor SLO target (share)", 0.5, 0.99999),
        DynamicKey("slo_forward_success_target", float, 0.99, "Forwarder SLO target (share)", 0.5, 0.99999),
    )
}
