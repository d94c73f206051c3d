"""How often somebody may try a key: a few times at once, then one by one, and each address for itself."""

from collections import OrderedDict
from ipaddress import IPv6Address, ip_address

BURST = 10  # failed tries
SECONDS = 30.0  # after which one failed try is forgotten
ADDRESSES = 10_000


class FailedTries:
    """Remembers failed tries by address; `now` is in seconds of any clock that does not go back."""

    def __init__(self) -> None:
        self._tries: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, address: str, now: float) -> float:
        """Return the seconds until this address may try again; 0 when it may at once."""
        return max(0.0, (self._count(address, now) - BURST + 1) * SECONDS)

    def failed(self, address: str, now: float) -> None:
        """Note a failed try."""
        key = network(address)
        count = self._count(address, now) + 1
        self._tries.pop(key, None)
        self._tries[key] = (count, now)
        if len(self._tries) > ADDRESSES:
            self._tries.popitem(last=False)

    def _count(self, address: str, now: float) -> float:
        count, at = self._tries.get(network(address), (0.0, now))
        return max(0.0, count - (now - at) / SECONDS)


def network(address: str) -> str:
    """Return whom an address stands for: itself, or of IPv6 its /64, which one machine has whole."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    return str(parsed.ipv4_mapped) if parsed.ipv4_mapped else str(IPv6Address(int(parsed) >> 64 << 64))
