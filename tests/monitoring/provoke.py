"""Provokes each alert on running services and follows its runbook while the fault lasts.

    python -m tests.monitoring.provoke [ALERT …]

For each alert: makes the fault, waits until the alert's expression holds (its windows of minutes shortened to seconds),
runs the blocks of its page, undoes the fault and waits until the expression no longer holds. Tells what the blocks say.
"""

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import trustme
from redis import Redis

from mutt.envelope import amend
from mutt.events import iso
from scripts.devtools.embedded import PostgresServer
from tests.contract.stack import POD
from tests.harness.credentials import INGEST_API_KEY
from tests.harness.entries import queue_entry
from tests.harness.processes import ServiceProcess
from tests.harness.servers import Databases
from tests.harness.vault import fill, running_vault
from tests.harness.waiting import wait_for
from tests.monitoring.files import ALERTS, RUNBOOKS
from tests.monitoring.stage import Stage, follow, staged
from tests.service.moog_stage import Moogsoft, Reply, alert

WINDOW, PATIENCE = "20s", 120.0
ALERT_QUEUE, POISON = "mutt:alert_queue", "mutt:poison:permanent"
# What this machine cannot be brought into: the page's blocks are run all the same.
NOT_HERE = {"MuttClockOff": "the clock of the machine would have to be changed"}

Fault = Callable[[Stage], AbstractContextManager[None]]


@contextmanager
def _moogsoft_answers(stage: Stage, status: int) -> Iterator[None]:
    stage.moogsoft.answer = lambda _request: Reply(status)
    yield
    stage.moogsoft.answer = lambda _request: Reply()


@contextmanager
def _without(stage: Stage, *names: str) -> Iterator[None]:
    for name in names:
        stage.stack.services[name].kill()
    yield
    for name in names:
        stage.stack.services[name].start()


@contextmanager
def _database_away(stage: Stage) -> Iterator[None]:
    stage.stack.database_proxy.cut()
    yield
    stage.stack.database_proxy.mend()


@contextmanager
def _stored(stage: Stage, key: str, value: str) -> Iterator[None]:
    stage.stack.redis.set(key, value)
    yield
    stage.stack.redis.delete(key)


@contextmanager
def _given_up(stage: Stage) -> Iterator[None]:
    stage.stack.redis.lpush(POISON, amend(queue_entry("given up")[1], remediation_attempts=3))
    yield
    stage.stack.redis.delete(POISON)


@contextmanager
def _redis_refuses_writes(stage: Stage) -> Iterator[None]:
    stage.stack.redis.config_set("maxmemory", 1)
    yield
    stage.stack.redis.config_set("maxmemory", 0)


@contextmanager
def _worker_died(stage: Stage) -> Iterator[None]:
    alerter = stage.stack.services["alerter"]
    alerter.kill()
    stage.stack.redis.lpush(f"mutt:processing:alerter:{POD}", queue_entry("in hand")[1])
    alerter.start()
    yield


@contextmanager
def _old_alerts(stage: Stage, count: int, *, minutes: float) -> Iterator[None]:
    """Let so many alerts wait that were received so long ago, without anybody who delivers them."""
    received = iso(datetime.now(UTC) - timedelta(minutes=minutes))
    entries = [amend(alert(f"old {number}")[1], received_at=received) for number in range(count)]
    with _without(stage, "moog-forwarder"):
        stage.stack.redis.rpush(ALERT_QUEUE, *entries)
        yield


@contextmanager
def _narrow_limit(stage: Stage) -> Iterator[None]:
    received = iso(datetime.now(UTC) - timedelta(minutes=5))
    with _stored(stage, "mutt:config:moog_rate_limit", "1"):
        stage.stack.redis.publish("mutt:config:updates", "moog_rate_limit")
        stage.stack.redis.rpush(ALERT_QUEUE, *(amend(alert(f"slow {n}")[1], received_at=received) for n in range(100)))
        yield
    stage.stack.redis.publish("mutt:config:updates", "moog_rate_limit")


@contextmanager
def _dead_letters(stage: Stage) -> Iterator[None]:
    with _without(stage, "remediation"), _moogsoft_answers(stage, 422):
        yield


@contextmanager
def _no_partition(stage: Stage) -> Iterator[None]:
    """Take a partition away from an alerter that cannot make it; ten seconds later it looks again, and can."""
    last = (datetime.now(UTC) + timedelta(days=80)).strftime("%Y_%m")
    alerter = stage.stack.services["alerter"]
    with psycopg.connect(stage.stack.database_url, autocommit=True) as connection:
        connection.execute(f"DROP TABLE event_audit_log_{last}".encode())
        connection.execute("ALTER FUNCTION create_monthly_partition(date) RENAME TO create_no_partition")
        alerter.restart()
        wait_for(lambda: alerter.metric("mutt_audit_partitions_missing") == 1, "the alerter missing it")
        connection.execute("ALTER FUNCTION create_no_partition(date) RENAME TO create_monthly_partition")
    yield


@contextmanager
def _no_rules(stage: Stage) -> Iterator[None]:
    with psycopg.connect(stage.stack.database_url, autocommit=True) as connection:
        connection.execute("REVOKE SELECT ON development_hosts FROM CURRENT_USER")
        stage.stack.redis.publish("mutt:config:updates", "rules")
        yield
        connection.execute("GRANT SELECT ON development_hosts TO CURRENT_USER")


@contextmanager
def _little_memory(stage: Stage) -> Iterator[None]:
    redis: Redis = stage.stack.redis
    redis.config_set("maxmemory", int(redis.info("memory")["used_memory"] * 1.45))
    yield
    redis.config_set("maxmemory", 0)


@contextmanager
def _changed(stage: Stage, name: str, **environment: str) -> Iterator[ServiceProcess]:
    """Restart a service with other variables, and with its own again afterwards."""
    service = stage.stack.services[name]
    own = service.environment
    service.environment = own | environment
    service.restart(wait=False)
    yield service
    service.environment = own
    service.restart()


@contextmanager
def _certificate(stage: Stage, days: int) -> Iterator[None]:
    """Let Moogsoft show a certificate that ends in so many days."""
    authority, folder = trustme.CA(), Path(tempfile.mkdtemp(dir=stage.folder))
    end = datetime.now(UTC) + timedelta(days=days)
    leaf = authority.issue_cert("127.0.0.1", not_before=end - timedelta(days=90), not_after=end)
    authority.cert_pem.write_to_path(folder / "authority.pem")
    leaf.private_key_and_cert_chain_pem.write_to_path(folder / "chain.pem")
    moogsoft = Moogsoft(tls=True, chain=folder / "chain.pem")
    where = {"MOOG_WEBHOOK_URL": moogsoft.url, "MOOG_CA_CERT_PATH": str(folder / "authority.pem")}
    with _changed(stage, "moog-forwarder", **where):
        yield
    moogsoft.close()


@contextmanager
def _vault_away(stage: Stage) -> Iterator[None]:
    redis = urlsplit(stage.stack.redis_server.url)
    held = {"INGEST_API_KEY": INGEST_API_KEY, "REDIS_PASS_CURRENT": redis.password or ""}
    folder = Path(tempfile.mkdtemp(dir=stage.folder))
    with running_vault(folder / "vault") as vault:
        environment = fill(vault, folder, held) | {"SECRETS_REFRESH_INTERVAL": "1"}
        with _changed(stage, "ingestor", **environment) as ingestor:
            ingestor.wait_healthy()
            vault.kill()
            yield


@contextmanager
def _silence(stage: Stage) -> Iterator[None]:
    stage.load.pause()
    yield
    stage.load.resume()


FAULTS: dict[str, Fault] = {
    "MuttSloBurnFast": lambda stage: _moogsoft_answers(stage, 500),
    "MuttSloBurnSlow": lambda stage: _moogsoft_answers(stage, 500),
    "MuttInstanceDown": lambda stage: _without(stage, "alerter"),
    "MuttServiceAbsent": lambda stage: _without(stage, "ingestor"),
    "MuttUnhealthy": lambda stage: _moogsoft_answers(stage, 401),
    "MuttDependencyDown": _database_away,
    "MuttHeartbeatLost": _redis_refuses_writes,
    "MuttWorkerDied": _worker_died,
    "MuttRemediationStopped": lambda stage: _without(stage, "remediation"),
    "MuttQueueOld": lambda stage: _old_alerts(stage, 3, minutes=6),
    "MuttQueueDeep": lambda stage: _old_alerts(stage, 1100, minutes=0),
    "MuttEventsShed": lambda stage: _old_alerts(stage, 2100, minutes=0),
    "MuttDeadLettersGrow": _dead_letters,
    "MuttPoison": _given_up,
    "MuttQuarantineGrows": lambda _stage: nullcontext(),  # the load does it all the time
    "MuttAuditPending": _database_away,
    "MuttCircuitOpen": lambda stage: _moogsoft_answers(stage, 500),
    "MuttLimiterSaturated": _narrow_limit,
    "MuttPartitionMissing": _no_partition,
    "MuttCacheReloadFails": _no_rules,
    "MuttConfigRefused": lambda stage: _stored(stage, "mutt:config:moog_rate_limit", "lots"),
    "MuttRedisMemory": _little_memory,
    "MuttCertificateExpires": lambda stage: _certificate(stage, 10),
    "MuttCertificateExpired": lambda stage: _certificate(stage, -1),
    "MuttSecretsOld": _vault_away,
    "MuttNoEvents": _silence,
    "MuttSendersRefused": lambda _stage: nullcontext(),  # so does it this
    "MuttWatchdog": lambda _stage: nullcontext(),
}
LASTING = {"MuttSloBurnSlow", "MuttQuarantineGrows", "MuttSendersRefused", "MuttWatchdog"}


def shortened(expression: str) -> str:
    """Return an alert's expression over seconds in the place of minutes."""
    short = re.sub(r"\[\d+m\]", f"[{WINDOW}]", expression)
    return re.sub(r"process_start_time_seconds < 900", "process_start_time_seconds < 30", short)


def provoke(stage: Stage, name: str) -> str:
    """Make the fault, follow the page, undo the fault; returns what the page's blocks printed."""
    (expression,) = [shortened(one["expr"]) for one in ALERTS if one["alert"] == name]
    with FAULTS[name](stage):
        wait_for(lambda: stage.prometheus.query(expression), f"{name}: {expression}", PATIENCE)
        printed = follow(stage, RUNBOOKS / f"{name}.md")
    if name not in LASTING:
        wait_for(lambda: not stage.prometheus.query(expression), f"the end of {name}", PATIENCE)
    return printed


def say(text: str) -> None:
    """Print now."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Provoke those named, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.monitoring.provoke")
    parser.add_argument("alerts", nargs="*", metavar="ALERT", help="those of rules/alerts.yml; without any, all")
    chosen = parser.parse_args().alerts or [one["alert"] for one in ALERTS]
    folder = Path(tempfile.mkdtemp(prefix="mutt-provoke-"))
    folder.chmod(0o755)
    (folder / "stage").mkdir()
    server = PostgresServer(folder / "postgres")
    server.start()
    failed = []
    try:
        with staged(folder / "stage", Databases(server)) as stage:
            wait_for(lambda: stage.prometheus.query("mutt_healthy == 1"), "the first sample")
            for name in chosen:
                began = time.monotonic()
                try:
                    said = provoke(stage, name) if name in FAULTS else f"not provoked: {NOT_HERE[name]}"
                    say(f"== {name}: {time.monotonic() - began:.0f} s\n{said}")
                except AssertionError as error:
                    failed.append(name)
                    say(f"== {name} failed: {error}")
    finally:
        server.stop()
    say(f"{len(chosen) - len(failed)} of {len(chosen)}; failed: {', '.join(failed) or 'none'}")
    raise SystemExit(bool(failed))


if __name__ == "__main__":
    main()
