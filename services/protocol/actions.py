"""What a settled batch leads to, gathered in the order that `settle.lua` reads."""

from dataclasses import dataclass, field

from mutt import keys

Argument = str | bytes | int


@dataclass(frozen=True, slots=True)
class PatternGroup:
    """Unmatched events of one pattern and one host in a batch, with a meta-alert that is pushed only at the threshold.

    `meta` is a decided entry, pushed as an alert and as an audit row; `entries` are indices into the batch, from 0.
    """

    counter_key: str
    info_key: str
    hours_key: str
    template: str
    sample: str
    meta: bytes
    entries: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PatternLimits:
    """The meta-alert's threshold (events), the counters' lifetime (seconds) and the most patterns counted apart."""

    threshold: int
    expiry: int
    cap: int
    overflow_key: str
    alert_queue: str


@dataclass(slots=True)
class Actions:
    """Pushes that happen only for entries that the settle still finds."""

    _pushes: list[tuple[int, str, str | int, bytes]] = field(default_factory=list)
    groups: list[PatternGroup] = field(default_factory=list)
    limits: PatternLimits | None = None

    def push(self, entry: int, key: str, payload: bytes) -> None:
        """Put `payload` behind the queue `key` (LPUSH) once the batch's `entry` (index from 0) is settled."""
        self._pushes.append((entry, key, "L", payload))

    def push_first(self, entry: int, key: str, payload: bytes) -> None:
        """Put `payload` in front of the queue `key` (RPUSH): the next claim takes it."""
        self._pushes.append((entry, key, "R", payload))

    def push_delayed(self, entry: int, key: str, payload: bytes, delay: float) -> None:
        """Put `payload` into the sorted set `key`, due in `delay` seconds on Redis's clock."""
        self._pushes.append((entry, key, int(delay * 1000), payload))

    def encode(self, entries: list[bytes], fixed_keys: list[str]) -> tuple[list[str], list[Argument]]:
        """Return the script's keys and its arguments behind the token."""
        overflow = self.limits.overflow_key if self.limits else keys.UNHANDLED_PATTERNS
        names = [*fixed_keys, keys.UNHANDLED_PATTERNS, overflow]
        index: dict[str, int] = {}

        def place(key: str) -> int:
            if key not in index:
                names.append(key)
                index[key] = len(names)
            return index[key]

        args: list[Argument] = [len(entries), *entries, len(self._pushes)]
        for entry, key, operation, payload in self._pushes:
            args += (entry + 1, place(key), operation, payload)
        args.append(len(self.groups))
        if self.groups and self.limits:
            args += (self.limits.threshold, self.limits.expiry, self.limits.cap)
            alert_queue, pending = place(self.limits.alert_queue), place(keys.AUDIT_PENDING)
            for group in self.groups:
                args += (place(group.counter_key), place(group.info_key), place(group.hours_key), alert_queue, pending)
                args += (group.template, group.sample, group.meta)
                args += (len(group.entries), *(entry + 1 for entry in group.entries))
        return names, args
