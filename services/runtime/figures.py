"""Tells Redis every few seconds what this instance did, read off its Prometheus metrics: events pay nothing for it."""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec
from prometheus_client import Counter, Histogram
from redis.asyncio import Redis
from redis.exceptions import RedisError

from mutt import keys
from mutt.figures import EVERY, KEPT_SECONDS, Snapshot, Window, between
from services.runtime.own_certificate import OwnCertificate

ANY = frozenset({"0.0.0.0", "::", ""})  # noqa: S104  (addresses that say nothing of where an instance is)


class Figures:
    """Reports under `service` and the instance's name, which may change while it runs."""

    def __init__(
        self,
        redis: Redis,
        service: str,
        name: Callable[[], str],
        *,
        done: Counter,
        latency: Histogram,
        host: str,
        port: int,
        tls: OwnCertificate | None = None,
    ) -> None:
        self._redis = redis
        self._service = service
        self._name = name
        self._done = done
        self._latency = latency
        self._host = "" if host in ANY else host
        self._port = port
        self._tls = tls
        bounds, first = self._look()
        self._window = Window(bounds, first)

    async def run(self) -> None:
        """Report until cancelled; what Redis does not take is not kept, the next report says it all."""
        while True:
            await asyncio.sleep(EVERY)
            self._window.add(self._look()[1])
            with suppress(RedisError, OSError):
                await self._tell()

    async def leave(self) -> None:
        """Take the report back: this instance ends in order; raises RedisError."""
        await self._redis.delete(keys.figures(self._service, self._name()))

    async def _tell(self) -> None:
        if not self._host:
            # The address that Redis sees is one that others reach this instance at, in a cluster too.
            self._host = str((await self._redis.client_info())["addr"]).rpartition(":")[0]
        host = f"[{self._host}]" if ":" in self._host and not self._host.startswith("[") else self._host
        address = f"http://{host}:{self._port}/health"
        if self._tls is not None:
            # Nobody names instances by their addresses: whoever asks goes by the certificate itself.
            address = f"https{address.removeprefix('http')}#{self._tls.fingerprint}"
        report = self._window.report(address)
        await self._redis.set(keys.figures(self._service, self._name()), msgspec.json.encode(report), ex=KEPT_SECONDS)

    def _look(self) -> tuple[Sequence[float], Snapshot]:
        done = sum(
            sample.value
            for metric in self._done.collect()
            for sample in metric.samples
            if sample.name.endswith("_total")
        )
        counts = [
            (float(sample.labels["le"]), int(sample.value))
            for metric in self._latency.collect()
            for sample in metric.samples
            if sample.name.endswith("_bucket")
        ]
        bounds = [bound for bound, _ in counts if not math.isinf(bound)]
        cumulative = [count for bound, count in counts if not math.isinf(bound)]
        return bounds, Snapshot(time.monotonic(), int(done), between(cumulative, counts[-1][1]))
