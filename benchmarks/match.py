"""Finding the rule that decides, with 100, 1,000 and 10,000 rules, beside a Python loop over the rules.

    python benchmarks/match.py [--runs 3] [--quick] [--json]

The loop is that of the plain stack's alerter: each rule in the order of rank, `in` on the lower-case message, compiled
regular expressions; the first that holds wins. The rule that holds lies anywhere in the ranks, evenly; one message in
ten has none. Everything runs in this process; a second is one of its CPU.
"""

import argparse
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from benchmarks import measuring, pieces
from benchmarks.baseline.alerter import Alerter, prepared
from benchmarks.measuring import Bench, Figure, Floor, Side
from benchmarks.workload import FILLER, BenchmarkRule, rules

FLOORS = {100: 8, 1_000: 60, 10_000: 300}
CHECKED = 2_000_000  # rules that the loop tries a side, about
LOOKED = 200_000  # messages a side of the book
MESSAGES = 2_000  # different ones
WHY = "with few rules the one pass over the message is nearly all that is left"

Find = Callable[..., object]


def messages(made: Sequence[BenchmarkRule], count: int) -> list[str]:
    """Return messages of which each holds the literal of a random rule, or in one of ten of none."""
    chance = random.Random(4)
    # A text that several rules ask for would be found at the first of them.
    literals = [rule.match_string for rule in made if rule.match_string and rule.match_string.startswith("MODULE")]
    return [
        f"%{chance.choice(literals) if chance.random() < 0.9 else 'QUIET-6-NOTHING'}: "
        f"Interface GigabitEthernet1/0/{number % 48}, sequence {number}, {FILLER}"
        for number in range(count)
    ]


def loop(made: Sequence[BenchmarkRule]) -> Alerter:
    """Return the plain stack's alerter with these rules."""
    alerter = Alerter.__new__(Alerter)
    alerter.rules = [
        (number, prepared(rule.match_type, rule.match_string), rule.trap_oid, rule.match_type, "Log_only")
        for number, rule in enumerate(made, 1)
    ]
    return alerter


def measure(find: Find, told: Sequence[Any], count: int, scale: float) -> Figure:
    """Find the rule of so many messages, given as what `find` takes."""
    passes = max(1, round(count * scale / len(told)))
    before = time.process_time()
    for _ in range(passes):
        for one in told:
            find(*one)
    seconds = time.process_time() - before
    events = passes * len(told)
    return Figure(events / seconds, seconds / events * 1e6)


@contextmanager
def bench(options: argparse.Namespace) -> Iterator[Bench]:
    """Give the row."""
    del options
    sides, floors = [], []
    for number, least in FLOORS.items():
        made = rules(number)
        told = messages(made, MESSAGES)
        alerter, book = loop(made), pieces.book(number)
        events = [({"message": message},) for message in told]
        for message, (event,) in zip(told[:50], events, strict=False):
            rule = book.first_match(message, None, None)
            assert alerter.match(event)[0] == (rule and rule.id)
        sides += [
            Side(
                f"stack {number:,}",
                "a Python loop",
                partial(measure, alerter.match, events[: CHECKED // number], 2 * CHECKED // number),
            ),
            Side(
                f"mutt {number:,}",
                "the rule book",
                partial(measure, book.look, [(message, message.encode(), None, None) for message in told], LOOKED),
            ),
        ]
        floors.append(Floor(f"mutt {number:,}", f"stack {number:,}", least, why=WHY if number == min(FLOORS) else ""))
    yield Bench(
        "match",
        "Matching against rules",
        "in one process, per second of its CPU; eight in ten rules are literals, the rest regexes and OIDs; the rule"
        " that holds lies evenly in the ranks",
        sides,
        floors,
    )


if __name__ == "__main__":
    measuring.main(bench, __doc__)
