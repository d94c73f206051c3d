"""The remediation service: brings dead letters back when there is room, and gives up on what fails again and again."""

from services.runtime import signals

signals.hold_hangup()

# ruff: noqa: E402  (a SIGHUP during the imports below would end the process)
import asyncio
import secrets as random_source

from mutt import keys
from mutt.settings import RemediationSettings
from services.remediation.lease import Lease
from services.remediation.scan import Scanner
from services.runtime.ages import AgeSampler
from services.runtime.app import Process, run
from services.runtime.depths import DepthSampler, measure
from services.runtime.instruments import RemediationInstruments
from services.runtime.loop import attempt, background, repeat
from services.runtime.ops_server import serve_ops


async def main(process: Process[RemediationSettings, RemediationInstruments]) -> None:
    """Hold or await the lease, and scan while it is held."""
    settings, redis, health = process.settings, process.redis, process.health
    dead = [settings.names.alerter_dlq, settings.names.moog_dlq]

    async def depth() -> int:
        return sum((await measure(redis, dead)).values())

    health.measure_depth(depth)
    ports = [
        (settings.metrics_port, "METRICS_PORT_REMEDIATION"),
        (settings.health_port, "HEALTH_PORT_REMEDIATION"),
    ]
    pod = settings.pod_name or f"remediation-{random_source.token_hex(4)}"
    lease = Lease(redis, pod, settings.lease_seconds, health)
    sampler = DepthSampler(redis, process.instruments, {process.instruments.poison_depth: lambda: (keys.POISON,)})
    ages = AgeSampler(redis, process.instruments, {"poison": keys.POISON})
    async with serve_ops(health, process.instruments.registry, settings.bind_host, ports):
        await process.wait_for_redis()
        try:
            async with background() as start:
                start("depths", sampler.run())
                start("ages", ages.run())
                await work(process, lease, Scanner(redis, settings, lease, process.instruments))
        finally:
            await attempt(lease.release())


async def work(process: Process[RemediationSettings, RemediationInstruments], lease: Lease, scanner: Scanner) -> None:
    """Keep the lease and scan, each at its own pace, until the process stops."""

    async def keep() -> bool:
        await lease.keep()
        return False

    async def scan() -> bool:
        if await lease.keep():
            await scanner.scan(process.stopping)
        return False

    settings = process.settings
    async with background() as start:
        keeping = start("lease", repeat(process, "lease", keep, idle=settings.lease_seconds / 3, vital=True))
        scanning = start("scan", repeat(process, "scan", scan, idle=settings.scan_interval))
        await asyncio.wait({keeping, scanning})


if __name__ == "__main__":
    run("remediation", RemediationSettings, RemediationInstruments, main)
