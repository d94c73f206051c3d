"""Make the monthly partitions of the audit and the delivery log ahead of time; the alerter does so by itself.

Safe to run at any time and any number of times, from cron or by hand.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime

from psycopg import AsyncConnection, Error

from mutt.errors import MuttError
from mutt.months import DAYS_BACK, MONTHS_AHEAD
from scripts.connections import DATABASE_HELP, database_url
from services.partitions import create_partitions, ensure_partitions
from services.schema import check_schema

MOST = 3650  # days or months; more is a slip of the finger


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 is success, 1 a database that could not be reached or refused."""
    parser = argparse.ArgumentParser(prog="create_monthly_partitions.py", description=__doc__)
    parser.add_argument("--database-url", help=DATABASE_HELP)
    parser.add_argument(
        "--months-ahead", type=_count, default=MONTHS_AHEAD, help="months after this one (default: %(default)s)"
    )
    parser.add_argument("--days-back", type=_count, default=DAYS_BACK, help="days before today (default: %(default)s)")
    parser.add_argument(
        "--month", type=_month, action="append", metavar="YYYY-MM", help="make this month alone; may be repeated"
    )
    options = parser.parse_args(arguments)
    try:
        made = asyncio.run(_make(database_url(options.database_url, os.environ), options))
    except (MuttError, Error) as error:
        print(f"create_monthly_partitions.py: {str(error).strip()}", file=sys.stderr)
        return 1
    print(*(made or ["nothing to do: every partition is there"]), sep="\n")
    return 0


async def _make(url: str, options: argparse.Namespace) -> list[str]:
    async with await AsyncConnection.connect(url, application_name="mutt-partitions", autocommit=True) as connection:
        await check_schema(connection)
        if options.month:
            return [f"there is {name}" for name in await create_partitions(connection, options.month)]
        today = datetime.now(UTC).date()
        made = await ensure_partitions(
            connection, today, days_back=options.days_back, months_ahead=options.months_ahead
        )
        return [f"made {name}" for name in made]


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) > MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 to {MOST}")
    return int(text)


def _month(text: str) -> date:
    try:
        return date.fromisoformat(text if len(text) > len("YYYY-MM") else f"{text}-01")
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no month; write it like 2026-11") from None


if __name__ == "__main__":
    sys.exit(main())
