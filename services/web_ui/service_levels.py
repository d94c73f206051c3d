"""Service levels read from Prometheus where it answers, else from MUTT's own hourly counters."""

import asyncio
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as SilentError

from mutt import keys, slo
from mutt.dynamic_keys import ALL
from mutt.tls_faults import Server, explain
from services.logging_utils import get_logger
from services.runtime.trust import authorities
from services.web_ui.board_redis import whole
from services.web_ui.context import WAIT, Context
from services.web_ui.stored_config import StoredConfig

PROMETHEUS_SECONDS = 1.5
ROUNDING = 0.01  # by which a share extrapolated from samples may miss 0 or 1
SILENT_SECONDS = 30.0  # for which a Prometheus that did not answer is not asked again
WINDOW = "slo_window_hours"
CA_VARIABLE = "PROMETHEUS_CA_CERT_PATH"
OUTCOMES = ("ok", "fail", "sender")

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Level:
    """One component's service level; `hours` are its own counters, oldest first, None while Redis is away."""

    component: slo.Component
    target: float
    standing: slo.Standing
    source: str
    hours: list[slo.Hour] | None

    @property
    def without_sender(self) -> float | None:
        """Return the availability without what senders got wrong, from the counters."""
        return slo.availability(self.hours, without_sender=True) if self.hours else None

    @property
    def is_spent_by_senders(self) -> bool:
        """Tell whether the level would hold without what senders got wrong."""
        state = slo.judge(self.without_sender, self.target).state
        return bool(self.hours) and state in {slo.State.OK, slo.State.NO_DATA}

    @property
    def latest(self) -> slo.Standing:
        """Return how the hour under way stands by itself."""
        return slo.judge(slo.availability(self.hours[-1:]) if self.hours else None, self.target)

    def document(self, hours: int) -> dict[str, Any]:
        """Return what the API says."""
        return {
            "target": self.target,
            "availability": self.standing.availability,
            "error_budget_remaining": self.standing.remaining,
            "burn_rate": self.standing.burn,
            "state": self.standing.state.value,
            "window_hours": hours,
            "source": self.source,
            "availability_without_sender_errors": self.without_sender,
        }


class ServiceLevels:
    """Reads the levels; remembers for a moment that Prometheus is silent."""

    def __init__(self, parts: Context) -> None:
        self._parts = parts
        self._silent_until = 0.0
        settings = parts.settings
        https = settings.prometheus_url.startswith("https:")
        self._trust = authorities(settings.prometheus_ca_cert_path, CA_VARIABLE) if https else None

    async def read(self, now: datetime) -> tuple[int, list[Level]]:
        """Return the window in hours and the level of each component; raises RedisError where nobody answers."""
        values, failed = await self._values()
        hours = int(values[WINDOW])
        shares = await asyncio.gather(*(self._ask(slo.promql(each, hours)) for each in slo.COMPONENTS))
        counted: dict[str, list[slo.Hour]] = {}
        if failed is None:
            try:
                async with asyncio.timeout(WAIT):
                    counted = await self._count(now, hours)
            except (RedisError, OSError) as error:
                failed = error
        if failed is not None and not all(known for known, _ in shares):
            raise failed if isinstance(failed, RedisError) else SilentError("Redis did not answer in time") from failed
        return hours, [
            self._level(component, float(values[component.target_key]), share, counted.get(component.name))
            for component, share in zip(slo.COMPONENTS, shares, strict=True)
        ]

    def _level(
        self, component: slo.Component, target: float, share: tuple[bool, float | None], hours: list[slo.Hour] | None
    ) -> Level:
        known, value = share
        if not known:
            value = slo.availability(hours or [])
        return Level(component, target, slo.judge(value, target), "prometheus" if known else "counters", hours)

    async def _values(self) -> tuple[Mapping[str, Any], Exception | None]:
        """Return window and targets, and why these are only the defaults, if they are."""
        wanted = [ALL[WINDOW], *(ALL[each.target_key] for each in slo.COMPONENTS)]
        try:
            async with asyncio.timeout(WAIT):
                shown = await StoredConfig(self._parts).show(*wanted)
        except (RedisError, OSError) as error:
            return {key.name: key.default for key in wanted}, error
        return {each["key"]: each["effective"] for each in shown}, None

    async def _count(self, now: datetime, hours: int) -> dict[str, list[slo.Hour]]:
        current = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        moments = [current - timedelta(hours=back) for back in reversed(range(hours))]
        wanted = [
            keys.slo(component.name, outcome, at)
            for component in slo.COMPONENTS
            for at in moments
            for outcome in OUTCOMES
        ]
        found: list[Any] = await self._parts.redis.mget(wanted)
        numbers = [whole(key, value) for key, value in zip(wanted, found, strict=True)]
        rows = [slo.Hour(*numbers[start : start + 3]) for start in range(0, len(numbers), 3)]
        return {each.name: rows[index * hours : (index + 1) * hours] for index, each in enumerate(slo.COMPONENTS)}

    async def _ask(self, query: str) -> tuple[bool, float | None]:
        """Return whether Prometheus knows, and its answer: None where it saw no requests."""
        if time.monotonic() < self._silent_until:
            return False, None
        try:
            timeout = aiohttp.ClientTimeout(total=PROMETHEUS_SECONDS)
            address = self._parts.settings.prometheus_url.rstrip("/") + "/api/v1/query"
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(address, params={"query": query}, allow_redirects=False, ssl=self._trust or True) as reply,
            ):
                reply.raise_for_status()
                return _value(await reply.json())
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, TypeError, LookupError) as error:
            if self._silent_until == 0.0:
                known = Server("Prometheus", self._parts.settings.prometheus_url, "PROMETHEUS_URL", CA_VARIABLE)
                why = explain(str(error), known) or str(error)
                log.info("Prometheus does not answer: service levels come from counters", error=why)
            self._silent_until = time.monotonic() + SILENT_SECONDS
            return False, None


def _value(answer: Any) -> tuple[bool, float | None]:
    """Return the one value of an answer; without a series Prometheus does not know MUTT at all.

    What is no share, such as the infinity of a division by nothing, is no answer: it must not pass for 100 %.
    """
    series = answer["data"]["result"]
    if not series:
        return False, None
    value = float(series[0]["value"][1])
    if math.isnan(value):
        return True, None
    if not -ROUNDING <= value <= 1 + ROUNDING:
        raise ValueError(f"{value} is no share of 1")
    return True, min(max(value, 0.0), 1.0)
