"""The circuit breaker's names; its transitions are atomic, so they live in Lua (services/protocol/lua/circuit_*)."""

from enum import StrEnum

OPEN_THRESHOLD = 5  # consecutive failures
OPEN_SECONDS = 60.0


class State(StrEnum):
    """CLOSED lets all pass, OPEN nothing, HALF_OPEN one probe across the fleet."""

    CLOSED = "CLOSED"
    OPEN = "OPEN"
    HALF_OPEN = "HALF_OPEN"

    @property
    def gauge(self) -> int:
        """Return the value of `mutt_moog_circuit_state`."""
        return GAUGE[self]


GAUGE = {State.CLOSED: 0, State.OPEN: 1, State.HALF_OPEN: 2}


class Result(StrEnum):
    """What the circuit learns of one request, as the scripts spell it."""

    WELL = "w"  # Moogsoft answered for itself, be it that it refused the alert
    FAILED = "f"
    MISCONFIGURED = "m"
    UNKNOWN = "u"  # throttled or never sent: says nothing about Moogsoft, gives a probe's lease back
