"""Handing back what a worker claimed and will not settle: at its end, at a take-over, or when it is dead."""

from redis.asyncio import Redis

from services.protocol.lane import Lane
from services.protocol.script import beside

RECOVERY_COUNT_SECONDS = 86_400
RECOVER_MOST = 1000

_recover = beside(__file__, "recover")


async def recover_all(redis: Redis, lane: Lane, pod: str, heartbeat: str, *, orderly: bool = False) -> int:
    """Hand back every list of `pod` while its heartbeat holds `heartbeat` ('' = is absent); returns the entries moved.

    Recoveries are counted unless the end was `orderly`, or the list is not one of events.
    """
    moved = 0
    for prefix, home, counts in lane.lists():
        names = [lane.heartbeat(pod), f"{prefix}:{pod}", home, lane.recoveries]
        counted = "1" if counts and not orderly else "0"
        while True:
            part = await _recover(redis, names, [heartbeat, RECOVER_MOST, counted, RECOVERY_COUNT_SECONDS])
            moved += max(part, 0)
            if part < RECOVER_MOST:
                break
    return moved
