"""What a search's range of time reaches of the months that are archived, in words."""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from mutt.months import month_number


@dataclass(frozen=True, slots=True)
class ArchivedMonth:
    """A month that left the database; `restored_until` when it is back in it, `expired` when it is nowhere."""

    month: date
    restored_until: datetime | None = None
    expired: bool = False


@dataclass(frozen=True, slots=True)
class Reach:
    """What to tell: spans of months, the restored ones with their end, and the commands."""

    archived: str
    expired: str
    restored: list[tuple[str, datetime]]
    search: str
    restore: str


def reach(months: Sequence[ArchivedMonth], conditions: dict[str, str]) -> Reach | None:
    """Return what to tell of the months of a search's range; None when there is nothing.

    `conditions` are the options of the archive's own search that ask for the same.
    """
    if not months:
        return None
    archived = [each.month for each in months if not each.expired and each.restored_until is None]
    # With "=", since a value that begins with a dash would be an option of its own.
    options = "".join(
        f" --{name}{'=' if value[:1] == '-' else ' '}{shlex.quote(value)}" for name, value in conditions.items()
    )
    return Reach(
        spans(archived),
        spans(each.month for each in months if each.expired),
        [(f"{each.month:%Y-%m}", each.restored_until) for each in months if each.restored_until],
        f"python scripts/archive_old_events.py --search{options}",
        f"python scripts/archive_old_events.py --restore {archived[-1]:%Y-%m}" if archived else "",
    )


def spans(months: Iterable[date]) -> str:
    """Return months in words, those in a row as a span: 2026-01 to 2026-04, 2026-06."""
    runs: list[list[date]] = []
    for month in sorted(months):
        if runs and month_number(month) == month_number(runs[-1][-1]) + 1:
            runs[-1].append(month)
        else:
            runs.append([month])
    return ", ".join(f"{run[0]:%Y-%m}" + (f" to {run[-1]:%Y-%m}" if len(run) > 1 else "") for run in runs)
