"""The Moog forwarder: delivers alerts to Moogsoft, at a bounded rate, each until Moogsoft has it or judges it."""

from services.runtime import signals

signals.hold_hangup()  # before the imports below, which take a while

# ruff: noqa: E402
import asyncio
import secrets as random_source
from contextlib import AsyncExitStack, suppress
from functools import partial

from mutt import keys
from mutt.settings import MoogForwarderSettings
from services import postgres_connector, redis_connector
from services.dynamic_config import DynamicConfig
from services.logging_utils import get_logger
from services.moog_forwarder.breaker import Breaker
from services.moog_forwarder.deliveries import DeliveryLog
from services.moog_forwarder.flight import Flight
from services.moog_forwarder.intake import Intake
from services.moog_forwarder.sender import Sender
from services.moog_forwarder.settler import Desk, ForwarderProcess, Settler
from services.moog_forwarder.slo import SloCounter
from services.moog_forwarder.webhook import Webhook
from services.protocol.circuit import Circuit
from services.protocol.janitor import Janitor
from services.protocol.lane import moog_lane
from services.protocol.worker import Worker
from services.rate_limiter import RateLimiter
from services.runtime.ages import AgeSampler
from services.runtime.app import run
from services.runtime.depths import DepthSampler, measure
from services.runtime.ending import end
from services.runtime.figures import Figures
from services.runtime.instruments import MoogForwarderInstruments
from services.runtime.loop import Start, attempt, background, persist, repeat
from services.runtime.ops_server import serve_ops

PROBE_MARGIN = 5.0  # seconds that a probe's lease outlives the webhook's timeout
SLO_SECONDS = 1.0

log = get_logger(__name__)


async def main(process: ForwarderProcess) -> None:
    """Run until SIGTERM: claim, send, settle; each alert's way is a matter of its own."""
    settings, instruments, health = process.settings, process.instruments, process.health
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(postgres_connector.open_pool(settings.db, process.secrets))
        health.watch(
            "postgres", partial(postgres_connector.is_connected, pool), partial(postgres_connector.problem, pool)
        )
        health.measure_depth(lambda: _depth(process))
        ports = ((settings.metrics_port, "METRICS_PORT_MOOG"), (settings.health_port, "HEALTH_PORT_MOOG"))
        await stack.enter_async_context(serve_ops(health, instruments.registry, settings.bind_host, ports))
        blocking = redis_connector.connect(
            settings.redis, process.secrets, blocking_seconds=settings.brpoplpush_timeout, beside=process.redis
        )
        stack.push_async_callback(redis_connector.close, blocking)
        pod = settings.pod_name or f"moog-forwarder-{random_source.token_hex(4)}"
        worker = Worker(moog_lane(settings), pod, blocking, health, instruments)
        deliveries = DeliveryLog(pool, instruments)
        stack.push_async_callback(deliveries.close)
        webhook = await stack.enter_async_context(Webhook(settings, process.secrets))
        if webhook.authorization() is None:
            log.warning("MOOG_API_KEY is not set: alerts are sent without authorization")

        await process.wait_for_redis()
        if not await persist(process, "start", worker.start):
            return
        start = await stack.enter_async_context(background())
        start("heartbeat", worker.beat_for_ever())
        start("deliveries", deliveries.run())
        await _forward(process, worker, webhook, deliveries, start)


async def _forward(
    process: ForwarderProcess, worker: Worker, webhook: Webhook, deliveries: DeliveryLog, start: Start
) -> None:
    settings, redis = process.settings, process.redis
    config = DynamicConfig(
        redis, enabled=settings.dynamic_config_enabled, fallbacks={"moog_rate_limit": settings.rate_limit}
    )
    process.instruments.config_refused.set_function(lambda: len(config.problems))
    holder = worker.lease.token
    lease = settings.webhook_timeout + PROBE_MARGIN
    circuit = Circuit(redis, settings.circuit, settings.names, token=holder, lease=lease)
    breaker = Breaker(circuit, redis, process.health, process.instruments)
    flight = Flight(settings.profile)
    settler = Settler(process, worker, flight, breaker)
    desk = Desk(process, config, flight, breaker, settler)
    slo = SloCounter(redis)
    limiter = RateLimiter(redis, settings.names.rate_limit, holder)
    sender = Sender(desk, webhook=webhook, limiter=limiter, deliveries=deliveries, slo=slo)
    janitor = Janitor(worker.lane, redis, process.instruments)
    figures = _figures(process, worker)

    start("config", config.keep_fresh())
    start("announcements", config.listen())
    start("depths", _sampler(process, worker).run())
    queues = {"retry": keys.RETRY_MOOG, "dlq_moog": settings.names.moog_dlq}
    start("ages", AgeSampler(redis, process.instruments, queues).run())
    start("figures", figures.run())
    start("circuit", breaker.watch())
    start("slo", repeat(process, "slo", slo.flush, idle=SLO_SECONDS))
    start("janitor", repeat(process, "janitor", janitor.sweep_once, idle=worker.lane.interval))
    settling = start("settle", settler.run())
    start("send", repeat(process, "send", sender.dispatch_once, idle=0))
    claim = Intake(desk, worker).claim_once
    claiming = start(
        "claim", repeat(process, "claim", claim, idle=0, recover=partial(janitor.reconnected, worker), vital=True)
    )
    log.info("ready", pod=worker.lease.pod, mode=settings.batch_mode, profile=settings.profile)

    await process.stopping.wait()
    log.info("stopping: waiting for requests under way", grace_seconds=settings.shutdown_grace)
    await end(claiming)
    with suppress(TimeoutError):
        async with asyncio.timeout(settings.shutdown_grace):
            await sender.finish()
            settler.close()
            await asyncio.wait({settling})
    await end(settling)
    await attempt(slo.flush(), worker.finish(), figures.leave())


def _sampler(process: ForwarderProcess, worker: Worker) -> DepthSampler:
    names, instruments = process.settings.names, process.instruments
    return DepthSampler(
        process.redis,
        instruments,
        {
            instruments.dlq_depth: lambda: (names.moog_dlq,),
            instruments.retry_depth: lambda: (keys.RETRY_MOOG,),
            instruments.processing_depth: lambda: (worker.processing,),
        },
    )


def _figures(process: ForwarderProcess, worker: Worker) -> Figures:
    settings, instruments = process.settings, process.instruments
    return Figures(
        process.redis,
        "moog-forwarder",
        lambda: worker.lease.pod,
        done=instruments.alerts.labels("success"),
        latency=instruments.latency,
        host=settings.bind_host,
        port=settings.health_port,
    )


async def _depth(process: ForwarderProcess) -> int:
    return sum((await measure(process.redis, [process.settings.names.alert_queue, keys.RETRY_MOOG])).values())


if __name__ == "__main__":
    run("moog-forwarder", MoogForwarderSettings, MoogForwarderInstruments, main)
