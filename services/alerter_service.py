"""The alerter: matches events against the rules, audits each one and queues the alerts that are owed."""

from services.runtime import signals

signals.hold_hangup()  # before the imports below, which take a while

# ruff: noqa: E402
import asyncio
import secrets as random_source
from asyncio import Task
from contextlib import AsyncExitStack, suppress
from functools import partial

from mutt import keys
from mutt.settings import AlerterSettings
from services import postgres_connector, redis_connector
from services.alerter.audit import AuditTrail
from services.alerter.batches import Batches
from services.alerter.caches import Caches
from services.alerter.pending import PendingAudit
from services.alerter.upkeep import keep_partitions
from services.dynamic_config import TOPICS, DynamicConfig
from services.logging_utils import get_logger
from services.protocol.janitor import Janitor
from services.protocol.lane import alerter_lane
from services.protocol.worker import Worker
from services.runtime.ages import AgeSampler
from services.runtime.app import Process, run
from services.runtime.depths import DepthSampler
from services.runtime.ending import end
from services.runtime.figures import Figures
from services.runtime.instruments import AlerterInstruments
from services.runtime.loop import attempt, background, persist, repeat
from services.runtime.ops_server import serve_ops

PENDING_IDLE_SECONDS = 1.0

AlerterProcess = Process[AlerterSettings, AlerterInstruments]

log = get_logger(__name__)


async def main(process: AlerterProcess) -> None:
    """Run until SIGTERM: claim, judge, audit, settle; SIGHUP reloads the caches."""
    settings, instruments, health = process.settings, process.instruments, process.health
    names = settings.names
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(postgres_connector.open_pool(settings.db, process.secrets))
        health.watch(
            "postgres", partial(postgres_connector.is_connected, pool), partial(postgres_connector.problem, pool)
        )
        health.measure_depth(lambda: process.redis.llen(names.ingest_queue))
        ports = ((settings.metrics_port, "METRICS_PORT_ALERTER"), (settings.health_port, "HEALTH_PORT_ALERTER"))
        await stack.enter_async_context(serve_ops(health, instruments.registry, settings.bind_host, ports))

        config = DynamicConfig(
            process.redis,
            enabled=settings.dynamic_config_enabled,
            fallbacks={"cache_reload_interval": settings.cache_reload_interval},
        )
        instruments.config_refused.set_function(lambda: len(config.problems))
        caches = Caches(pool, instruments, health, match_short=settings.host_match_short)
        for topic in (*TOPICS, "cache_reload_interval"):
            config.on_change(topic, caches.want_reload)
        blocking = redis_connector.connect(
            settings.redis, process.secrets, blocking_seconds=settings.brpoplpush_timeout, beside=process.redis
        )
        stack.push_async_callback(redis_connector.close, blocking)
        worker = Worker(alerter_lane(settings), settings.pod_name or _random_name(), blocking, health, instruments)
        side = worker.side()
        audit = AuditTrail(process, pool)
        batches = Batches(process, worker, caches, audit, config)
        janitor = Janitor(worker.lane, process.redis, instruments)
        sampler = DepthSampler(
            process.redis,
            instruments,
            {
                instruments.queue_depth: lambda: (names.alert_queue, keys.RETRY_MOOG),
                instruments.dlq_depth: lambda: (names.alerter_dlq,),
                instruments.audit_pending: lambda: (keys.AUDIT_PENDING,),
                instruments.processing_depth: lambda: (worker.processing,),
            },
        )

        figures = Figures(
            process.redis,
            "alerter",
            lambda: worker.lease.pod,
            done=instruments.events,
            latency=instruments.latency,
            host=settings.bind_host,
            port=settings.health_port,
        )

        await process.wait_for_redis()
        if not await persist(process, "start", worker.start):
            return
        start = await stack.enter_async_context(background())
        start("heartbeat", worker.beat_for_ever())
        start("wake", worker.wake_at(process.stopping))
        start("config", config.keep_fresh())
        start("announcements", config.listen())
        start("depths", sampler.run())
        start("ages", _ages(process).run())
        start("figures", figures.run())
        start("partitions", keep_partitions(pool, instruments))
        start("hangup", _reload_on_hangup(process, caches))
        start("caches", _keep_caches(caches, config))
        start("janitor", repeat(process, "janitor", janitor.sweep_once, idle=worker.lane.interval))
        start("probe", repeat(process, "probe", audit.probe, idle=0))
        pending = PendingAudit(side, pool, audit, instruments.audited, process.settings.names.alert_queue)
        start("pending", repeat(process, "pending", pending.drain_once, idle=PENDING_IDLE_SECONDS))
        auditing = start("audit", batches.audit_until_closed())
        settling = start("settle", batches.settle_until_closed())
        recover = partial(janitor.reconnected, worker)
        claiming = start("claim", repeat(process, "claim", batches.claim_once, idle=0, recover=recover, vital=True))
        log.info("ready", pod=worker.lease.pod)

        await process.stopping.wait()
        log.info("stopping: settling what is in flight", grace_seconds=settings.shutdown_grace)
        await _settle(batches, claiming, auditing, settling, settings.shutdown_grace)
        await attempt(worker.finish(), figures.leave())


async def _settle(
    batches: Batches, claiming: Task[None], auditing: Task[None], settling: Task[None], grace: float
) -> None:
    """Let what is claimed be settled, and end the tasks after the grace period: what is left is handed back."""
    with suppress(TimeoutError):
        async with asyncio.timeout(grace):
            # A claimed batch may wait for its place, and that for PostgreSQL.
            await asyncio.wait({claiming})
            await batches.close()
            await asyncio.wait({settling})
    await end(claiming, auditing, settling)


def _ages(process: AlerterProcess) -> AgeSampler:
    names = process.settings.names
    # The queue that it feeds, too: who empties that one may be what is not there to tell.
    queues = {"alert": names.alert_queue, "dlq_alerter": names.alerter_dlq, "audit_pending": keys.AUDIT_PENDING}
    return AgeSampler(process.redis, process.instruments, queues)


async def _reload_on_hangup(process: AlerterProcess, caches: Caches) -> None:
    while True:
        await process.reload.wait()
        process.reload.clear()
        log.info("SIGHUP: reloading rules, hosts and teams")
        caches.want_reload()


async def _keep_caches(caches: Caches, config: DynamicConfig) -> None:
    while True:
        await caches.keep_fresh(config.integer("cache_reload_interval"))


def _random_name() -> str:
    return f"alerter-{random_source.token_hex(4)}"


if __name__ == "__main__":
    run("alerter", AlerterSettings, AlerterInstruments, main)
