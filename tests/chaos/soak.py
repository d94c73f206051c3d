"""A steady load with what happens every day, for hours: nothing may grow.

    python3 scripts/muttdev.py soak --hours 1 [--seed N] [--keep FOLDER]

Every few seconds it measures memory, file handles and threads of each service, the clients and keys of Redis, the
connections of PostgreSQL and the size of the logs. At the end it tells the slope of each, and judges also what chaos
judges: nothing lost, nothing doubled.
"""

import argparse
import random
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psycopg
import redis

from mutt import keys
from tests.chaos import command
from tests.chaos.acts import FLIP, Acts
from tests.chaos.arena import INSTANCES, Arena, work_folder
from tests.chaos.command import Progress, tell
from tests.chaos.load import WORDS
from tests.chaos.measuring import Limit, Series, growing, of_postgres, of_process, of_redis
from tests.chaos.verdict import Verdict

MINUTES = 60.0
SENDERS = 4
PAUSE = (0.5, 1.5)  # seconds between two bodies of a sender
PATIENT = {"ALERTER_DATABASE_GRACE": "15"}  # as in production: a slow commit is no outage
EVERY = 5.0  # seconds between two measurements
EVENTS = (4.0, 12.0)  # seconds between two everyday events
LOOKS = ("/metrics", "/slo", "/rules", "/audit-logs?limit=50", "/dead-letters", "/unhandled", "/config", "/dev-hosts")
LIMITS = (
    # A service takes some 80 MB. One that grows by less than as much a day lives for a week in the 1 GB of its unit. A
    # run of an hour tells a third of that from what caches and pools take as they fill; a longer one tells all of it.
    Limit("memory", 80 * 1024, least=4 * 1024),
    Limit("file handles|clients|connections", 24, least=32),  # the pools' size
    Limit("threads", 24, least=8),
    Limit("log", 100 * 1024, least=1024),
    # Keys that are made at each turn of the clock and go by their time to live.
    Limit(r"keys mutt:metrics:1m:", most=keys.METRICS_MINUTE_TTL / 60 + 2),
    Limit(r"keys mutt:metrics:1h:", most=keys.METRICS_HOUR_TTL / 3600 + 2),
    Limit(r"keys mutt:metrics:24h:", most=keys.METRICS_DAY_TTL / 86_400 + 2),
    Limit(r"keys mutt:slo:", most=keys.SLO_TTL / 3600 + 2),
    Limit(r"keys mutt:unhandled", most=10),  # the load has one pattern
    Limit("keys", 24, least=8),
)


class Soak:
    """One run."""

    def __init__(self, arena: Arena, seed: int, seconds: float) -> None:
        self.arena = arena
        self.acts = Acts(arena)
        self.verdict = Verdict(arena)
        self.series = Series()
        self._seed = seed
        self._random = random.Random(f"{seed}/everyday")
        self._seconds = seconds
        self._enough = threading.Event()

    def run(self) -> None:
        """Let the time pass."""
        self.arena.open()
        self.acts.make_flip()
        self.arena.order(PAUSE)
        self.arena.senders.start(self._seed, SENDERS, {**WORDS, FLIP: 20})
        self.series = Series()
        threads = [threading.Thread(target=each, daemon=True) for each in (self._look, self._happen)]
        for thread in threads:
            thread.start()
        progress = Progress(self._seconds)
        with suppress(KeyboardInterrupt):
            while progress.left > 0:
                self._measure()
                progress.show(self._counts)
                self._enough.wait(min(EVERY, max(0.0, progress.left)))
        progress.end()
        self._enough.set()
        for thread in threads:
            thread.join(30)

    def judge(self) -> list[str]:
        """Return what grew, and every broken promise."""
        grown = list(growing(self.series, LIMITS))
        self.acts.mend()
        return [*grown, *self.verdict.judge(), *self.acts.complaints]

    def tell(self) -> None:
        """Print the table of slopes."""
        tell(f"\n{'measured':<52} {'last':>12} {'an hour':>12}   95 % interval")
        for name in self.series.names:
            slope = self.series.slope(name)
            words = (
                f"{slope.an_hour:>12,.1f}   {slope.low:,.1f} to {slope.high:,.1f}" if slope else "   seen too seldom"
            )
            tell(f"{name:<52} {self.series.last(name):>12,.0f} {words}")

    def _measure(self) -> None:
        found: dict[str, float] = {}
        for slot in self.arena.slots:
            found |= of_process(slot.name, slot.process.pid)
            found[f"{slot.name}: log, KB"] = slot.now.log_file.stat().st_size / 1024
        with self.arena.client() as client:
            found |= of_redis(client)
        with psycopg.connect(self.arena.postgres.url(), application_name="soak") as connection:
            found |= of_postgres(connection)
        self.series.add(found)

    def _counts(self) -> str:
        names = [name for name in self.series.names if name.endswith("memory, KB")]
        held = sum(self.series.last(name) for name in names) / 1024
        return f"{self.verdict.count():,} events acknowledged, {held:,.0f} MB in services and Redis"

    def _look(self) -> None:
        """Look at the console's pages, as viewers do."""
        while not self._enough.wait(0.5):
            self.arena.console("GET", self._random.choice(LOOKS))

    def _happen(self) -> None:
        """Do what operators do, and let Moogsoft refuse some alerts at times."""
        everyday: tuple[Callable[[random.Random], None], ...] = (
            self.acts.change_rule,
            self.acts.churn,
            self.acts.hang_up,
            self.acts.replay,
            lambda _: self.arena.moogsoft.behave(status=400, times=2),
            lambda _: self.arena.moogsoft.behave(slow=0.5, times=5),
            self.acts.make_partitions,
        )
        while not self._enough.wait(self._random.uniform(*EVENTS)):
            with suppress(redis.RedisError, psycopg.Error):
                self._random.choice(everyday)(self._random)


def main() -> int:
    """Run the proof and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**9))
    parser.add_argument("--instances", type=int, default=INSTANCES, help="of each service but the web UI")
    parser.add_argument("--keep", type=Path, help="folder that the logs are left in when the verdict is bad")
    options = parser.parse_args()
    return command.alone(lambda: run(options))


def run(options: argparse.Namespace) -> int:
    """Play one run and judge it."""
    again = f"python3 scripts/muttdev.py soak --minutes {options.minutes:g} --seed {options.seed}"
    tell(f"soak for {options.minutes:g} minutes, seed {options.seed}; Ctrl-C judges what has been seen so far")
    with work_folder() as folder:
        arena = Arena(folder, options.instances, more=PATIENT)
        soak = Soak(arena, options.seed, options.minutes * 60)
        try:
            tell(f"starting Redis, PostgreSQL, Moogsoft's stand-in, the services, {SENDERS} senders")
            soak.run()
            found = soak.judge()
            soak.tell()
            soak.verdict.figures()
            if found and options.keep is not None:
                arena.keep_logs(options.keep)
                tell(f"the logs are in {options.keep}")
        finally:
            arena.close()
    return command.verdict(found, again)


if __name__ == "__main__":
    raise SystemExit(main())
