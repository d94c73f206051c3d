"""From the older release to this one under load, service by service: nothing lost, nothing doubled."""

import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest
import redis

from scripts.migrate import migrate, steps
from services.schema import SCHEMA_VERSION
from tests.chaos.books import faults
from tests.chaos.load import load
from tests.chaos.stage import SETTINGS, chosen_seed, make_rules, wait_settled
from tests.harness.moogsoft import MoogStandIn
from tests.harness.processes import ServiceProcess, StartService
from tests.harness.waiting import wait_for
from tests.upgrade.conftest import StartOlder
from tests.upgrade.older import OlderRelease, check_out

NAMES = ("ingestor", "alerter", "moog-forwarder", "remediation")
SENDERS = 2  # to each of the two ingestors
# What shows that a service works: it has done more of this since.
DONE = {
    "ingestor": ("mutt_ingest_requests_total", {"status": "success", "reason": ""}),
    "alerter": ("mutt_alerter_events_processed_total", {"status": "handled"}),
    "moog-forwarder": ("mutt_moog_alerts_processed_total", {"status": "success"}),
    "remediation": ("mutt_remediation_replayed_total", {"source": "moog", "status": "success"}),
}
TIMEOUT = 400.0


def done(service: ServiceProcess) -> float:
    """Return how much a service has done."""
    name, labels = DONE[service.service.name]
    return service.metric(name, **labels) or 0.0


def wait_for_work(services: Iterable[ServiceProcess]) -> None:
    """Wait until each of the services has done something more."""
    before = {service: done(service) for service in services}

    def idle() -> list[str]:
        return [service.log_file.stem for service, so_far in before.items() if done(service) <= so_far]

    wait_for(lambda: not idle(), "work of every service", 60)


@pytest.mark.timeout(TIMEOUT)
def test_two_releases_side_by_side_and_one_after_the_other_lose_and_double_nothing(
    *,
    redis_url: str,
    database_url: str,
    moog_stand_in: MoogStandIn,
    older: OlderRelease,
    start_older: StartOlder,
    start_service: StartService,
) -> None:
    seed = chosen_seed()
    make_rules(database_url)
    old = {name: start_older(name, **SETTINGS[name]) for name in NAMES}
    for service in old.values():
        service.wait_healthy()
    ports = old["ingestor"].ports
    url = f"{old['ingestor'].url}/api/v2/ingest"
    with load(SENDERS, seed, url) as ledger:
        wait_for_work([old["ingestor"], old["alerter"], old["moog-forwarder"]])
        # 1. The schema goes first, under the older release, which goes on; also one that is started again.
        assert [*migrate(database_url)] == [str(step) for step in steps() if step.version > older.schema_version]
        old["moog-forwarder"].restart()
        wait_for_work([old["ingestor"], old["alerter"], old["moog-forwarder"]])

        # 2. Both releases side by side, each working on what the other queued; Moogsoft refuses some.
        new = {name: start_service(name, wait=False, **SETTINGS[name]) for name in NAMES}
        for service in new.values():
            service.wait_healthy()
        with load(SENDERS, seed + 1, f"{new['ingestor'].url}/api/v2/ingest") as second:
            moog_stand_in.behave(status=400, times=4)
            both = (*old.values(), *new.values())
            wait_for_work(service for service in both if service.service.name != "remediation")

            # 3. The older release goes: in order, but for an alerter that dies with what it had claimed.
            old["alerter"].kill()
            assert {name: old[name].terminate() for name in NAMES if name != "alerter"} == dict.fromkeys(
                ["ingestor", "moog-forwarder", "remediation"], 0
            )
            successor = start_service(
                "ingestor", wait=False, **SETTINGS["ingestor"], SERVER_PORT_INGESTOR=str(ports["http"])
            )
            successor.ports = ports
            successor.wait_healthy()
            moog_stand_in.behave(status=400, times=4)
            wait_for_work(new.values())
    moog_stand_in.behave()
    ledger.note(list(second.acknowledged.values()), second.repeated)
    ledger.complaints += second.complaints
    with redis.Redis.from_url(redis_url) as client:
        wait_settled(client, [*new.values(), successor])
        assert faults(ledger, client, database_url, moog_stand_in.alerts()) == []
    print(f"{len(ledger.acknowledged)} events, {ledger.repeated} repetitions")  # noqa: T201


def test_a_clone_without_that_commit_says_what_is_missing(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path / "shallow")], check=True)
    with pytest.raises(AssertionError, match="git fetch --unshallow"):
        check_out(tmp_path / "older", tmp_path / "shallow")


def test_the_older_release_is_at_most_one_schema_behind(older: OlderRelease) -> None:
    """Services run on the schema before theirs and on the one after it, and no further."""
    assert older.schema_version in {SCHEMA_VERSION - 1, SCHEMA_VERSION}
