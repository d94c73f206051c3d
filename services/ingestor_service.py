"""The ingestor: takes events over HTTP and replies once Redis has them."""

from services.runtime import signals

signals.hold_hangup()  # before the imports below, which take a while

# ruff: noqa: E402
from functools import partial

from mutt import keys as redis_keys
from mutt.settings import IngestorSettings
from services import redis_connector
from services.dynamic_config import DynamicConfig
from services.ingestor.app import make_app
from services.ingestor.auth import CURRENT, KeyRing
from services.ingestor.commit import GroupCommit
from services.ingestor.door import Clock, Door
from services.ingestor.outcomes import Outcomes
from services.ingestor.peers import Peers
from services.ingestor.protocol import IngestProtocol, sweep
from services.ingestor.room import Room
from services.ingestor.watch import Watch
from services.logging_utils import get_logger
from services.runtime.ages import AgeSampler
from services.runtime.app import Process, run
from services.runtime.depths import DepthSampler
from services.runtime.figures import Figures
from services.runtime.http_server import serve
from services.runtime.instruments import IngestorInstruments
from services.runtime.loop import attempt, background
from services.runtime.secrets import required

CAP = "max_ingest_queue_size"

log = get_logger(__name__)


async def main(process: Process[IngestorSettings, IngestorInstruments]) -> None:
    """Serve until SIGTERM, then answer what is in flight; SIGHUP has secrets and certificate read again."""
    settings, instruments, health = process.settings, process.instruments, process.health
    required(process.secrets, CURRENT)
    queue = settings.names.ingest_queue
    health.measure_depth(lambda: process.redis.llen(queue))
    config = DynamicConfig(
        process.redis, enabled=settings.dynamic_config_enabled, fallbacks={CAP: settings.max_ingest_queue_size}
    )
    clock, keys, outcomes = Clock(), KeyRing(process.secrets), Outcomes(instruments)
    # A connection beside the pool: no other use of Redis may keep a push waiting.
    pushing = redis_connector.connect(settings.redis, process.secrets, beside=process.redis)
    cap = partial(config.integer, CAP)
    peers = Peers(instruments.over_share.inc)
    room = Room(peers, cap, settings.max_memory_percent)
    watch = Watch(process, clock, outcomes)
    commit = GroupCommit(process, pushing, outcomes, room, clock.now, demand=watch.demand)
    door = Door(process, keys, clock, commit, outcomes, room=room)
    sampler = DepthSampler(process.redis, instruments, {instruments.queue_depth: lambda: (queue,)})
    ages = AgeSampler(process.redis, instruments, {"ingest": queue, "quarantine": redis_keys.QUARANTINE})
    instruments.config_refused.set_function(lambda: len(config.problems))
    figures = Figures(
        process.redis,
        "ingestor",
        lambda: watch.name,
        done=instruments.requests.labels("success", ""),
        latency=instruments.latency,
        host=settings.bind_host,
        port=settings.port,
        tls=process.tls,
    )
    server = serve(
        make_app(health, instruments.registry, cap),
        settings.bind_host,
        settings.port,
        "SERVER_PORT_INGESTOR",
        tls=process.tls,
        http=partial(IngestProtocol, door),
        ws="none",
        timeout_graceful_shutdown=max(1, round(settings.shutdown_grace)),
    )
    async with background() as start:
        async with server as http:
            start("sweep", sweep(lambda: http.server_state.connections))
            start("watch", watch.run())
            start("peers", peers.run())
            start("depths", sampler.run())
            start("ages", ages.run())
            # Senders get 503 until Redis has answered once and is known to throw nothing away.
            health.problems["start"] = "Redis has not answered since the start"
            await process.wait_for_redis()
            if not process.stopping.is_set():
                commit.is_open = True
                health.problems.pop("start")
                start("config", config.keep_fresh())
                start("announcements", config.listen())
                start("figures", figures.run())
                log.info("ready", port=settings.port, queue=queue)
            await process.stopping.wait()
            log.info("stopping: answering what is in flight", grace_seconds=settings.shutdown_grace)
        await commit.close()
        await redis_connector.close(pushing)
        outcomes.tell()
        peers.tell()
        await attempt(outcomes.flush(process.redis), watch.leave(), figures.leave())


if __name__ == "__main__":
    run("ingestor", IngestorSettings, IngestorInstruments, main)
