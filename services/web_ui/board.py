"""The dashboard's figures: one look every few seconds for all who watch, and the last good one while Redis is away."""

import asyncio
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import psycopg
from psycopg_pool import PoolTimeout
from redis.exceptions import RedisError, ResponseError

from mutt.verdict import Facts, Level, Trouble, judge
from services.logging_utils import get_logger
from services.web_ui import board_queries, board_redis, testimony, unmatched_patterns
from services.web_ui.board_queries import DatabaseBoard
from services.web_ui.board_redis import RedisBoard
from services.web_ui.context import Context
from services.web_ui.service_levels import Level as ServiceLevel
from services.web_ui.service_levels import ServiceLevels
from services.web_ui.testimony import Testimony

REDIS_SECONDS, DATABASE_SECONDS, LEVELS_SECONDS = 4.0, 30.0, 30.0
PATIENCE = 2.0
SERVICES = ("ingestor", "alerter", "moog-forwarder")
WORDS = {"ingestor": "Ingesting", "forwarder": "Forwarding"}

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Board:
    """What is known now; `redis` and `database` are the last good looks, however old."""

    redis: RedisBoard | None = None
    redis_silent: datetime | None = None
    database: DatabaseBoard | None = None
    postgres_silent: datetime | None = None
    levels: tuple[ServiceLevel, ...] = ()
    window_hours: int = 24
    near: int | None = None  # patterns of unmatched events that are near their threshold
    trouble: Trouble | None = None
    secrets_problem: str | None = None
    rate_period: float = 1  # seconds of the limiter's window
    redis_refuses: str = ""  # why what Redis answered could not be read
    said: tuple[Testimony, ...] = ()  # by the services themselves, asked while Redis is silent

    @property
    def is_cut_off(self) -> bool:
        """Tell whether this console alone does not reach Redis, or cannot read what it holds."""
        return bool(self.redis_refuses) or any(each.reaches_redis for each in self.said)

    def facts(self) -> Facts:
        """Return what the verdict is made of."""
        common = Facts(
            redis_silent=self.redis_silent,
            redis_elsewhere=self.is_cut_off,
            redis_refuses=self.redis_refuses,
            postgres_silent=self.postgres_silent,
            secrets_problem=self.secrets_problem,
            levels=tuple(Level(WORDS[each.component.name], each.standing) for each in self.levels),
            trouble=self.trouble,
        )
        seen = self.redis
        if seen is None or self.redis_silent is not None:
            return common
        waits = [age for queue in ("ingest", "alerts") if (age := seen.age(queue)) is not None]
        alive = {worker.service for worker in seen.workers}
        return replace(
            common,
            circuit=seen.circuit.state,
            circuit_since=seen.circuit.opened_at,
            ingest_depth=seen.depths["ingest"],
            ingest_cap=int(seen.settings["max_ingest_queue_size"]),
            alert_depth=seen.depths["alerts"],
            retries=seen.depths["retries"],
            warn=int(seen.settings["alerter_queue_warn_threshold"]),
            shed=int(seen.settings["alerter_queue_shed_threshold"]),
            shed_mode=str(seen.settings["alerter_shed_mode"]),
            dead=seen.dead,
            dead_since=min(
                (then for name in ("dlq_alerter", "dlq_moog", "poison") if (then := seen.oldest[name])), default=None
            ),
            dead_error=seen.dead_error,
            pending=seen.depths["audit_pending"],
            rate=seen.counters.rate,
            oldest=max(waits, default=None),
            ever=seen.counters.ever,
            workers=seen.workers,
            missing=tuple(service for service in SERVICES if service not in alive),
        )


class Watcher:
    """Looks when somebody asks, and not more often than every few seconds."""

    def __init__(self, parts: Context, levels: ServiceLevels) -> None:
        self._parts = parts
        self._levels = levels
        self._lock = asyncio.Lock()
        self._board = Board(rate_period=parts.settings.beating.rate_period)
        self._looked = {"redis": 0.0, "database": 0.0, "levels": 0.0, "near": 0.0}
        self._in_trouble: str | None = None

    async def board(self) -> Board:
        """Return the board, looked at again where it is too old; never raises because something is away."""
        async with self._lock:
            looks = [
                look()
                for name, seconds, look in (
                    ("redis", REDIS_SECONDS, self._look_at_redis),
                    ("database", DATABASE_SECONDS if not self._board.postgres_silent else 4.0, self._look_at_database),
                    ("levels", LEVELS_SECONDS, self._look_at_levels),
                    ("near", LEVELS_SECONDS, self._look_at_patterns),
                )
                if self._is_due(name, seconds)
            ]
            if looks:
                await asyncio.gather(*looks)
                self._board = replace(self._board, secrets_problem=self._parts.keyring.problem)
                self._remember_trouble()
            return self._board

    def _is_due(self, name: str, seconds: float) -> bool:
        now = time.monotonic()
        if self._looked[name] and now - self._looked[name] < seconds:
            return False
        self._looked[name] = now
        return True

    async def _look_at_redis(self) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                seen = await board_redis.look(self._parts)
        except Exception as error:  # noqa: BLE001  (whatever is odd in Redis, no page may fail or show old figures as new)
            silent = self._board.redis_silent or datetime.now(UTC)
            said = await testimony.ask(self._board.redis) if self._board.redis else ()
            is_silent = isinstance(error, (RedisError, OSError)) and not isinstance(error, ResponseError)
            refuses = "" if is_silent else str(error)[:200] or type(error).__name__
            if refuses:
                log.warning(
                    "what Redis holds cannot be read for the dashboard", error=f"{type(error).__name__}: {error}"
                )
            self._board = replace(self._board, redis_silent=silent, redis_refuses=refuses, said=said)
        else:
            self._board = replace(self._board, redis=seen, redis_silent=None, redis_refuses="", said=())

    async def _look_at_database(self) -> None:
        try:
            found = await board_queries.look(self._parts)
        except (PoolTimeout, psycopg.OperationalError, psycopg.InterfaceError, psycopg.ProgrammingError) as error:
            log.warning("the dashboard's questions were not answered by PostgreSQL", error=str(error).strip())
            silent = self._board.postgres_silent or datetime.now(UTC)
            self._board = replace(self._board, postgres_silent=silent)
        else:
            self._board = replace(self._board, database=found, postgres_silent=None)

    async def _look_at_levels(self) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                hours, levels = await self._levels.read(datetime.now(UTC))
        except (RedisError, OSError, TimeoutError):
            self._board = replace(self._board, levels=())
            self._looked["levels"] = 0.0
        else:
            self._board = replace(self._board, levels=tuple(levels), window_hours=hours)

    async def _look_at_patterns(self) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                found, _ = await unmatched_patterns.listed(self._parts)
        except (RedisError, OSError, TimeoutError):
            self._board = replace(self._board, near=None)
        else:
            self._board = replace(self._board, near=sum(each.state == "near" for each in found))

    def _remember_trouble(self) -> None:
        """Keep what the last trouble was, once it is over."""
        now = datetime.now(UTC)
        verdict = judge(self._board.facts(), now, UTC)
        if verdict.kind in ("warn", "critical"):
            self._in_trouble = verdict.title
        elif self._in_trouble is not None:
            self._board = replace(self._board, trouble=Trouble(self._in_trouble, now))
            self._in_trouble = None
