"""What a settled batch leads to, gathered in the order that `settle.lua` reads."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from mutt import keys

Argument = str | bytes | int


@dataclass(slots=True)
class PatternGroup:
    """All unmatched events of one pattern in a batch; `entries` are indices into it, from 0.

    `meta` is the meta-alert, a decided entry that is pushed as an alert and as an audit row at the threshold; made
    when the settle asks for it, for the entry that gets there, `meta_of`.
    """

    counter_key: str
    info_key: str
    hours_key: str
    template: str
    sample: str
    entries: list[int]
    meta: bytes = b""
    meta_of: int | None = None


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
    meta_alert: Callable[[int], bytes] | None = None  # makes the meta-alert of an entry (index from 0)

    def make_metas(self, entries: Iterable[int]) -> None:
        """Make the meta-alerts of the patterns that get to the threshold by these entries (indices from 0)."""
        if self.meta_alert is None:
            raise ValueError("nothing makes the meta-alert of a pattern that gets to the threshold")
        wanted = set(entries)
        for group in self.groups:
            for entry in wanted.intersection(group.entries):
                group.meta, group.meta_of = self.meta_alert(entry), entry

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
            args += (place(self.limits.alert_queue), place(keys.AUDIT_PENDING))
            for group in self.groups:
                args += (place(group.counter_key), place(group.info_key), place(group.hours_key))
                args += (group.template, group.sample, group.meta, 0 if group.meta_of is None else group.meta_of + 1)
                args.append(len(group.entries))
                args += [entry + 1 for entry in group.entries]
        return names, args
