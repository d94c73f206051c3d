"""Dead letters replayed, edited and deleted: each with its record, each only while it lies as it was seen."""

import os
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
import psycopg
from redis.exceptions import RedisError, ResponseError

from mutt import keys
from mutt.dead_edits import edited, taken
from mutt.dead_letters import Home, Kind, Letter, Return, editable, replayed, with_members
from mutt.dynamic_keys import ALL
from mutt.errors import EntryError, RuleError
from mutt.fallbacks import fallback
from mutt.intake import Intake, Limits
from services.dynamic_config import DynamicConfig
from services.logging_utils import get_logger
from services.protocol.script import Argument, beside
from services.web_ui import unrecorded
from services.web_ui.context import Context
from services.web_ui.dead_letters import DeadLetters, Found
from services.web_ui.queries import Change
from services.web_ui.replies import RETRY_AFTER, ApiError
from services.web_ui.unrecorded import Record

REPLAY, EDIT, DELETE = "REPLAY", "EDIT", "DELETE"
BATCH = 100  # letters moved by one request
TAKEN, GONE, FULL = 0, 1, 2
# Behind a queue that sheds or is at its cap nothing more is put.
CAPS = {Home.INGEST: "max_ingest_queue_size", Home.ALERT: "alerter_queue_shed_threshold"}
UNKNOWN = (
    "Redis did not answer in time, and whether the letters moved is not known: look at the list before you repeat it."
    " If they moved, the record of it follows."
)

_take = beside(__file__, "take")

log = get_logger(__name__)

Decide = Callable[[Letter], Return | None]


class Outcome(NamedTuple):
    """What became of one letter: moved, gone, refused or full, in words too; `event_id` is its id from now on."""

    found: Found
    status: str
    message: str
    event_id: str | None = None
    details: Mapping[str, str] | None = None


class _Move(NamedTuple):
    found: Found
    back: Return | None


class DeadMoves:
    """Moves letters of one list. Every move is recorded with its payload in config_audit_log."""

    def __init__(self, parts: Context, letters: DeadLetters) -> None:
        self._parts = parts
        self._letters = letters
        settings = parts.settings.intake
        limits = Limits(event_bytes=settings.max_event_bytes, depth=settings.max_json_depth)
        self.intake = Intake(settings.required_message_fields, limits, os.urandom)
        names = parts.settings.names
        self._homes = {Home.INGEST: names.ingest_queue, Home.ALERT: names.alert_queue, Home.AUDIT: keys.AUDIT_PENDING}

    async def replay(self, found: Sequence[Found], change: Change) -> list[Outcome]:
        """Send letters behind the queue that they came from."""
        now = datetime.now(UTC)

        def decide(letter: Letter) -> Return:
            return taken(letter, self.intake, now) if letter.kind is Kind.RECORD else replayed(letter)

        return await self._carry_out(REPLAY, found, decide, change)

    async def edit(self, found: Found, payload: str, change: Change) -> Outcome:
        """Send a letter behind its queue with another payload and a new id."""
        now = datetime.now(UTC)
        outcomes = await self._carry_out(
            EDIT, [found], lambda letter: edited(letter, payload, self.intake, now, os.urandom), change
        )
        return outcomes[0]

    async def edit_all(self, found: Sequence[Found], members: dict[str, Any], change: Change) -> list[Outcome]:
        """Do so with several, each with the same members replaced."""
        now = datetime.now(UTC)

        def decide(letter: Letter) -> Return:
            return edited(letter, with_members(editable(letter), members), self.intake, now, os.urandom)

        return await self._carry_out(EDIT, found, decide, change)

    async def delete(self, found: Sequence[Found], change: Change) -> list[Outcome]:
        """Remove letters for good; their payloads stay in the record."""
        return await self._carry_out(DELETE, found, lambda _letter: None, change)

    async def _carry_out(self, operation: str, found: Sequence[Found], decide: Decide, change: Change) -> list[Outcome]:
        moves: list[_Move] = []
        outcomes: list[Outcome] = []
        seen: set[bytes] = set()
        for each in found:
            if each.letter.entry in seen:
                continue
            seen.add(each.letter.entry)
            try:
                moves.append(_Move(each, decide(each.letter)))
            except (EntryError, RuleError) as error:
                details = error.details if isinstance(error, RuleError) else None
                outcomes.append(Outcome(each, "refused", str(error), details=details))
        # Letters that are gone take nobody else with them: the rest is tried again without them.
        while moves:
            status, numbers = await self._move(operation, moves, change)
            if status == TAKEN:
                words = {REPLAY: "replayed", EDIT: "edited and replayed", DELETE: "deleted"}[operation]
                outcomes += [Outcome(move.found, "moved", words, move.back and move.back.event_id) for move in moves]
                break
            if status == FULL:
                full = "the queue behind it is full: let it drain, then replay the rest"
                outcomes += [Outcome(move.found, "full", full) for move in moves]
                break
            gone = [moves[number - 1] for number in numbers]
            outcomes += [Outcome(move.found, "gone", "it does not lie here any more as it was seen") for move in gone]
            moves = [move for move in moves if move not in gone]
        return outcomes

    async def _move(self, operation: str, moves: list[_Move], change: Change) -> tuple[int, list[int]]:
        """Move and record; returns the script's status and its numbers.

        The script that moves the letters puts their records into Redis in the same step; they are written in the
        transaction around it and taken away from there after its commit. Whatever fails in between, and wherever the
        process dies: what moved has its record, at the latest when those that are left are written.
        """
        records = [self._record(operation, move, change) for move in moves]
        entries = [msgspec.json.encode(record) for record in records]
        status, numbers = GONE, [0]
        try:
            async with self._parts.database() as queries:
                await queries.connection.execute(unrecorded.SHARED)
                for record in records:
                    await record.write(queries)
                try:
                    status, *numbers = await self._run(moves, entries)
                except ResponseError:
                    raise  # refused before its first write
                except (RedisError, OSError) as error:
                    log.warning("whether dead letters moved is not known", operation=operation, error=str(error))
                    raise ApiError(503, UNKNOWN, headers=RETRY_AFTER) from error
                if status != TAKEN:
                    raise psycopg.Rollback  # nothing moved, so nothing is recorded
        except psycopg.Error as error:
            if status != TAKEN:
                raise
            log.warning("dead letters moved, their records wait in Redis for PostgreSQL", error=str(error).strip())
            return status, numbers
        if status == TAKEN:
            await unrecorded.forget(self._parts.redis, entries)
        return status, numbers

    def _record(self, operation: str, move: _Move, change: Change) -> Record:
        letter, back = move.found.letter, move.back
        old = {"queue": str(self._letters.queue), "sha256": letter.digest, **payload_of(letter.entry)}
        new = back and {"queue": str(back.home), "event_id": back.event_id, **payload_of(back.payload)}
        return Record(operation, letter.mutt.event_id, change.by, change.reason, change.correlation_id, old, new)

    async def _run(self, moves: list[_Move], records: list[bytes]) -> list[int]:
        """Run the script; an edited alert is also audited, since its new id has no row yet."""
        homes = list(self._homes)
        unrecorded_home = len(homes) + 1
        caps = await self._caps()
        # From the end that is nearer, by where the first was seen.
        end = 1 if moves[0].found.place < await self._letters.depth() / 2 else -1
        args: list[Argument] = [end, *(caps[home] for home in homes), 0]
        for move, record in zip(moves, records, strict=True):
            back = move.back
            pushes = [] if back is None else [back.home]
            if back is not None and back.home is Home.ALERT and back.event_id != move.found.letter.mutt.event_id:
                pushes.append(Home.AUDIT)
            args += (move.found.letter.entry, len(pushes) + 1, unrecorded_home, record)
            for home in pushes:
                args += (homes.index(home) + 1, back.payload if back else b"")
        names = [self._letters.key, *(self._homes[home] for home in homes), keys.UNRECORDED]
        reply: list[int] = await _take(self._parts.redis, names, args)
        return reply

    async def _caps(self) -> dict[Home, int]:
        """Return how long each queue may be for letters to go behind it; 0 means any length."""
        config = DynamicConfig(
            self._parts.redis,
            enabled=self._parts.settings.dynamic_config_enabled,
            fallbacks={name: fallback(ALL[name], self._parts.environ)[0] for name in CAPS.values()},
        )
        await config.refresh()
        return {home: config.integer(CAPS[home]) if home in CAPS else 0 for home in Home}


def payload_of(entry: bytes) -> dict[str, str]:
    """Return bytes as JSON can hold them: text where they are some, without what PostgreSQL refuses."""
    try:
        text = entry.decode()
    except UnicodeDecodeError:
        text = "\0"
    return {"entry_base64": b64encode(entry).decode()} if "\0" in text else {"entry": text}
