"""The product's own functions on the benchmarks' events, in this process: from bodies to queue entries to rows."""

import os
import time

from benchmarks.workload import RULES, bodies, rules
from mutt.handling import Hosts
from mutt.intake import Intake, Limits, Receipt
from mutt.judge import judge
from mutt.matching import RuleBook
from mutt.rules import Rule

BATCH = 100
TEAM = "NETO"


def intake() -> Intake:
    """Return the ingestor's rules of ingest."""
    return Intake(("timestamp", "message", "hostname"), Limits(), os.urandom)


def entries(count: int, seed: int = 1) -> list[bytes]:
    """Return the queue entries of `count` events, as the ingestor makes them."""
    reader, made = intake(), []
    for body in bodies(count, BATCH, seed):
        taken = reader.read(body, "", "application/json", Receipt(time.time_ns() // 1000))
        assert not taken.rejected
        made += [accepted.entry for accepted in taken.accepted]
    return made


def book(count: int = RULES) -> RuleBook:
    """Return the rules as the alerter holds them."""
    return RuleBook(
        Rule(
            number, rule.match_string, rule.trap_oid, None, rule.match_type, rule.priority, "Log_only", "Log_only", TEAM
        )
        for number, rule in enumerate(rules(count), 1)
    )


def rows(count: int, seed: int = 1) -> list[bytes]:
    """Return the packed audit rows of `count` events, as the alerter makes them."""
    held, hosts = book(), Hosts()
    return [judge(entry, held, hosts, TEAM).row for entry in entries(count, seed)]
