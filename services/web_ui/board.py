"""The dashboard's figures as they were seen last, and what the verdict makes of them."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from mutt.verdict import SERVICES, Facts, Level, Trouble
from services.web_ui.board_queries import DatabaseBoard, Loudest
from services.web_ui.board_redis import RedisBoard
from services.web_ui.service_levels import Level as ServiceLevel
from services.web_ui.testimony import Testimony

PATIENCE = 2.0  # seconds of one look
FRESH = timedelta(seconds=75)  # how old figures may be that stand without their time
WORDS = {"ingestor": "Ingesting", "forwarder": "Forwarding"}


@dataclass(frozen=True, slots=True)
class Board:
    """What is known now; `redis` and `database` are the last good looks, however old."""

    redis: RedisBoard | None = None
    redis_silent: datetime | None = None
    database: DatabaseBoard | None = None
    postgres_silent: datetime | None = None
    postgres_busy: datetime | None = None  # since when this console has no connection of its own free
    loudest: Loudest | None = None
    loudest_missed: bool = False  # whether the last count of these did not end in time
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

    @property
    def is_witnessed(self) -> bool:
        """Tell whether a service says that it does not reach Redis either."""
        return any(each.reaches_redis is False for each in self.said)

    @property
    def never_any(self) -> bool:
        """Tell whether Redis answers and no event ever came."""
        return self.redis is not None and self.redis_silent is None and not self.redis.counters.ever

    def database_as_of(self, now: datetime) -> datetime | None:
        """Return when PostgreSQL was read last, where that must be said."""
        away = self.postgres_silent or self.postgres_busy
        return self.database.at if self.database and (away or now - self.database.at > FRESH) else None

    def loudest_as_of(self, now: datetime) -> datetime | None:
        """Return when the loudest were counted last, where that must be said."""
        return self.loudest.at if self.loudest and (self.loudest_missed or now - self.loudest.at > FRESH) else None

    def facts(self) -> Facts:
        """Return what the verdict is made of."""
        common = Facts(
            redis_silent=self.redis_silent,
            redis_elsewhere=self.is_cut_off,
            redis_witnessed=self.is_witnessed,
            redis_refuses=self.redis_refuses,
            postgres_silent=self.postgres_silent,
            postgres_busy=self.postgres_busy,
            secrets_problem=self.secrets_problem,
            levels=tuple(
                Level(WORDS[each.component.name], each.standing, each.is_spent_by_senders) for each in self.levels
            ),
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
