"""The arguments of scripts/archive_old_events.py."""

import argparse
from collections.abc import Callable
from datetime import date, datetime

from mutt.ids import is_uuid
from mutt.paging import end_of, start_of
from mutt.rules import Handling
from scripts.connections import DATABASE_HELP

ACTIVE_DAYS = 90
ARCHIVE_YEARS = 7
LEAST_DAYS = 31  # the ingestor takes events that are up to 30 days old
RESTORE_DAYS = 14


def make_parser(description: str) -> argparse.ArgumentParser:
    """Return the parser of the command's arguments."""
    parser = argparse.ArgumentParser(
        prog="archive_old_events.py", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--database-url", help=DATABASE_HELP)
    does = parser.add_mutually_exclusive_group()
    does.add_argument("--restore", type=_month, metavar="YYYY-MM", help="make a month a partition again, for --days")
    does.add_argument("--search", action="store_true", help="look for archived events; no database is needed")
    does.add_argument("--list", action="store_true", help="list the parts that were archived")
    does.add_argument("--expire", action="store_true", help=f"only remove what ended {ARCHIVE_YEARS} years ago")
    does.add_argument("--adopt", action="store_true", help="enter the parts that lie there and are not in `archives`")
    parser.add_argument(
        "--older-than",
        type=_number(LEAST_DAYS, 36_500),
        default=ACTIVE_DAYS,
        metavar="DAYS",
        help="archive months that ended this long ago (default: %(default)s)",
    )
    parser.add_argument("--dry-run", action="store_true", help="only tell what would be archived, or expire")
    parser.add_argument(
        "--days",
        type=_number(1, 3650),
        default=RESTORE_DAYS,
        help="how long a restored month stays (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="end with a summary as a JSON object on stdout")
    parser.add_argument("--format", choices=("table", "json", "csv"), default="table", help="of --list and --search")
    asked = parser.add_argument_group("conditions of --search")
    asked.add_argument("--start", type=_moment(start_of), metavar="TIME", help="from this time or day on")
    asked.add_argument("--end", type=_moment(end_of), metavar="TIME", help="before this time, or to the end of a day")
    asked.add_argument("--hostname", type=_text)
    asked.add_argument("--q", type=_text, metavar="TEXT", help="text in the message, in any case")
    asked.add_argument("--rule-id", type=_number(1, 2**31 - 1))
    asked.add_argument("--handling", type=_handling)
    asked.add_argument("--correlation-id", type=_uuid)
    asked.add_argument("--event-id", type=_uuid)
    asked.add_argument("--limit", type=_number(1, 100_000), default=100, help="newest rows (default: %(default)s)")
    return parser


def _number(least: int, most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is no number from {least} to {most}")
        return int(text)

    return number


def _month(text: str) -> date:
    try:
        return date.fromisoformat(f"{text}-01")
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no month; write it like 2026-03") from None


def _moment(parse: Callable[[str], datetime]) -> Callable[[str], datetime]:
    def moment(text: str) -> datetime:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} {error}") from None

    return moment


def _text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(f"{text!r} is not UTF-8") from None
    return text


def _handling(text: str) -> str:
    known = {str(handling).lower(): str(handling) for handling in Handling}
    if text.lower() not in known:
        raise argparse.ArgumentTypeError(f"{text!r} is no handling; there are {', '.join(known.values())}")
    return known[text.lower()]


def _uuid(text: str) -> str:
    if not is_uuid(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no UUID")
    return text.lower()
