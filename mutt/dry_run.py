"""What a rule would have done: the rule book of today beside the one with the change, over past events.

Both books are those that the alerter uses, and so is the decision; what the audit says of an event's own handling
does not count, since it was made by the rules of its time.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

from mutt.caught import Caught
from mutt.events import DecidedEvent, QueuedEvent, iso
from mutt.handling import Decision, Hosts
from mutt.judge import decide_event
from mutt.matching import RuleBook
from mutt.moogsoft import signature
from mutt.page_tally import PageTally
from mutt.pairs import problem_of
from mutt.rule_relations import hidden, hiding, loosened
from mutt.rules import Handling, Rule

SAMPLES = 20
PRICED = 1000  # events whose matching is timed
PRICED_TIMES = 5
MESSAGE_SHOWN = 2000  # characters of a sample
# How loud a handling is. An unmatched event is counted and may become a ticket, so it is louder than the log alone.
LOUDNESS = {
    Handling.PAGE_AND_TICKET: 4.0,
    Handling.TICKET_ONLY: 3.0,
    Handling.EMAIL_ONLY: 2.0,
    Handling.UNHANDLED: 1.5,
    Handling.LOG_ONLY: 1.0,
    Handling.SUPPRESS: 0.0,
}
FAR = 3.0
NEW_RULE = 0  # the id of a rule that is not saved yet; rule_id None is no rule


class Move(NamedTuple):
    """Events that go from one rule's hands into another's; `None` is no rule."""

    before: int | None
    after: int | None
    handling_before: str
    handling_after: str


class DryRun:
    """Takes events one by one, newest first; `report` can be asked at any time.

    `rules` are all of today's; one with the change's id is its former version. An id of NEW_RULE ranks, as it will
    once it is saved, behind the rules of the same priority.
    """

    def __init__(self, rules: Iterable[Rule], change: Rule, hosts: Hosts, default_team: str) -> None:
        self.rules = {rule.id: rule for rule in rules if rule.is_active}
        self.former = self.rules.get(change.id)
        self.change = change
        self._change_id = change.id if change.id != NEW_RULE else max(self.rules, default=0) + 1
        placed = replace(change, id=self._change_id)
        self._placed = placed
        others = [rule for rule in self.rules.values() if rule.id != change.id]
        self._others = others
        self._hosts, self._team = hosts, default_team
        self.today = RuleBook(self.rules.values())
        self.changed = RuleBook([*others, placed])
        self._alone = RuleBook([placed])
        wider = loosened(placed) if placed.is_active else []
        self._wider = [(name, RuleBook([rule])) for name, rule in wider]
        self.read = 0
        self.oldest: datetime | None = None
        self._matched = 0
        self._seen: Counter[int] = Counter()
        self._moves: Counter[Move] = Counter()
        self._hidden_by: Counter[int] = Counter()
        self._pages = (PageTally(), PageTally())
        self.caught = Caught()
        self._near = 0
        self.samples: list[dict[str, Any]] = []
        self.near_misses: list[dict[str, Any]] = []
        self._priced: list[tuple[str, int | None, str | None]] = []

    def add(self, event: QueuedEvent) -> None:
        """Judge one event with both books."""
        self.read += 1
        self.oldest = event.event_timestamp
        if len(self._priced) < PRICED:
            self._priced.append((event.message, event.severity, event.trap_oid))
        problem = problem_of(event)  # once: it is the dearest part of a decision
        before = decide_event(event, self.today, self._hosts, self._team, lambda _: problem)
        if before.rule_id is not None:
            self._seen[before.rule_id] += 1
        matches = self._alone.first_match(event.message, event.severity, event.trap_oid) is not None
        mine_before = self.former is not None and before.rule_id == self.former.id
        if not matches:
            self._look_near(event)
            if not mine_before and problem is None:
                return
        after = decide_event(event, self.changed, self._hosts, self._team, lambda _: problem)
        self._matched += matches
        mine = after.rule_id == self._change_id
        if matches and not mine and after.rule_id is not None:
            self._hidden_by[after.rule_id] += 1
        if mine or mine_before:
            self._affected(event, before, after, caught=mine, clears=problem is not None)

    def report(self) -> dict[str, Any]:
        """Return what was found so far, as JSON can hold it."""
        moves = [self._move(move, count) for move, count in self._moves.most_common()]
        caught = sum(count for move, count in self._moves.items() if move.after == self._change_id)
        handled = sum(count for move, count in self._moves.items() if move.handling_before != move.handling_after)
        return {
            "read": self.read,
            "read_back_to": None if self.oldest is None else iso(self.oldest),
            "matched": self._matched,
            "caught": caught,
            "handled_differently": handled,
            "pages": {"with_change": self._pages[1].folded, "today": self._pages[0].folded},
            "worst_minute": {"with_change": self._worst(1), "today": self._worst(0)},
            "minutes": self._minutes(),
            "moves": moves,
            "hidden_by": self._above(),
            "hides": self._below(),
            "samples": self.samples,
            "near_misses": {"events": self._near, "samples": self.near_misses},
            "warnings": self._warnings(moves),
        }

    def cost(self, clock: Callable[[], float] = time.perf_counter) -> dict[str, Any]:
        """Measure what finding the rule of an event takes with both books, in microseconds; takes a moment."""
        today = _price(self.today, self._priced, clock)
        changed = _price(self.changed, self._priced, clock)
        return {
            "events": len(self._priced),
            "today_us": today,
            "with_change_us": changed,
            "added_us": None if today is None or changed is None else round(changed - today, 3),
        }

    def _affected(self, event: QueuedEvent, before: Decision, after: Decision, *, caught: bool, clears: bool) -> None:
        self._moves[Move(before.rule_id, after.rule_id, before.handling, after.handling)] += 1
        minute = iso(event.event_timestamp)[:16]
        for place, decision in enumerate((before, after)):
            if decision.handling == Handling.PAGE_AND_TICKET and not clears:
                self._pages[place].add(minute, signature(_decided(event, decision)))
        if not caught:
            return
        self.caught.add(event.envelope.event_id, before.rule_id)
        if len(self.samples) < SAMPLES:
            self.samples.append(_sample(event) | {"today": before.handling, "with_change": after.handling})

    def _look_near(self, event: QueuedEvent) -> None:
        for condition, book in self._wider:
            if book.first_match(event.message, event.severity, event.trap_oid) is not None:
                self._near += 1
                if len(self.near_misses) < SAMPLES:
                    self.near_misses.append(_sample(event) | {"failed": condition})
                return

    def _worst(self, place: int) -> dict[str, Any]:
        at, pages = self._pages[place].worst()
        return {"at": None if at is None else at + ":00Z", "pages": pages}

    def _minutes(self) -> list[dict[str, Any]]:
        today, changed = (tally.minutes for tally in self._pages)
        return [
            {"at": minute + ":00Z", "with_change": changed.get(minute, 0), "today": today.get(minute, 0)}
            for minute in sorted({*today, *changed})
        ]

    def _move(self, move: Move, count: int) -> dict[str, Any]:
        louder = LOUDNESS[Handling(move.handling_after)] - LOUDNESS[Handling(move.handling_before)]
        far = louder >= FAR and move.before is not None and move.before != self._change_id
        return {
            "from": self._named(move.before),
            "to": self._named(move.after),
            "today": move.handling_before,
            "with_change": move.handling_after,
            "events": count,
            "direction": "same" if not louder else "far louder" if far else "louder" if louder > 0 else "quieter",
        }

    def _named(self, rule_id: int | None) -> dict[str, Any] | None:
        if rule_id is None:
            return None
        this = rule_id == self._change_id
        rule = self._placed if this else self.rules[rule_id]
        return {
            "id": None if this and self.change.id == NEW_RULE else rule_id,
            "name": rule.name,
            "priority": rule.priority,
            "this": this,
        }

    def _above(self) -> list[dict[str, Any]]:
        sure = hiding(self._placed, self._others) if self._placed.is_active else None
        counts = dict(self._hidden_by)
        if sure is not None:
            counts.setdefault(sure.id, 0)
        return [
            {
                "rule": self._named(rule_id),
                "events": count,
                "completely": (sure is not None and sure.id == rule_id) or (count > 0 and count == self._matched),
                "certain": sure is not None and sure.id == rule_id,
            }
            for rule_id, count in sorted(counts.items(), key=lambda item: -item[1])
        ]

    def _below(self) -> list[dict[str, Any]]:
        taken: Counter[int] = Counter()
        for move, count in self._moves.items():
            if move.after == self._change_id and move.before is not None and move.before != self._change_id:
                taken[move.before] += count
        sure = {rule.id for rule in hidden(self._placed, self._others)}
        return [
            {
                "rule": self._named(rule_id),
                "events": taken[rule_id],
                "of": self._seen[rule_id],
                "completely": rule_id in sure or taken[rule_id] == self._seen[rule_id],
                "certain": rule_id in sure,
            }
            for rule_id in sorted(sure | set(taken), key=lambda each: -taken[each])
        ]

    def _warnings(self, moves: list[dict[str, Any]]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for move in moves:
            origin = move["from"]
            if move["direction"] == "far louder" and origin is not None:
                lower = min(origin["priority"] - 1, 1000)
                found.append(
                    {
                        "kind": "far_louder",
                        "rule": origin,
                        "events": move["events"],
                        "text": f"It takes {_events(move['events'])} from rule {origin['id']}, which "
                        f"{_only(move['today'])}.",
                        "priority": lower if lower >= 1 and lower < self.change.priority else None,
                    }
                )
        for above in self._above():
            if above["completely"]:
                rule = above["rule"]
                higher = rule["priority"] + 1
                certain = "whatever arrives" if above["certain"] else "of all that were read"
                found.append(
                    {
                        "kind": "hidden",
                        "rule": rule,
                        "events": above["events"],
                        "text": f"Rule {rule['id']} is tried first and leaves it nothing, {certain}.",
                        "priority": higher if higher <= 1000 else None,  # noqa: PLR2004  (the highest there is)
                    }
                )
        return found


def _price(
    book: RuleBook, events: list[tuple[str, int | None, str | None]], clock: Callable[[], float]
) -> float | None:
    if not events:
        return None
    best = float("inf")
    for _ in range(PRICED_TIMES):
        started = clock()
        for message, level, oid in events:
            book.first_match(message, level, oid)
        best = min(best, clock() - started)
    return round(best / len(events) * 1_000_000, 3)


def _decided(event: QueuedEvent, decision: Decision) -> DecidedEvent:
    return DecidedEvent(
        event.envelope,
        event,
        decision.handling,
        decision.team,
        decision.rule_id,
        decision.rule_version,
        decision.environment,
        b"{}",
    )


def _sample(event: QueuedEvent) -> dict[str, Any]:
    return {
        "event_id": event.envelope.event_id,
        "at": iso(event.event_timestamp),
        "hostname": event.hostname,
        "severity": event.severity,
        "message": event.message[:MESSAGE_SHOWN],
    }


def _events(count: int) -> str:
    return "1 event" if count == 1 else f"{count:,} events"


def _only(handling: str) -> str:
    return {"Log_only": "should only log", "Suppress": "suppresses them"}.get(handling, f"has {handling}")
