"""What becomes of an event: the first rule that holds, the host's environment and team."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from mutt.matching import RuleBook
from mutt.patterns import Pattern, pattern_of
from mutt.rules import FORWARDED, Handling, Rule

__all__ = ["DEV", "FORWARDED", "PROD", "Decision", "Handling", "Hosts", "decide", "decision_of", "normalise_host"]

PROD, DEV = "prod", "dev"
_UNHANDLED = Handling.UNHANDLED.value


class Decision(NamedTuple):
    """The outcome for one event; `pattern` is set only where no rule held."""

    handling: str
    team: str
    rule_id: int | None
    rule_version: int | None
    environment: str
    pattern: Pattern | None


def normalise_host(name: str) -> str:
    """Return a hostname in the form in which it is stored and compared: lower case, no trailing dot."""
    return name.rstrip(".").lower()


@dataclass(frozen=True, slots=True)
class Hosts:
    """Development hosts and teams by host; names in the form that normalise_host gives."""

    dev: frozenset[str] = frozenset()
    teams: Mapping[str, str] = field(default_factory=dict)
    match_short: bool = False

    @classmethod
    def of(cls, dev: Iterable[str], teams: Mapping[str, str], *, match_short: bool = False) -> "Hosts":
        """Build from names as anyone wrote them."""
        return cls(
            frozenset(map(normalise_host, dev)),
            {normalise_host(host): team for host, team in teams.items()},
            match_short,
        )

    def environment(self, host: str) -> str:
        """Return `dev` for a development host, else `prod`; `host` is normalised."""
        listed = host in self.dev or (self.match_short and _short(host) in self.dev)
        return DEV if listed else PROD

    def team(self, host: str) -> str | None:
        """Return the team that takes the host's events; `host` is normalised."""
        team = self.teams.get(host)
        if team is None and self.match_short:
            team = self.teams.get(_short(host))
        return team


def decide(  # noqa: PLR0917  # called for every event, where positions cost less than names
    message: str,
    hostname: str,
    severity: int | None,
    trap_oid: str | None,
    book: RuleBook,
    hosts: Hosts,
    default_team: str,
) -> Decision:
    """Return what becomes of an event; no rule means Unhandled with the message's pattern."""
    return decision_of(book.first_match(message, severity, trap_oid), message, hostname, hosts, default_team)


def decision_of(rule: Rule | None, message: str, hostname: str, hosts: Hosts, default_team: str) -> Decision:
    """Return what becomes of an event of which this rule holds first."""
    host = normalise_host(hostname)
    environment = hosts.environment(host)
    team = hosts.team(host)
    if rule is None:
        return Decision(_UNHANDLED, team or default_team, None, None, environment, pattern_of(message))
    handling = rule.dev_handling if environment == DEV else rule.prod_handling
    return _decision(handling, team or rule.team_assignment, rule.id, rule.version, environment, None)


# The same few hold for nearly all events.
_decision = lru_cache(maxsize=4096)(Decision)


def known_as(host: str, *, match_short: bool) -> set[str]:
    """Return the names under which development hosts and teams may know a host."""
    name = normalise_host(host)
    return {name, _short(name)} if match_short else {name}


def _short(host: str) -> str:
    label = host.partition(".")[0]
    # The first number of an IPv4 address names no host.
    return host if label.isdecimal() else label
