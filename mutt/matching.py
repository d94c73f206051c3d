"""The rule book: all rules compiled once, so that the cost of a message hardly grows with their number.

Each rule is filed under a thing that no event can do without when the rule holds: a literal text, an OID, or
nothing but a severity. An event looks up what it has; the rules found there are tried in order of rank, and the
first of which every condition holds wins. Literals are found in one pass of an Aho-Corasick automaton over the
casefolded message in UTF-8. Casefolding works character by character, so it commutes with cutting and joining texts,
which `str.lower` does not: "contains" means that the casefolded match_string is in the casefolded message.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from ahocorasick_rs import BytesAhoCorasick, Implementation, MatchKind

from mutt.literals import required_literals
from mutt.pairs import CLEAR_WORDS
from mutt.regexes import RegexSet, Searcher, compile_regex
from mutt.rules import MatchType, Rule, missing_condition, rank

# Characters of a literal's end that the automaton knows: bounds its memory, and how many can end at one place.
LITERAL_MAX = 64
# Bytes searched at once, which bound what is found at once, and how far the next search begins before their end.
STRETCH, OVERLAP = 1024, 4 * LITERAL_MAX
# Regexes that share their best key with more rules than this, or have none, are searched for as one set.
SHARED_MAX = 32
# Up to this many of those are as fast one by one.
SET_FROM = 4
# Up to so many bytes of literals a table of all states (DFA), a KiB each, stays in the processor's caches: quicker.
TABLE_MAX = 2048
# How much rarer each further character of a literal makes it, up to a length past which all count as rare.
RARER, RARE_LENGTH = 4.0, 6

TEXT, OID = "text", "oid"
Key = tuple[str, str]

_CLEAR_WORDS = tuple(word.encode() for word in CLEAR_WORDS)
# Each with whatever byte ends a word: what only begins so ("uplink") is not found at all.
_CLEAR_ENDS = [word + bytes([byte]) for word in _CLEAR_WORDS for byte in range(256) if not bytes([byte]).isalnum()]
_CLEARS = len(_CLEAR_ENDS)
_END = b"\xff"  # ends the last word; no literal in UTF-8 holds it


class Verdict(NamedTuple):
    """What one rule makes of one event; `reason` names the condition that failed, or why the rule is not used."""

    rule: Rule
    matched: bool
    reason: str | None


# The rules filed under one key: the first that needs no further check, and those above it that do.
_Shelf = tuple[int, frozenset[int]]
_NOTHING: frozenset[int] = frozenset()


class _Asked(NamedTuple):
    """An event as the conditions see it: casefolded, as UTF-8, its severity and its OID in dots."""

    folded: str
    text: bytes
    severity: int | None
    oid: str | None


class _Entry:
    """A rule's conditions, compiled; raises ValueError for a rule that cannot be used."""

    __slots__ = ("literal", "oid", "regex", "rule", "severity")

    def __init__(self, rule: Rule) -> None:
        lack = missing_condition(rule.match_type, rule.match_string, rule.trap_oid, rule.syslog_severity)
        if lack is not None or rule.match_string == "":
            raise ValueError(lack[1] if lack is not None else "the match_string is empty")
        self.rule = rule
        self.severity = rule.syslog_severity
        self.oid = None if rule.trap_oid is None else dotted(rule.trap_oid)
        self.literal: str | None = None
        self.regex: Searcher | None = None
        if rule.match_string is not None and rule.match_type == MatchType.REGEX:
            self.regex = compile_regex(rule.match_string)
        elif rule.match_string is not None:
            folded = rule.match_string.casefold()
            self.literal = rule.match_string if folded == rule.match_string else folded  # one text, not two

    def failed(self, asked: _Asked) -> str | None:
        """Return the field of a condition that does not hold, the cheapest first; None when every one holds."""
        if self.severity is not None and self.severity != asked.severity:
            return "syslog_severity"
        if self.oid is not None and (asked.oid is None or not asked.oid.startswith(self.oid)):
            return "trap_oid"
        if self.literal is not None and self.literal not in asked.folded:
            return "match_string"
        if self.regex is not None and self.regex.search(asked.text) is None:
            return "match_string"
        return None

    def needs_no_check(self) -> bool:
        """Tell whether to be found under its key is all that the rule asks."""
        if self.oid is None:
            whole = self.literal is not None and len(self.literal) <= LITERAL_MAX
            return self.severity is None and self.regex is None and whole
        return self.severity is None and self.regex is None and self.literal is None

    def options(self) -> list[frozenset[Key]]:
        """Return sets of keys, each enough to find the rule by: an event it matches has one of the set's."""
        options: list[frozenset[Key]] = []
        if self.literal is not None:
            options.append(frozenset([(TEXT, self.literal[-LITERAL_MAX:])]))
        if self.regex is not None and self.rule.match_string is not None:
            options += [
                frozenset((TEXT, literal[-LITERAL_MAX:]) for literal in option)
                for option in required_literals(self.rule.match_string)
            ]
        if self.oid is not None:
            options.append(frozenset([(OID, self.oid)]))
        return options


class RuleBook:
    """Active rules, compiled; `refused` holds those that cannot be used, with the reason: one does not stop all.

    What `before` compiled of rules that are the same is taken over. Wherever a book is made or given up, no single step
    takes long, so that a thread that compiles one lets the others go on.
    """

    def __init__(self, rules: Iterable[Rule], before: "RuleBook | None" = None) -> None:
        known = {} if before is None else {entry.rule.id: entry for entry in before.parts()}
        self.refused: list[Verdict] = []
        self._entries: list[_Entry] = []
        for rule in sorted((rule for rule in rules if rule.is_active), key=rank):
            try:
                entry = known.get(rule.id)
                self._entries.append(entry if entry is not None and entry.rule == rule else _Entry(rule))
            except ValueError as error:
                self.refused.append(Verdict(rule, matched=False, reason=str(error)))
        self._end = len(self._entries)
        self._rules = [*(entry.rule for entry in self._entries), None]
        self._severities: dict[int | None, int] = {}
        filed, self._unfiled = self._file()
        self._oids: dict[str, _Shelf] = {}
        # Of each literal by its number: its shelf, of which the second part is rarely there.
        self._sure = [self._end] * _CLEARS
        self._some: dict[int, frozenset[int]] = {}
        literals: list[str] = []
        while filed:
            (kind, value), places = filed.popitem()
            sure, some = self._shelf(places)
            if kind == OID:
                self._oids[value] = sure, some
                continue
            if some:
                self._some[len(self._sure)] = some
            self._sure.append(sure)
            literals.append(value)
        self._arcs = max((oid.count(".") for oid in self._oids), default=0)
        # Given one by one, and not as a list, they let other threads run between two of them.
        texts = chain(_CLEAR_ENDS, map(_whole, literals))
        self._find = BytesAhoCorasick(texts, MatchKind.Standard, made_as(literals)).find_matches_as_indexes
        # Which severities rules ask for: an event of any other is treated alike.
        self.severities = frozenset(entry.severity for entry in self._entries)
        self._set = RegexSet([self._entries[place].rule.match_string or "" for place in self._unfiled])

    def __len__(self) -> int:
        """Return how many rules are in use."""
        return self._end

    def first_match(self, message: str, severity: int | None, trap_oid: str | None) -> Rule | None:
        """Return the rule that decides: the highest-ranking one of which every condition holds."""
        return self.look(message, _encoded(message), severity, trap_oid)[0]

    def look(self, message: str, text: bytes, severity: int | None, trap_oid: str | None) -> tuple[Rule | None, bool]:
        """Return the rule that decides, and whether the message may speak of a state that has cleared.

        `text` is the message as UTF-8. No word of CLEAR_WORDS stands in a message of which the second is false.
        """
        best = self._severities.get(severity, self._end) if self._severities else self._end
        maybe = _NOTHING
        if message.isascii():
            folded = text.lower() + _END
            may_clear = False
        else:
            folded = _whole(message.casefold())
            # What folds to a letter or a digit is none to RE2.
            may_clear = any(word in folded for word in _CLEAR_WORDS)
        found = self._find(folded, True) if len(folded) <= STRETCH else self._find_long(folded)
        for literal, _, _ in found:
            if literal < _CLEARS:
                may_clear = True
                continue
            sure = self._sure[literal]
            if sure < best:  # noqa: PLR1730  (min would cost as much as all the rest)
                best = sure
            if literal in self._some:
                maybe |= self._some[literal]
        if trap_oid is not None and self._oids:
            for prefix in _prefixes(dotted(trap_oid), self._arcs):
                sure, some = self._oids.get(prefix, (self._end, _NOTHING))
                best = min(best, sure)
                maybe |= some
        if maybe or self._unfiled:
            oid = None if trap_oid is None else dotted(trap_oid)
            best = self._first(maybe, best, _Asked(message.casefold(), text, severity, oid))
        return self._rules[best], may_clear

    def parts(self) -> list[_Entry]:
        """Return nearly all that a book is made of: who holds that can free it in pieces when the book is gone."""
        return [*self._entries]

    def explain(self, message: str, severity: int | None, trap_oid: str | None) -> list[Verdict]:
        """Try every rule by itself, in the order in which they rank; the refused ones come last."""
        oid = None if trap_oid is None else dotted(trap_oid)
        asked = _Asked(message.casefold(), _encoded(message), severity, oid)
        verdicts = []
        for entry in self._entries:
            failed = entry.failed(asked)
            verdicts.append(Verdict(entry.rule, failed is None, failed))
        return verdicts + self.refused

    def _find_long(self, folded: bytes) -> Iterator[tuple[int, int, int]]:
        """Yield what is found, the same literal once."""
        seen: set[int] = set()
        for start in range(0, len(folded), STRETCH):
            for literal, at, end in self._find(folded[start : start + STRETCH + OVERLAP], True):
                if literal < _CLEARS or literal not in seen:
                    seen.add(literal)
                    yield literal, start + at, start + end

    def _first(self, maybe: frozenset[int], best: int, asked: _Asked) -> int:
        """Return the first place before `best` that holds, of `maybe` and of the unfiled; else `best`."""
        below = bisect_left(self._unfiled, best)
        if below > SET_FROM:
            unfiled = [self._unfiled[index] for index in self._set.candidates(asked.text, below)]
        else:
            unfiled = self._unfiled[:below]
        for place in sorted([*maybe, *unfiled]):
            if place >= best:
                break
            if self._entries[place].failed(asked) is None:
                return place
        return best

    def _file(self) -> tuple[dict[Key, list[int]], list[int]]:
        """Return each key's places, and the places of the regexes that no key selects well."""
        options = [entry.options() for entry in self._entries]
        shared = Counter(key for choices in options for option in choices for key in option)
        filed: defaultdict[Key, list[int]] = defaultdict(list)
        unfiled: list[int] = []
        options.reverse()
        for place, entry in enumerate(self._entries):
            choices = options.pop()  # freed one by one: all at once no other thread would run meanwhile
            if not choices and entry.regex is None:
                self._severities.setdefault(entry.severity, place)
                continue
            chosen = min(choices, key=lambda option: _cost(option, shared), default=frozenset[Key]())
            if entry.regex is not None and (not chosen or max(shared[key] for key in chosen) > SHARED_MAX):
                unfiled.append(place)
            else:
                for key in chosen:
                    filed[key].append(place)
        return filed, unfiled

    def _shelf(self, places: list[int]) -> _Shelf:
        sure = next((place for place in places if self._entries[place].needs_no_check()), self._end)
        return sure, frozenset(place for place in places if place < sure) or _NOTHING


def dotted(oid: str) -> str:
    """Return an OID so that one is below another exactly when its text begins with the other's: `1.3.6.`."""
    return oid.strip(".") + "."


def _prefixes(oid: str, arcs: int) -> Iterator[str]:
    end = 0
    for _ in range(arcs):
        end = oid.find(".", end) + 1
        if not end:
            return
        yield oid[:end]


def _cost(option: frozenset[Key], shared: Counter[Key]) -> float:
    """Return roughly how many rules an event has to try in vain because of this option."""
    return sum(
        shared[key] / RARER ** (RARE_LENGTH if key[0] == OID else min(len(key[1]), RARE_LENGTH)) for key in option
    )


def made_as(literals: Sequence[str]) -> Implementation:
    """Return which automaton is the best for these literals, of which none is empty."""
    small = sum(len(_whole(literal)) for literal in literals[: TABLE_MAX + 1]) <= TABLE_MAX
    return Implementation.DFA if small else Implementation.ContiguousNFA


def _whole(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _encoded(message: str) -> bytes:
    return message.encode("utf-8", "replace")
