"""Kills Redis's primary under Sentinel and load, and counts what is lost in the durable mode and without it.

    python -m tests.chaos.failover --kills 20 [--seed N] [--network-ms 20] [--keep FOLDER]

A primary, two replicas and three sentinels; what the primary sends to its replicas is on its way for --network-ms, as
between machines, and is lost with it. The killed primary comes back as a replica, and when all are in step the next one
is killed. The durable mode must lose nothing; without it what is lost is counted.
"""

import argparse
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import redis

from scripts.devtools.embedded import PostgresServer, RedisServer
from scripts.devtools.services import HOST, Service, database_environment
from tests.chaos import command
from tests.chaos.blows import pass_time
from tests.chaos.books import claims
from tests.chaos.load import Ledger, load
from tests.chaos.stage import SETTINGS, make_rules, wait_settled
from tests.harness.credentials import INGEST_API_KEY, MOOG_API_KEY
from tests.harness.fleet import Fleet
from tests.harness.moogsoft import MoogStandIn
from tests.harness.nursery import Nursery
from tests.harness.processes import ServiceProcess, find_service
from tests.harness.proxy import Proxy
from tests.harness.servers import Databases
from tests.harness.waiting import wait_for

REPLICAS = 2
SENDERS = 6
NETWORK_MS = 20.0
PATIENT = {"ALERTER_DATABASE_GRACE": "15"}  # PostgreSQL is at no fault here, and may be slow on a busy machine
EVENTS_BETWEEN = 30  # at least, that are acknowledged between two kills
LOAD_SECONDS = (0.2, 1.0)  # from then on until the kill
SECONDS_A_KILL = 9.0  # for the line of progress
LOST = {
    "events lost": "acknowledged, but neither audited nor visible",
    "alerts lost": "owed to Moogsoft, but neither delivered nor visible",
    "rejected records lost": "rejected, but not in quarantine",
}


class Counts(NamedTuple):
    """What became of one mode; `faults` are those that no mode may show."""

    kills: int
    behind: list[int]
    acknowledged: int
    repeated: int
    lost: dict[str, int]
    doubled: int
    delivered_again: int
    faults: list[str]


class Kills:
    """Kills the primary, whichever server it is, with what is on its way to the replicas."""

    def __init__(self, fleet: Fleet, network_seconds: float, stack: ExitStack) -> None:
        self._fleet = fleet
        self._servers = {server.port: server for server in fleet.servers}
        self._ways = {port: stack.enter_context(Proxy(server.url)) for port, server in self._servers.items()}
        self._network = network_seconds
        self.done = 0
        self.behind: list[int] = []  # bytes that no replica had acknowledged, at each kill

    def strike(self, ledger: Ledger, load_seconds: float) -> None:
        """Let the replicas follow over the slow way for a while, kill, and return when all are in step again."""
        port = self._fleet.now()
        assert port is not None
        primary, way = self._servers[port], self._ways[port]
        way.slow(self._network)
        followers = [server for server in self._servers.values() if server is not primary]
        wait_for(lambda: self._lead(followers, way.port, ledger, load_seconds), "events over the slow way")
        with redis.Redis.from_url(primary.url) as client:
            _, written, following = client.role()
        self.behind.append(min((int(written) - int(each[2]) for each in following), default=int(written)))
        primary.kill()
        way.cut()
        self.done += 1
        wait_for(lambda: self._fleet.now() not in {None, port}, "a promoted replica")
        way.mend()
        self._fleet.bring_back(primary)
        self._fleet.wait_in_step()

    def _lead(self, followers: list[RedisServer], port: int, ledger: Ledger, load_seconds: float) -> bool:
        """Tell whether the replicas followed over that way to the end: the sentinels put it right after a while."""
        for follower in followers:
            with redis.Redis.from_url(follower.url) as client:
                client.replicaof(HOST, str(port))
        wait_for(lambda: all(map(self._fleet.is_replicated, followers)), "replicas in step over the slow way")
        before = len(ledger.acknowledged)
        wait_for(lambda: len(ledger.acknowledged) > before + EVENTS_BETWEEN, "events before a kill")
        pass_time(load_seconds)
        return all(_follows(follower, port) for follower in followers)


def _follows(server: RedisServer, port: int) -> bool:
    with redis.Redis.from_url(server.url) as client:
        state = client.info("replication")
    return bool(state.get("master_port") == port and state.get("master_link_status") == "up")


@contextmanager
def pipeline(
    folder: Path,
    database_url: str,
    environment: dict[str, str],
    nurseries: Callable[[Service], Nursery | None],
) -> Iterator[tuple[dict[str, ServiceProcess], MoogStandIn]]:
    """Run the four services of an event's way, and the Moogsoft stand-in."""
    with ExitStack() as stack:
        moogsoft = MoogStandIn(folder, MOOG_API_KEY)
        moogsoft.start()
        stack.callback(moogsoft.kill)
        shared = {
            **database_environment(database_url),
            "INGEST_API_KEY": INGEST_API_KEY,
            "MOOG_API_KEY": MOOG_API_KEY,
            "MOOG_WEBHOOK_URL": moogsoft.events_url,
            "MUTT_BIND_HOST": HOST,
            **environment,
        }
        services = {}
        for name, own in SETTINGS.items():
            service = find_service(name)
            process = ServiceProcess(
                service, {**shared, **own, **PATIENT, "POD_NAME": name}, folder / f"{name}.log", nurseries(service)
            )
            stack.callback(process.close)
            process.start(wait=False)
            services[name] = process
        for process in services.values():
            process.wait_healthy()
        yield services, moogsoft


def prove(  # noqa: PLR0917  (one run, told by its parts)
    folder: Path,
    database_url: str,
    durable: bool,
    kills: int,
    seed: int,
    network_ms: float = NETWORK_MS,
    nurseries: Callable[[Service], Nursery | None] = lambda _: None,
    show: Callable[[Kills, Ledger], None] = lambda *_: None,
) -> Counts:
    """Kill so many primaries under load, wait until nothing is left to do, and count. Ctrl-C ends the kills."""
    chance = random.Random(seed)
    make_rules(database_url)
    with ExitStack() as stack:
        fleet = Fleet(folder, REPLICAS)
        stack.callback(fleet.stop)
        fleet.start()
        here = {
            **fleet.environment,
            "REDIS_TLS_ENABLED": "false",
            "REDIS_PASS_CURRENT": fleet.primary.password,
            "REDIS_TIMEOUT": "2",
            "REDIS_DURABLE": str(durable).lower(),
        }
        services, moogsoft = stack.enter_context(pipeline(folder, database_url, here, nurseries))
        pids = {name: service.pid for name, service in services.items()}
        blows = Kills(fleet, network_ms / 1000, stack)
        with load(SENDERS, seed, f"{services['ingestor'].url}/api/v2/ingest") as ledger:
            try:
                while blows.done < kills:
                    show(blows, ledger)
                    blows.strike(ledger, chance.uniform(*LOAD_SECONDS))
            except KeyboardInterrupt:
                if blows.done == 0:
                    raise
                fleet.wait_in_step()
        primary = next(server for server in fleet.servers if server.port == fleet.now())
        with redis.Redis.from_url(primary.url) as client:
            wait_settled(client, services.values())
            alerts = moogsoft.alerts()
            found = claims(ledger, client, database_url, alerts)
        # What a settle did just before the kill may be lost and done again: a meta-alert is then made anew.
        found["delivered, but not owed"] -= {
            alert["external_id"] for alert in alerts if alert["custom_info"]["event"].get("source") == "mutt"
        }
        lost = {words: len(found.pop(what)) for words, what in LOST.items()}
        doubled = len(found.pop("audited more than once"))
        faults = [*ledger.complaints, *(f"{len(ids)} {what}: {sorted(ids)[:5]}" for what, ids in found.items() if ids)]
        if {name: service.pid for name, service in services.items() if service.running} != pids:
            faults.append("a service did not live through it")
        again = sum(times > 1 for times in Counter(alert["external_id"] for alert in alerts).values())
    return Counts(blows.done, blows.behind, len(ledger.acknowledged), ledger.repeated, lost, doubled, again, faults)


def run(options: argparse.Namespace) -> int:
    """Run both modes and give the verdict."""
    folder = Path(tempfile.mkdtemp(prefix="mutt-failover-"))
    folder.chmod(0o755)
    postgres = PostgresServer(folder / "postgres")
    again = f"python3 scripts/muttdev.py chaos --failovers {options.kills} --seed {options.seed}"
    command.tell(f"{options.kills} kills of the primary in each mode, seed {options.seed}: {again}")
    faults: list[str] = []
    try:
        postgres.start()
        databases = Databases(postgres)
        for mode in ("durable", "without"):
            counts = _prove_one(folder / mode, databases.create(), mode, options)
            figures = {
                "kills of the primary": counts.kills,
                "bytes not yet on any replica at a kill": f"{min(counts.behind):,} to {max(counts.behind):,}",
                "acknowledged events": counts.acknowledged,
                "bodies sent again": counts.repeated,
                **counts.lost,
                "audited twice": counts.doubled,
                "alerts delivered again under their id": counts.delivered_again,
            }
            command.figures("REDIS_DURABLE=true" if mode == "durable" else "without the durable mode", figures)
            faults += [f"{mode}: {fault}" for fault in counts.faults]
            faults += [f"{mode}: {counts.doubled} events were audited twice"] * (counts.doubled > 0)
            if mode == "durable":
                faults += [f"the durable mode: {number} {words}" for words, number in counts.lost.items() if number]
            if counts.kills < options.kills:
                command.tell(f"ended after {counts.kills} of {options.kills} kills: what follows was not tried")
                break
    except AssertionError as error:
        faults.append(str(error))
    finally:
        postgres.stop()
        if faults and options.keep:
            shutil.copytree(folder, options.keep, dirs_exist_ok=True, ignore=shutil.ignore_patterns("postgres"))
        shutil.rmtree(folder, ignore_errors=True)
    return command.verdict(faults, again)


def _prove_one(folder: Path, database_url: str, mode: str, options: argparse.Namespace) -> Counts:
    folder.mkdir()
    progress = command.Progress(options.kills * SECONDS_A_KILL)
    command.tell(f"\n{mode}: starting a primary, {REPLICAS} replicas, three sentinels and the services")

    def show(kills: Kills, ledger: Ledger) -> None:
        progress.show(
            lambda: f"{kills.done} of {options.kills} kills, {len(ledger.acknowledged):,} events acknowledged"
        )

    try:
        return prove(
            folder, database_url, mode == "durable", options.kills, options.seed, options.network_ms, show=show
        )
    finally:
        progress.end()


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--network-ms", type=float, default=NETWORK_MS)
    parser.add_argument("--keep", type=Path, default=None)
    options = parser.parse_args()
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(10**9)
    return command.alone(lambda: run(options))


if __name__ == "__main__":
    raise SystemExit(main())
