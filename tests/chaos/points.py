"""The register of steps: every effect of MUTT's beyond its own process, by name, in the path that it belongs to.

Between two effects a process may die at any instruction and nothing differs outside; so these are all the places where
a crash can matter. crashing.py looks here at run time, crash_scan.py compares this with the source.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from tests.chaos.points_far import archive_steps, console_steps
from tests.chaos.points_step import Step

TREE = f"{Path(__file__).resolve().parent.parent.parent}/"
BEFORE, SENT, AFTER = "before", "sent", "after"
UNREGISTERED = 97  # exit status of a process that came to an effect which is not registered


def _worker(service: str, claim: str, settle: str, paths: dict[str, tuple[str, ...]]) -> list[Step]:
    """Return what both kinds of workers do alike."""
    worker, recovery = "services.protocol.worker", "services.protocol.recovery:recover_all"

    def step(name: str, effect: str, site: str, *via: str) -> Step:
        return Step(f"{service}.{name}", effect, site, paths[name], (service, *via))

    return [
        step("start.take", "lua take", f"{worker}:Worker._take_name", "Worker.start"),
        step("start.recover", "lua recover", recovery, "Worker.start"),
        step("beat", "lua beat", f"{worker}:Worker._beat_once"),
        step("beat.take", "lua take", f"{worker}:Worker._take_name", "Worker._beat_once"),
        step("janitor", "lua recover", recovery, "Janitor.sweep"),
        step("claim.block", "BLMOVE", f"{worker}:Claims.claim", claim),
        step("claim", "lua claim", f"{worker}:Claims._take", claim),
        step("settle", "lua settle", f"{worker}:Claims.settle", settle),
        step("stop.recover", "lua recover", recovery, "Worker.finish"),
        step("stop.release", "lua release", f"{worker}:Worker.finish"),
    ]


def _rows(name: str, via: str, path: str) -> list[Step]:
    """Return what writes audit rows, straight or once they had waited."""
    logger = "services.audit_logger"
    return [
        Step(f"{name}.copy", "COPY event_audit_log", f"{logger}:_copy", (path,), (via,)),
        Step(f"{name}.copy-apart", "INSERT event_audit_log", f"{logger}:_write.<locals>.copy_apart", (path,), (via,)),
        Step(f"{name}.commit", "COMMIT", f"{logger}:_commit", (path,), (via,)),
        *_partition(name, path, via),
    ]


def _partition(name: str, path: str, *via: str) -> list[Step]:
    """Return what makes a month's partitions."""
    site = "services.partitions:create_partitions"
    return [
        Step(f"{name}.partition", "SELECT create_monthly_partition", site, (path,), (*via, "create_partitions")),
        Step(f"{name}.partition.commit", "COMMIT", site, (path,), (*via, "create_partitions")),
    ]


_SCANNER, _LEASE = "services.remediation.scan:Scanner", "services.remediation.lease:Lease"

STEPS: tuple[Step, ...] = (
    Step("ingestor.push", "lua push", "services.ingestor.commit:GroupCommit._push", ("ingest",)),
    Step("ingestor.count", "pipeline", "services.ingestor.outcomes:Outcomes.flush", ("ingest",)),
    Step("ingestor.beat", "SET", "services.ingestor.watch:Watch._beat", ("ingest",)),
    Step("ingestor.leave", "DEL", "services.ingestor.watch:Watch.leave", ("ingest",)),
    *_worker(
        "alerter",
        "Batches.claim_once",
        "Batches._settle",
        {
            "start.take": ("recover",),
            "start.recover": ("recover",),
            "beat": ("recover",),
            "beat.take": ("recover", "displaced"),
            "janitor": ("recover",),
            "claim.block": ("audit",),
            "claim": ("audit", "retry", "shed", "away", "recover"),
            "settle": ("audit", "retry", "shed", "away", "recover"),
            "stop.recover": ("stop",),
            "stop.release": ("stop",),
        },
    ),
    Step("alerter.stop.wake", "CLIENT UNBLOCK", "services.protocol.worker:Worker.wake_at", ("stop",)),
    *_rows("alerter.audit", "AuditTrail.write", "audit"),
    Step(
        "alerter.pending.claim",
        "lua claim",
        "services.protocol.worker:Claims._take",
        ("pending",),
        ("PendingAudit.drain_once",),
    ),
    *_rows("alerter.pending", "PendingAudit.drain_once", "pending"),
    Step(
        "alerter.pending.settle",
        "lua settle",
        "services.protocol.worker:Claims.settle",
        ("pending",),
        ("PendingAudit.drain_once",),
    ),
    *_partition("alerter.upkeep", "upkeep", "keep_partitions"),
    *_worker(
        "moog-forwarder",
        "Intake._claim",
        "Settler._settle",
        {
            "start.take": ("recover-forwarder",),
            "start.recover": ("recover-forwarder",),
            "beat": ("recover-forwarder",),
            "beat.take": ("recover-forwarder",),
            "janitor": ("recover-forwarder",),
            "claim.block": ("forward",),
            "claim": ("forward", "forward-retry", "dead-letter", "circuit", "recover-forwarder"),
            "settle": ("forward", "forward-retry", "dead-letter", "circuit", "recover-forwarder"),
            "stop.recover": ("stop-forwarder",),
            "stop.release": ("stop-forwarder",),
        },
    ),
    Step(
        "moog-forwarder.claim.due", "lua claim_due", "services.protocol.retries:claim_due", ("forward-retry", "circuit")
    ),
    Step(
        "moog-forwarder.permission",
        "lua circuit_permit",
        "services.protocol.circuit:Circuit.permission",
        ("forward", "circuit"),
    ),
    Step(
        "moog-forwarder.probe.renew",
        "lua beat",
        "services.protocol.circuit:Circuit.renew_probe",
        ("circuit",),
    ),
    Step("moog-forwarder.limit", "lua rate_limit", "services.rate_limiter:RateLimiter.acquire", ("forward",)),
    Step(
        "moog-forwarder.post",
        "HTTP POST",
        "services.moog_forwarder.webhook:Webhook.post",
        ("forward", "forward-retry", "dead-letter", "circuit"),
    ),
    Step(
        "moog-forwarder.report",
        "lua circuit_report",
        "services.protocol.circuit:Circuit.report",
        ("forward", "forward-retry", "circuit"),
    ),
    Step(
        "moog-forwarder.deliveries.copy",
        "COPY delivery_log",
        "services.audit_logger:write_deliveries.<locals>.copy",
        ("forward",),
    ),
    Step(
        "moog-forwarder.deliveries.commit",
        "COMMIT",
        "services.audit_logger:_commit",
        ("forward",),
        ("DeliveryLog.flush",),
    ),
    *_partition("moog-forwarder.deliveries", "forward", "DeliveryLog.flush"),
    Step("moog-forwarder.slo", "pipeline", "services.moog_forwarder.slo:SloCounter.flush", ("forward",)),
    Step("remediation.lease.take", "lua take", f"{_LEASE}.keep", ("remediate", "stop-remediation")),
    Step("remediation.lease.keep", "lua beat", f"{_LEASE}.keep", ("remediate", "stop-remediation")),
    Step("remediation.lease.release", "lua release", f"{_LEASE}.release", ("stop-remediation",)),
    Step("remediation.move", "lua move", f"{_SCANNER}._send", ("remediate",), ("Scanner._carry_out",)),
    Step("remediation.probe", "lua move", f"{_SCANNER}._send", ("probe",), ("Scanner._help_circuit",)),
    Step(
        "remediation.idle",
        "lua circuit_close_idle",
        "services.protocol.circuit:close_if_idle",
        ("probe", "idle-circuit"),
    ),
    *console_steps(),
    *archive_steps(),
    *_partition("partitions", "partitions", "scripts.create_monthly_partitions:_make"),
    Step("migrate.file", "file of statements", "scripts.migrate:_run_file", ("migrate",)),
    Step("migrate.version", "INSERT schema_version", "scripts.migrate:_apply", ("migrate",)),
    Step("migrate.commit", "COMMIT", "scripts.migrate:_apply", ("migrate",)),
    Step("first-values.set", "SET", "scripts.init_dynamic_config:initialise", ("first-values",)),
    Step("first-values.announce", "PUBLISH", "scripts.init_dynamic_config:initialise", ("first-values",)),
    Step("service.trial", "SETRANGE", "services.redis_connector:takes_writes", ("audit",)),
    Step("service.figures", "SET", "services.runtime.figures:Figures._tell", ("recover", "recover-forwarder")),
    Step("service.figures.leave", "DEL", "services.runtime.figures:Figures.leave", ("stop", "stop-forwarder")),
)


def find(effect: str, chain: Sequence[str]) -> str | None:
    """Return the step of an effect that these functions are about to cause.

    The innermost site decides; of several steps there the one with the most conditions, and then with the innermost.
    """
    return _find(effect, tuple(chain))


@cache
def _find(effect: str, chain: tuple[str, ...]) -> str | None:
    found = [
        (chain.index(step.site), -len(step.via), depths, step.name)
        for step in STEPS
        if step.effect == effect and step.site in chain
        if -1 not in (depths := [_depth(each, chain) for each in step.via])
    ]
    return min(found)[-1] if found else None


def _depth(wanted: str, chain: tuple[str, ...]) -> int:
    found = (depth for depth, each in enumerate(chain) if each == wanted or each.endswith(f":{wanted}"))
    return next(found, -1)
