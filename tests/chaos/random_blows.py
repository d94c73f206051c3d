"""Load, faults and upgrades at random from a seed; then the ledger that the senders kept against all that MUTT has.

    python3 scripts/muttdev.py chaos --minutes 30 --seed N [--keep FOLDER]

The seed repeats what is sent, what strikes and in which order; how they interleave is the machine's affair.
"""

import argparse
import json
import random
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psycopg
import redis

from tests.chaos import command
from tests.chaos.acts import FLIP, WEIGHTS, Acts
from tests.chaos.arena import Arena, work_folder
from tests.chaos.blows import Blows
from tests.chaos.command import Progress, tell
from tests.chaos.load import WORDS
from tests.chaos.verdict import Verdict
from tests.service.archive_stage import Stage, month_ago
from tests.upgrade.older import check_out

MINUTES = 30.0
SENDERS = 6
FORWARD_SHARE = 0.6  # of the time, at its end, in which no instance goes back to the older release
LEAST = 3.0  # acknowledged events a second, below which a run proves too little
HISTORY, HISTORY_MONTHS = 500, (5, 6)  # rows a month, months ago: what the archive takes
AWAY = (redis.RedisError, psycopg.OperationalError)


class Run:
    """One run."""

    def __init__(self, arena: Arena, seed: int, seconds: float) -> None:
        self.arena = arena
        self.verdict = Verdict(arena)
        self.acts = Acts(arena)
        self.seconds = seconds
        self._seed = seed
        self._archive = Stage("", arena.folder / "archive")

    def open(self) -> None:
        """Start everything, with old months in the database."""
        self.arena.open()
        self._blows = Blows(self._seed, self.acts.all(), WEIGHTS)
        self._archive = Stage(self.arena.database_url, self.arena.folder / "archive")
        for months in HISTORY_MONTHS:
            self._archive.fill(month_ago(months), HISTORY)
        self.history = {row[0] for row in self._archive.sql("SELECT event_id::text FROM event_audit_log")}
        self.acts.make_flip()
        self.arena.order()
        self.arena.senders.start(self._seed, SENDERS, {**WORDS, FLIP: 20})

    def strike(self) -> None:
        """Strike until the time is over, and say how far it is."""
        progress = Progress(self.seconds)
        with (self.arena.folder / "blows.log").open("a", encoding="utf-8") as log:
            while progress.left > 0:
                at = time.strftime("%H:%M:%S")
                self.acts.forward = progress.left < self.seconds * FORWARD_SHARE
                try:
                    name = self._blows.strike()
                except AWAY as error:
                    name = f"missed: {error}"
                log.write(f"{at} {name}\n")
                log.flush()
                progress.show(self._counts)
        progress.end()

    def judge(self) -> list[str]:
        """Mend everything, wait until all has come to rest, and return the broken promises."""
        tell("mending what is broken")
        self.acts.mend()
        found = self.verdict.judge()
        self.acts.migrate(random.Random())
        self.arena.script("archive_old_events.py")
        found += self._history_faults()
        found += self.acts.complaints
        acknowledged = self.verdict.count()
        if acknowledged < LEAST * self.seconds:
            found.append(f"only {acknowledged} events were acknowledged: this proves too little")
        return found

    def figures(self) -> None:
        """Print what the run was made of."""
        command.figures("blows", dict(sorted(self._blows.struck.items())))
        self.verdict.figures()

    def _counts(self) -> str:
        events, blows = self.verdict.count(), self._blows.struck.total()
        return f"{events:,} events acknowledged, {blows} blows; {self.verdict.depths()}"

    def _history_faults(self) -> Iterable[str]:
        """Return what is wrong with the old months: each row has to be in the archive or in the database, once."""
        self._archive = Stage(self.arena.database_url, self.arena.folder / "archive")
        found: Counter[str] = Counter()
        for months in HISTORY_MONTHS:
            day = month_ago(months)
            span = ("--start", str(day), "--end", f"{month_ago(months - 1)}T00:00:00Z", "--limit", "100000")
            said = self.arena.script("archive_old_events.py", "--search", "--format", "json", *span)
            found.update(json.loads(line)["event_id"] for line in said.splitlines() if line.startswith("{"))
        rows = self._archive.sql(
            "SELECT event_id::text FROM event_audit_log WHERE received_at < now() - interval '30 days'"
        )
        found.update(row[0] for row in rows)
        if lost := self.history - found.keys():
            yield f"{len(lost)} old rows are neither in the database nor in the archive: {sorted(lost)[:5]}"
        if twice := [row for row, times in found.items() if times > 1]:
            yield f"{len(twice)} old rows are there more than once: {sorted(twice)[:5]}"


def main() -> int:
    """Run the proof and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**9))
    parser.add_argument("--no-upgrades", action="store_true", help="this release alone, without the one before it")
    parser.add_argument("--keep", type=Path, help="folder that the logs are left in when the verdict is bad")
    options = parser.parse_args()
    return command.alone(lambda: run(options))


def run(options: argparse.Namespace) -> int:
    """Play one run and judge it."""
    minutes, seed, keep = options.minutes, options.seed, options.keep
    again = f"python3 scripts/muttdev.py chaos --minutes {minutes:g} --seed {seed}"
    again += " --no-upgrades" if options.no_upgrades else ""
    tell(f"chaos for {minutes:g} minutes, seed {seed}; Ctrl-C judges what has been seen so far")
    with work_folder() as folder:
        try:
            older = None if options.no_upgrades else check_out(folder / "older")
        except AssertionError as error:
            tell(f"{error}\nOr do without upgrades: --no-upgrades")
            return 1
        arena = Arena(folder, older=older)
        played = Run(arena, seed, minutes * 60)
        try:
            release = "this release" if older is None else "the older release"
            tell(f"starting Redis, PostgreSQL, Moogsoft's stand-in, nine services of {release}, {SENDERS} senders")
            played.open()
            with suppress(KeyboardInterrupt):
                played.strike()
            found = played.judge()
            played.figures()
            if found and keep is not None:
                arena.keep_logs(keep)
                tell(f"the logs are in {keep}")
            elif found:
                again += " --keep FOLDER"
        finally:
            arena.close()
    return command.verdict(found, again)


if __name__ == "__main__":
    raise SystemExit(main())
