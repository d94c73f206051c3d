"""Dead letters by what they died of: folded errors, groups with times and hosts, and what a filter lets through."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from mutt.dead_letters import Kind, Letter
from mutt.fields import parse_timestamp
from mutt.patterns import template

BUCKETS = 12  # bars of a group's little chart
HOSTS_SHOWN = 5
CAUSE_WITHIN = timedelta(minutes=15)  # a change that long before the first death may be its cause
_STATUS = re.compile(r"HTTP (\d{3})(?:: )?")
_WORDS = ("message", "error", "detail", "description")  # members in which APIs explain themselves

_object = msgspec.json.Decoder(dict[str, Any])


class Fold(NamedTuple):
    """An error with its variable parts folded; `key` stands in URLs."""

    key: str
    text: str


class Group:
    """Letters of one folded error."""

    def __init__(self, fold: Fold) -> None:
        self.fold = fold
        self.count = 0
        self.hosts: Counter[str] = Counter()
        self.rules: Counter[int | None] = Counter()
        self.is_shed = self.is_refusal = True
        self._texts: set[str] = set()
        self._times: list[datetime] = []

    def add(self, letter: Letter) -> None:
        """Count a letter in."""
        self.count += 1
        self.hosts[letter.hostname] += 1
        self.rules[letter.decision.get("rule_id")] += 1
        self.is_refusal &= is_refusal(letter)
        self.is_shed &= bool(letter.mutt.shedding_reason)
        if len(self._texts) < 2:  # noqa: PLR2004  (two are enough to know that they differ)
            self._texts.add(explained(letter.error))
        moment = parse_timestamp(letter.died_at)
        if moment is not None:
            self._times.append(moment)

    @property
    def title(self) -> str:
        """Return the error as it was told where all tell the same, else folded."""
        return next(iter(self._texts)) if len(self._texts) == 1 else self.fold.text

    @property
    def first(self) -> datetime | None:
        """Return when the first of these died."""
        return min(self._times, default=None)

    @property
    def last(self) -> datetime | None:
        """Return when the last of these died."""
        return max(self._times, default=None)

    @property
    def rule_id(self) -> int | None:
        """Return the rule that all of these come from, None where it is not one."""
        return next(iter(self.rules)) if len(self.rules) == 1 else None

    def bars(self) -> list[int]:
        """Return how many died in each twelfth of the time from the first to the last."""
        counts = [0] * BUCKETS
        if self.first is None or self.last is None:
            return counts
        width = (self.last - self.first) / BUCKETS
        for moment in self._times:
            place = int((moment - self.first) / width) if width else 0
            counts[min(place, BUCKETS - 1)] += 1
        return counts


class Filter(NamedTuple):
    """Which letters are meant; empty members let all through. `before` ends what a running replay may meet again."""

    error: str = ""
    hostname: str = ""
    q: str = ""
    before: datetime | None = None

    def lets(self, letter: Letter) -> bool:
        """Tell whether a letter is meant."""
        if self.hostname and letter.hostname.lower() != self.hostname.lower():
            return False
        if self.q and self.q.lower() not in f"{letter.message}\n{letter.error}\n{letter.hostname}".lower():
            return False
        if self.error and fold(letter).key != self.error:
            return False
        died = parse_timestamp(letter.died_at) if self.before else None
        return died is None or self.before is None or died <= self.before


def fold(letter: Letter) -> Fold:
    """Return a letter's error with numbers and quoted values folded; an HTTP status tells errors apart."""
    kind = letter.mutt.last_error.type if letter.mutt.last_error else ""
    status, words = _parts(letter.error)
    text = f"{status} {_masked(words)}".strip()
    digest = hashlib.blake2b(f"{kind}\n{text}".encode("utf-8", "replace"), digest_size=6).hexdigest()
    return Fold(digest, text)


def is_refusal(letter: Letter) -> bool:
    """Tell whether Moogsoft refused an alert for what it holds."""
    failure = letter.mutt.last_error
    return letter.kind is Kind.ALERT and failure is not None and failure.type == "4xx"


def explained(error: str) -> str:
    """Return an error as a person reads it: Moogsoft's status and its words, out of their JSON."""
    status, words = _parts(error)
    return f"{status} {words}".strip()


def group(letters: Iterable[Letter]) -> list[Group]:
    """Return the groups, the largest first."""
    groups: dict[str, Group] = {}
    for letter in letters:
        folded = fold(letter)
        if folded.key not in groups:
            groups[folded.key] = Group(folded)
        groups[folded.key].add(letter)
    return sorted(groups.values(), key=lambda found: -found.count)


def _parts(error: str) -> tuple[str, str]:
    found = _STATUS.match(error)
    status, words = (found[1], error[found.end() :]) if found else ("", error)
    return status, _plain(words)


def _plain(words: str) -> str:
    """Return the sentence inside a JSON answer, where there is one."""
    if not words.startswith("{"):
        return words
    try:
        members = _object.decode(words)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError):
        return words
    return next((str(members[name]) for name in _WORDS if isinstance(members.get(name), str)), words)


def _masked(words: str) -> str:
    # Quotes in JSON hold the words themselves, not a value among them.
    return re.sub(r"\d+", "<num>", words[:240]) if words.startswith("{") else template(words)
