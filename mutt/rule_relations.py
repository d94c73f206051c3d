"""How rules stand to each other, told from their conditions alone: which hides which, and who is a rule's neighbour."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from mutt.literals import required_literals
from mutt.matching import dotted
from mutt.rules import MatchType, Rule, missing_condition, rank

# Characters from which a word of a rule's text says something by itself.
WORD_MIN = 4


class Neighbours(NamedTuple):
    """The rules right above and right below in the order in which they are tried."""

    above: Rule | None
    below: Rule | None


def neighbours(rule: Rule, rules: Iterable[Rule]) -> Neighbours:
    """Find between which active rules `rule` is tried; a former version of itself does not count."""
    others = sorted((other for other in rules if other.is_active and other.id != rule.id), key=rank)
    above = [other for other in others if rank(other) < rank(rule)]
    below = [other for other in others if rank(other) > rank(rule)]
    return Neighbours(above[-1] if above else None, below[0] if below else None)


def covers(wide: Rule, narrow: Rule) -> bool:
    """Tell whether each event that `narrow` matches is certain to match `wide`; False where it is not known."""
    if wide.syslog_severity is not None and wide.syslog_severity != narrow.syslog_severity:
        return False
    if wide.trap_oid is not None and (
        narrow.trap_oid is None or not dotted(narrow.trap_oid).startswith(dotted(wide.trap_oid))
    ):
        return False
    return wide.match_string is None or _text_covers(wide, narrow)


def hiding(rule: Rule, rules: Iterable[Rule]) -> Rule | None:
    """Return a rule that is tried first and leaves `rule` nothing, None without one that certainly does."""
    above = (other for other in rules if other.is_active and other.id != rule.id and rank(other) < rank(rule))
    return next((other for other in sorted(above, key=rank) if covers(other, rule)), None)


def hidden(rule: Rule, rules: Iterable[Rule]) -> list[Rule]:
    """Return the rules to which `rule` certainly leaves nothing."""
    if not rule.is_active:
        return []
    below = (other for other in rules if other.is_active and other.id != rule.id and rank(other) > rank(rule))
    return [other for other in sorted(below, key=rank) if covers(rule, other)]


def loosened(rule: Rule) -> list[tuple[str, Rule]]:
    """Return what would match a little more than `rule`, with the condition that was loosened: for near misses."""
    conditions = ("syslog_severity", "trap_oid")
    wider = [(name, _without(rule, name)) for name in conditions if getattr(rule, name) is not None]
    if rule.match_string is not None:
        part = _telling_part(rule)
        if part is not None:
            wider.append(("match_string", replace(rule, match_type=_kind(rule), match_string=part)))
        elif rule.trap_oid is not None or rule.syslog_severity is not None:
            wider.append(("match_string", _without(rule, "match_string")))
    return [
        (name, other)
        for name, other in wider
        if missing_condition(other.match_type, other.match_string, other.trap_oid, other.syslog_severity) is None
    ]


def _text_covers(wide: Rule, narrow: Rule) -> bool:
    if wide.match_string is None or narrow.match_string is None:
        return False
    wide_regex, narrow_regex = wide.match_type == MatchType.REGEX, narrow.match_type == MatchType.REGEX
    if wide_regex:
        return narrow_regex and wide.match_string == narrow.match_string
    literal = wide.match_string.casefold()
    if not narrow_regex:
        return literal in narrow.match_string.casefold()
    return any(all(literal in each for each in option) for option in required_literals(narrow.match_string))


def _telling_part(rule: Rule) -> str | None:
    """Return the longest text that the rule's own text contains, where that is less than the whole."""
    if rule.match_string is None:
        return None
    if rule.match_type == MatchType.REGEX:
        single = [next(iter(option)) for option in required_literals(rule.match_string) if len(option) == 1]
        parts: Sequence[str] = [literal.strip() for literal in single]
    else:
        parts = rule.match_string.split()
    longest = max(parts, key=len, default="")
    return longest if len(longest) >= WORD_MIN and longest != rule.match_string else None


def _kind(rule: Rule) -> str:
    return MatchType.OID_PREFIX if rule.trap_oid is not None else MatchType.CONTAINS


def _without(rule: Rule, name: str) -> Rule:
    if name == "match_string":
        return replace(rule, match_string=None, match_type=_kind(rule))
    if name == "trap_oid":
        kind = MatchType.CONTAINS if rule.match_type == MatchType.OID_PREFIX else rule.match_type
        return replace(rule, trap_oid=None, match_type=kind)
    return replace(rule, syslog_severity=None)
