"""Known bugs, put into a process for the proof that the crash points find them (MUTT_CRASH_BUG)."""

import asyncio
from typing import Any

from mutt.forwarding import Move, Resolution
from scripts.archiving.archiver import Archiver
from services.alerter.audit import AuditTrail
from services.audit_logger import Written
from services.ingestor.commit import GroupCommit
from services.moog_forwarder import sender
from services.moog_forwarder.ends import leaving
from services.moog_forwarder.settler import Ended
from services.web_ui import dead_moves

LATER = 2.0  # seconds
_tasks: set["asyncio.Task[Any]"] = set()


def audit_after_settle() -> None:
    """Settle a batch before its rows are committed."""
    write = AuditTrail.write

    async def later(self: AuditTrail, rows: Any, *, whole: bool) -> None:
        await asyncio.sleep(LATER)
        await write(self, rows, whole=whole)

    async def at_once(self: AuditTrail, rows: Any, *, whole: bool = False) -> Written:
        _tasks.add(asyncio.create_task(later(self, rows, whole=whole)))
        return Written([], {})

    AuditTrail.write = at_once  # type: ignore[method-assign]


def reply_before_push() -> None:
    """Acknowledge events before Redis has them."""
    submit = GroupCommit.submit

    class Answered:
        def __init__(self, submission: Any) -> None:
            # Now: one that is answered holds nothing any more.
            self.peer, self.single, self.size = submission.peer, submission.single, submission.size
            self.entries, self.quarantine = submission.entries, submission.quarantine

        def taken(self, depth: int) -> None:
            """Do nothing: it is answered."""

        refused = taken

    async def later(self: GroupCommit, answered: list[Any]) -> None:
        await asyncio.sleep(LATER)
        submit(self, *answered)

    def at_once(self: GroupCommit, *submissions: Any) -> None:
        answered = [Answered(submission) for submission in submissions]
        for submission in submissions:
            submission.taken(1)
        _tasks.add(asyncio.create_task(later(self, answered)))

    GroupCommit.submit = at_once  # type: ignore[method-assign]


def settle_before_send() -> None:
    """Settle an alert before Moogsoft has it."""
    start = sender.Sender._start

    def settled(self: sender.Sender, group: Any) -> None:
        done = [leaving(item, Resolution(Move.DONE, item.entry), sent=True) for item in group]
        self._settler.put(Ended(done))
        asyncio.get_running_loop().call_later(LATER, start, self, group)

    sender.Sender._start = settled  # type: ignore[method-assign]


def note_before_drop() -> None:
    """Call a month archived before its table is dropped."""
    dropped = Archiver._dropped

    def noted(self: Archiver, part: Any, *, is_needed: bool = True) -> Any:
        self.moved(part, "archived")
        return dropped(self, part, is_needed=is_needed)

    Archiver._dropped = noted  # type: ignore[method-assign]


def move_without_record() -> None:
    """Move dead letters without a record in the same step."""
    take = dead_moves._take

    async def bare(client: Any, names: list[str], args: list[Any]) -> Any:
        at = len(names)
        kept = args[: at - 1]
        while at < len(args):
            entry, pushes = args[at], int(args[at + 1])
            kept += [entry, pushes - 1, *args[at + 4 : at + 2 + 2 * pushes]]
            at += 2 + 2 * pushes
        return await take(client, names[:-1], kept)

    dead_moves._take = bare  # type: ignore[assignment]


def unregistered_step() -> None:
    """Change something in a place that no one has registered."""
    write = AuditTrail.write

    async def marked(self: AuditTrail, rows: Any, *, whole: bool = False) -> Any:
        await self._process.redis.hset("mutt:new", "key", "value")
        return await write(self, rows, whole=whole)

    AuditTrail.write = marked  # type: ignore[method-assign]
