"""Ten times what the pipeline drains, and one bad sender among good ones; then the senders' ledger against the audit.

    python3 scripts/muttdev.py chaos --overload [--minutes 5] [--seed N] [--keep FOLDER]

How fast the pipeline drains is measured first, in the same run. The queue's cap is small, so that it is soon reached.
The seed only orders the senders: what they send is always the same, and how it interleaves is the machine's affair.
"""

import argparse
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg

from mutt import keys
from scripts.devtools.services import database_environment, redis_environment
from tests.chaos import command
from tests.chaos.arena import Arena, work_folder
from tests.chaos.books import NAMES
from tests.chaos.command import Progress, tell
from tests.chaos.generator import Asked, Generator, Seen
from tests.chaos.stage import RECOVERY_SECONDS, wait_settled
from tests.harness.processes import fetch
from tests.harness.waiting import wait_for

MINUTES = 5.0
CAP = 20_000  # events
EVENT_BYTES = 300  # of an event in Redis, at least
TIMES = 10  # what is sent for each event that is drained
CONNECTIONS = 32  # of each sender that overloads
GOOD = [f"127.0.0.{number}" for number in range(11, 15)]
CROWD = [f"127.0.0.{number}" for number in range(31, 35)]  # apart from the good ones: what these had is remembered
BAD = "127.0.0.2"
PART_SECONDS = (2.5, 20.0)  # of the parts beside the overload, at least and at most
ANSWER_SECONDS = 10.0
BOUND_MS = 1000.0  # p99 of accepted requests, where the machine is quick enough for it
SPREAD = 10  # times the mean wait: past this the p99 says that somebody starves, however slow the machine
MOST_GROWTH = 400 << 20  # bytes: INGEST_MAX_IN_FLIGHT_BYTES, and the bodies that are being read
GOOD_SHARE = 0.98  # of the good senders' requests, beside a bad one
GOOD_TIMES = 1.5  # what is more than the bad one's share, by far


class Straight(Arena):
    """One of each service on the events' way, which speaks to the servers itself: only the load is to slow it down."""

    services = ("ingestor", "alerter", "moog-forwarder")

    def __init__(self, folder: Path, cap: int) -> None:
        super().__init__(folder, 1)
        self._own = {"MAX_INGEST_QUEUE_SIZE": str(cap), "DYNAMIC_CONFIG_ENABLED": "false"}

    def _environment(self) -> dict[str, str]:
        found = super()._environment()
        straight = {**redis_environment(self.redis.url), **database_environment(self.database_url)}
        return {**found, **{name: value for name, value in straight.items() if name in found}, **self._own}


@dataclass
class Watched:
    """What was seen of the services from outside while they were under load."""

    looks: int = 0
    silent: list[str] = field(default_factory=list)
    slowest: float = 0.0
    depth: int = 0
    memory: int = 0
    redis: int = 0


class Watch(threading.Thread):
    """Looks twice a second."""

    def __init__(self, arena: Arena) -> None:
        super().__init__(daemon=True)
        self.seen = Watched()
        self.depth = 0
        self._arena = arena
        self._enough = threading.Event()
        self._process = psutil.Process(arena.of("ingestor")[0].process.pid)
        self.memory_before = self._process.memory_info().rss

    def run(self) -> None:
        """Look until it is enough."""
        service = self._arena.of("ingestor")[0].now
        seen = self.seen
        with self._arena.client() as client:
            while not self._enough.wait(0.5):
                seen.looks += 1
                for url in (service.health_url, service.live_url):
                    began = time.monotonic()
                    status, body = fetch(url, ANSWER_SECONDS)
                    seen.slowest = max(seen.slowest, time.monotonic() - began)
                    if status != 200:
                        seen.silent.append(f"{url.rsplit('/', 1)[1]} answered {status}: {body[:200]}")
                self.depth = client.llen(NAMES.ingest_queue)
                seen.depth = max(seen.depth, self.depth)
                seen.redis = max(seen.redis, client.info("memory")["used_memory"])
                seen.memory = max(seen.memory, self._process.memory_info().rss)

    def stop(self) -> None:
        """Look no more."""
        self._enough.set()
        self.join()


class Run:
    """One run; `parts` are what the senders saw, by name."""

    def __init__(self, folder: Path, seconds: float, cap: int = CAP) -> None:
        self.arena = Straight(folder, cap)
        self.seconds = seconds
        self.cap = cap
        self.large = cap // 4  # events of a bad sender's packed bodies
        self.part_seconds = min(max(seconds / 6, PART_SECONDS[0]), PART_SECONDS[1])
        self.parts: dict[str, Seen] = {}
        self.drained = 0.0  # events a second
        self.recovery = 0.0  # seconds
        self.complaints: list[str] = []
        self.outcomes: Counter[str] = Counter()
        self._generators: list[Generator] = []

    def open(self) -> None:
        """Start everything."""
        self.arena.open()
        self._generators += [Generator(self.arena.folder, number) for number in range(2)]
        self._port = self.arena.of("ingestor")[0].now.ports["http"]
        self.watch = Watch(self.arena)
        self.watch.start()

    def close(self) -> None:
        """End everything."""
        for generator in self._generators:
            generator.close()
        self.arena.close()

    def play(self) -> None:
        """Measure, overload, and let one sender be bad; each part leaves what it saw in `parts`."""
        self._measure()
        half, over = self.drained / 2, self.drained * TIMES
        small = min(100, self.cap // 50)
        good = [Asked(f"good-{source}", source, 2, half / len(GOOD), small) for source in GOOD]
        all_bad = [Asked(f"all-{source}", source, CONNECTIONS, over / len(CROWD)) for source in CROWD]
        bad = [Asked("bad", BAD, CONNECTIONS, over), Asked("bad-large", BAD, 8, over, self.large, gzip=True)]
        self._part("half of what is drained", self.part_seconds, good)
        self._part("overload", self.seconds, all_bad)
        self._calm("the queue before the memory is short")
        self._part("overload of the memory", self.part_seconds, all_bad, around=self._short_memory)
        self._calm("the queue before one sender turns bad")
        self._part("a bad sender", 2 * self.part_seconds, good, bad)
        began = time.monotonic()
        self._calm("the recovery")
        self.recovery = time.monotonic() - began

    def _measure(self) -> None:
        """Fill the queue, and see how long the pipeline takes for what was taken."""
        began = time.monotonic()
        self._part("filling the queue", 60, [Asked("fill", CROWD[0], 16, events=500)], until_refused=True)
        with self.arena.client() as client:
            wait_for(lambda: not client.llen(NAMES.ingest_queue), "an empty queue", RECOVERY_SECONDS)
        seen = self.parts["filling the queue"]
        self.drained = seen.rate(status="200") * seen.seconds / (time.monotonic() - began)
        tell(f"what filled the queue was drained at {self.drained:,.0f}/s")
        self._calm("what was measured")

    def _calm(self, what: str) -> None:
        tell(f"waiting for an empty queue: {what}")
        with self.arena.client() as client:
            wait_settled(client, [slot.now for slot in self.arena.slots])

    def _short_memory(self) -> Callable[[], None]:
        """Leave Redis so little memory that its share is used up before the queue is full."""
        with self.arena.client() as client:
            client.config_set(
                "maxmemory", (client.info("memory")["used_memory"] + self.cap * EVENT_BYTES // 2) * 4 // 3
            )

        def give_back() -> None:
            with self.arena.client() as client:
                client.config_set("maxmemory", 0)

        return give_back

    def _part(
        self,
        name: str,
        seconds: float,
        *plans: Sequence[Asked],
        until_refused: bool = False,
        around: Callable[[], Callable[[], None]] | None = None,
    ) -> None:
        """Let each plan be carried out by a generator of its own, and say how far it is."""
        tell(f"\n{name}, {seconds:g} s" if not until_refused else f"\n{name}")
        undo = around() if around else None
        running = self._generators[: len(plans)]
        for generator, plan in zip(running, plans, strict=True):
            generator.begin(self._port, seconds, plan, until_refused=until_refused)
        progress = Progress(seconds)
        answers: list[Seen] = []
        waiting = threading.Thread(target=lambda: answers.extend(generator.end() for generator in running))
        waiting.start()
        try:
            while waiting.is_alive():
                waiting.join(0.5)
                progress.show(lambda: f"{name}: {self.watch.depth:,} events wait")
        except KeyboardInterrupt:
            for generator in running:
                generator.stop()
            raise
        finally:
            waiting.join()
            progress.end()
            if undo:
                undo()
            if answers:
                senders = {key: value for seen in answers for key, value in seen.senders.items()}
                self.parts[name] = Seen({"seconds": answers[0].seconds, "senders": senders})

    # ---------------------------------------------------------------- afterwards

    def judge(self, *, by_time: bool) -> list[str]:
        """Return the broken promises; `by_time` says whether those about time are among them."""
        try:
            self._calm("the books")
        except AssertionError as error:
            self.complaints.append(str(error).partition("\n")[0])
        self.watch.stop()
        found = [
            *self.complaints,
            *self._books(),
            *(complaint for seen in self.parts.values() for complaint in seen.complaints()),
        ]
        found += [f"{slot} ended by itself {times} times" for slot, times in self.arena.ended.items()]
        seen = self.watch.seen
        if seen.depth > self.cap + self.large:
            found.append(f"{seen.depth} events were in a queue of {self.cap}")
        if seen.memory - self.watch.memory_before > MOST_GROWTH:
            found.append(f"the ingestor grew by {(seen.memory - self.watch.memory_before) >> 20} MiB")
        for name in ("overload", "overload of the memory", "a bad sender"):
            if name in self.parts and not self.parts[name].answers()["503"]:
                found.append(f"nothing was refused in {name!r}: this proves nothing")
        memory = self.parts.get("overload of the memory")
        if memory and not sum(sender["for_memory"] for sender in memory.senders.values()):
            found.append("nothing was refused for the memory of Redis: this proves nothing of it")
        if "a bad sender" in self.parts:
            share, other = (self.parts["a bad sender"].share(name) for name in ("good", "bad"))
            # A pipeline that stands still for a while, since the machine does, has to refuse the good ones as well.
            if share < GOOD_SHARE and (by_time or share < GOOD_TIMES * other):
                found.append(f"beside a bad sender only {share:.1%} of the good ones' requests were accepted")
        return found + (list(self._late()) if by_time else [])

    def _late(self) -> Iterable[str]:
        """Return which accepted requests waited for too long.

        Each connection has one request under way, so that the mean wait is connections by answers a second: it is the
        machine's. What is promised is that nobody waits for much longer than that, and a good sender for less than a
        bad one.
        """
        for name in ("overload", "overload of the memory"):
            if name in self.parts:
                seen = self.parts[name]
                mean = len(CROWD) * CONNECTIONS * 1000 * seen.seconds / max(1, seen.answers().total())
                yield from _over(name, seen.worst("p99"), max(BOUND_MS, SPREAD * mean))
        if "a bad sender" in self.parts:
            seen = self.parts["a bad sender"]
            yield from _over("beside a bad sender", seen.worst("p99", "good"), max(BOUND_MS, seen.worst("p50", "bad")))
        looks = self.watch.seen
        if looks.silent:
            yield f"{len(looks.silent)} of {2 * looks.looks} looks at health and liveness: {looks.silent[:2]}"

    def _books(self) -> Iterable[str]:
        """Return what the ledger and the audit do not agree on: a batch is taken whole or not at all."""
        ledger = {batch: told for generator in self._generators for batch, told in generator.ledger().items()}
        with psycopg.connect(self.arena.database_url) as connection:
            rows = connection.execute(
                "SELECT left(correlation_id::text, 13), count(*), count(DISTINCT correlation_id),"
                " count(*) FILTER (WHERE forwarded) FROM event_audit_log"
                " WHERE source IS DISTINCT FROM 'mutt' GROUP BY 1"
            ).fetchall()
        audited = {batch: (count, distinct) for batch, count, distinct, _ in rows}
        with self.arena.client() as client:
            poison = client.llen(keys.POISON)
        if poison:
            yield f"{poison} events were given up"
        kinds: dict[str, list[str]] = {}
        for batch, (events, outcome) in ledger.items():
            self.outcomes[outcome] += events
            count, distinct = audited.pop(batch, (0, 0))
            if count > distinct:
                kinds.setdefault("audited more than once", []).append(batch)
            if outcome == "taken" and distinct < events:
                kinds.setdefault("acknowledged, but not all audited", []).append(batch)
            if outcome == "refused" and distinct:
                kinds.setdefault("refused, but audited", []).append(batch)
            if distinct not in {0, events}:
                kinds.setdefault("taken in part", []).append(batch)
        if audited:
            kinds["audited, but never sent"] = list(audited)
        yield from (f"{len(batches)} batches {what}: {batches[:5]}" for what, batches in kinds.items())
        owed, delivered = sum(row[3] for row in rows), self._delivered()
        if owed != delivered:
            yield f"{owed} alerts are owed to Moogsoft, {delivered} were delivered"

    def _delivered(self) -> int:
        return len({alert["external_id"] for alert in self.arena.moogsoft.alerts()})

    def _times(self) -> float:
        seen = self.parts.get("overload")
        return seen.rate() / self.drained if seen and self.drained else 0.0

    def figures(self) -> None:
        """Print what was seen."""
        tell(f"\n{'':26}{'sent/s':>9}{'taken/s':>9}{'accepted':>9}{'p50 ms':>9}{'p99 ms':>9}{'most ms':>9}  answers")
        for name, seen in self.parts.items():
            groups: list[tuple[str, ...]] = [()] if name != "a bad sender" else [("good",), ("bad",)]
            for names in groups:
                label = f"{name}: {names[0]}" if names and names[0] == "good" else ("  the bad one" if names else name)
                waits = "".join(f"{seen.worst(quantile, *names):>9,.1f}" for quantile in ("p50", "p99", "p100"))
                rates = f"{seen.rate(*names):>9,.0f}{seen.rate(*names, status='200'):>9,.0f}"
                tell(f"{label:<26}{rates}{seen.share(*names):>9.1%}{waits}  {dict(seen.answers(*names))}")
        looked = self.watch.seen
        command.figures(
            "figures",
            {
                "drained (events/s)": round(self.drained),
                "sent in the overload for each that is drained": f"{self._times():.1f}, {TIMES} were asked for",
                "events acknowledged": self.outcomes["taken"],
                "events refused": self.outcomes["refused"],
                "events without a reply": self.outcomes["unknown"],
                "most events in the queue": looked.depth,
                "its cap": self.cap,
                "ingestor's memory, before and most (MiB)": f"{self.watch.memory_before >> 20}, {looked.memory >> 20}",
                "Redis's memory, most (MiB)": looked.redis >> 20,
                "looks at health and liveness": 2 * looked.looks,
                "slowest of them (s)": f"{looked.slowest:.2f}",
                "recovery (s)": f"{self.recovery:.1f}",
            },
        )


def _over(name: str, p99: float, bound: float) -> Iterable[str]:
    if p99 > bound:
        yield f"{name}: the p99 of accepted requests was {p99:,.0f} ms, over {bound:,.0f}"


def main() -> int:
    """Run the proof and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**9))
    parser.add_argument("--keep", type=Path, help="folder that the logs are left in when the verdict is bad")
    options = parser.parse_args()
    return command.alone(lambda: prove(options.minutes, options.seed, options.keep))


def prove(minutes: float, seed: int, keep: Path | None) -> int:
    """Play one run and judge it."""
    again = f"python3 scripts/muttdev.py chaos --overload --minutes {minutes:g} --seed {seed}"
    tell(f"overload for {minutes:g} minutes, seed {seed}; Ctrl-C judges what has been seen so far")
    random.Random(seed).shuffle(GOOD)
    with work_folder() as folder:
        run = Run(folder, minutes * 60)
        try:
            tell("starting Redis, PostgreSQL, Moogsoft's stand-in, three services and two generators")
            run.open()
            with suppress(KeyboardInterrupt):
                try:
                    run.play()
                except AssertionError as error:  # nothing came to rest: the books say what that cost
                    run.complaints.append(str(error).partition("\n")[0])
            found = run.judge(by_time=True)
            run.figures()
            if found and keep is not None:
                run.arena.keep_logs(keep)
                tell(f"the logs are in {keep}")
        finally:
            run.close()
    return command.verdict(found, again)


if __name__ == "__main__":
    raise SystemExit(main())
