"""Looks for the dashboard: in the background, bounded, and one for all who watch; nobody waits long for one."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime

import psycopg
from psycopg_pool import PoolTimeout
from redis.exceptions import AuthenticationError, BusyLoadingError, RedisError, ResponseError

from mutt.verdict import Trouble, judge
from services import postgres_connector
from services.logging_utils import get_logger
from services.web_ui import board_queries, board_redis, testimony, unmatched_patterns
from services.web_ui.board import PATIENCE, Board
from services.web_ui.context import Context
from services.web_ui.service_levels import ServiceLevels

LOOK_SECONDS = 30.0  # between two looks at all but Redis
AGAIN = 4.0  # seconds to the next look after one that failed
GRACE = 0.5  # seconds that a page waits for looks under way
OLD = 15.0  # seconds by which a look may be overdue before the dashboard waits for it longer
UNREADABLE = (ResponseError, BusyLoadingError, AuthenticationError)  # an answer, though not the one asked for

log = get_logger(__name__)


class Watcher:
    """Looks when somebody asks, and not more often than every few seconds."""

    def __init__(self, parts: Context, levels: ServiceLevels) -> None:
        self._parts = parts
        self._levels = levels
        self._board = Board(rate_period=parts.settings.beating.rate_period)
        self._looks: dict[str, tuple[float, Callable[[], Awaitable[bool]]]] = {
            "redis": (4.0, self._look_at_redis),
            "database": (LOOK_SECONDS, self._look_at_database),
            "loudest": (LOOK_SECONDS, self._look_at_the_loudest),
            "levels": (LOOK_SECONDS, self._look_at_levels),
            "near": (LOOK_SECONDS, self._look_at_patterns),
        }
        self._due: dict[str, float] = {}
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._in_trouble: str | None = None

    async def board(self, *, patient: bool = False) -> Board:
        """Return the board, after a moment for looks under way; `patient`, or at first, after a look if it is old.

        Never raises because something is away, and never waits longer than a look may take.
        """
        now = time.monotonic()
        waits = any(now > self._due.get(name, 0) + OLD for name in self._looks) if patient else not self._has_looked
        for name in self._looks:
            if name not in self._under_way and now >= self._due.get(name, 0):
                self._under_way[name] = asyncio.create_task(self._look(name))
        if self._under_way:
            await asyncio.wait(self._under_way.values(), timeout=PATIENCE + GRACE if waits else GRACE)
        return self._board

    @property
    def _has_looked(self) -> bool:
        return self._due.keys() == self._looks.keys()

    async def _look(self, name: str) -> None:
        seconds, look = self._looks[name]
        went_well = False
        try:
            went_well = await look()
        finally:
            self._due[name] = time.monotonic() + (seconds if went_well else min(seconds, AGAIN))
            del self._under_way[name]
        self._board = replace(self._board, secrets_problem=self._parts.keyring.problem)
        self._remember_trouble()

    async def _look_at_redis(self) -> bool:
        try:
            async with asyncio.timeout(PATIENCE):
                seen = await board_redis.look(self._parts)
        except Exception as error:  # noqa: BLE001  (whatever is odd in Redis, no page may fail or show old figures as new)
            is_silent = isinstance(error, (RedisError, OSError)) and not isinstance(error, UNREADABLE)
            refuses = "" if is_silent else str(error)[:200] or type(error).__name__
            if refuses:
                log.warning(
                    "what Redis holds cannot be read for the dashboard", error=f"{type(error).__name__}: {error}"
                )
            silent = self._board.redis_silent or datetime.now(UTC)
            # Said at once, so that no page shows old figures as new while services are asked.
            self._board = replace(self._board, redis_silent=silent, redis_refuses=refuses)
            said = await testimony.ask(self._board.redis) if self._board.redis else ()
            self._board = replace(self._board, said=said)
            return False
        self._board = replace(self._board, redis=seen, redis_silent=None, redis_refuses="", said=())
        return True

    async def _look_at_database(self) -> bool:
        try:
            found = await board_queries.look(self._parts, PATIENCE)
        except (PoolTimeout, psycopg.Error) as error:
            log.warning("the dashboard's questions were not answered by PostgreSQL", error=str(error).strip())
            since = self._board.postgres_silent or self._board.postgres_busy or datetime.now(UTC)
            # Without a connection of this console's own, one more tells whose fault that is.
            is_busy = isinstance(error, PoolTimeout) and await postgres_connector.answers_anew(self._parts.pool)
            silent, busy = (None, since) if is_busy else (since, None)
            self._board = replace(self._board, postgres_silent=silent, postgres_busy=busy)
            return False
        self._board = replace(self._board, database=found, postgres_silent=None, postgres_busy=None)
        return True

    async def _look_at_the_loudest(self) -> bool:
        try:
            found = await board_queries.loudest(self._parts, PATIENCE)
        except (PoolTimeout, psycopg.Error) as error:
            log.info("the loudest rules and hosts were not counted in time", error=str(error).strip())
            self._board = replace(self._board, loudest_missed=True)
            return False
        self._board = replace(self._board, loudest=found, loudest_missed=False)
        return True

    async def _look_at_levels(self) -> bool:
        try:
            hours, levels = await self._levels.read(datetime.now(UTC))
        except (RedisError, OSError, ValueError):
            self._board = replace(self._board, levels=())
            return False
        self._board = replace(self._board, levels=tuple(levels), window_hours=hours)
        return True

    async def _look_at_patterns(self) -> bool:
        try:
            async with asyncio.timeout(PATIENCE):
                found, _ = await unmatched_patterns.listed(self._parts)
        except (RedisError, OSError, ValueError):
            self._board = replace(self._board, near=None)
            return False
        self._board = replace(self._board, near=sum(each.state == "near" for each in found))
        return True

    def _remember_trouble(self) -> None:
        """Keep what the last trouble was, once all is well again."""
        now = datetime.now(UTC)
        verdict = judge(self._board.facts(), now, UTC)
        if verdict.kind in ("warn", "critical"):
            self._in_trouble = verdict.title
        elif verdict.kind == "ok" and self._in_trouble is not None:
            self._board = replace(self._board, trouble=Trouble(self._in_trouble, now))
            self._in_trouble = None
