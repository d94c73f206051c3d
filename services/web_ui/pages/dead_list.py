"""/dead-letters: what MUTT gave up on, by what it died of, and one letter with its editor."""

import difflib
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

import msgspec
import psycopg
from fastapi import APIRouter, Request
from psycopg_pool import PoolTimeout
from starlette.responses import Response

from mutt.circuit import State
from mutt.dead_groups import Filter, Group, explained, is_refusal
from mutt.dead_letters import Kind, Letter, Queue, editable
from mutt.envelope import split_entry
from mutt.errors import EntryError
from mutt.events import decode_decided
from mutt.fields import parse_timestamp
from mutt.moogsoft import body_of
from services.protocol import circuit
from services.web_ui.context import Context
from services.web_ui.dead_causes import cause_of
from services.web_ui.dead_letters import Found
from services.web_ui.dead_requests import of
from services.web_ui.pages.frame import PageViewer, parts_of, render

LISTED = 50
# The order of the tabs: what waits for a person stands first.
TABS = {
    Queue.POISON: ("Poison", "Remediation tried each and gave up: these wait for you."),
    Queue.MOOG: ("Forwarder", "Alerts that Moogsoft refused or never took. Remediation tries each again."),
    Queue.ALERTER: ("Alerter", "Events that could not be handled, or were shed. Remediation tries each again."),
    Queue.QUARANTINE: ("Quarantine", "What senders sent in batches and the ingestor did not take."),
}
EMPTY = {
    Queue.POISON: "Alerts that remediation has tried in vain would gather here, with what Moogsoft said.",
    Queue.MOOG: "Alerts that Moogsoft refuses would gather here, with its answer.",
    Queue.ALERTER: "Events that no alerter could handle would gather here, with the reason.",
    Queue.QUARANTINE: "Records of a batch that lack a field or cannot be read would gather here, as they were sent.",
}

router = APIRouter(include_in_schema=False)


class View(NamedTuple):
    """What the address asks for."""

    queue: Queue
    filter: Filter
    start: int
    letter: str
    digest: str
    near: int = 0

    def address(self, **changes: Any) -> str:
        """Return the address of this view with some of it changed."""
        asked = {
            "queue": str(self.queue),
            "error": self.filter.error,
            "hostname": self.filter.hostname,
            "q": self.filter.q,
            "start": self.start,
            "letter": self.letter,
            "sha256": self.digest,
            "at": self.near,
        }
        return "/dead-letters?" + urlencode({name: value for name, value in (asked | changes).items() if value})


@router.get("/dead-letters")
async def dead_letters_page(request: Request, _user: PageViewer) -> Response:
    """Show one list: its groups, its letters, and the one that is open."""
    parts = parts_of(request)
    await parts.need_redis()
    depths = {queue: await of(parts, queue).depth() for queue in TABS}
    view = view_of(request.query_params, depths)
    return await show(request, view, depths)


async def show(
    request: Request,
    view: View,
    depths: Mapping[Queue, int] | None = None,
    *,
    payload: str | None = None,
    details: Mapping[str, str] | None = None,
    status: int = 200,
) -> Response:
    """Return the page; `payload` is what was typed into the editor, `details` what is wrong with it."""
    parts = parts_of(request)
    letters = of(parts, view.queue)
    depths = depths or {queue: await of(parts, queue).depth() for queue in TABS}
    survey = await letters.survey(Filter(hostname=view.filter.hostname, q=view.filter.q))
    listing = await letters.listing(view.filter, view.start, LISTED)
    group = next((each for each in survey.groups if each.fold.key == view.filter.error), None)
    found = await letters.find(view.letter, view.digest or None, view.near) if view.letter else None
    cause, is_cause_unknown = await _cause(parts, group or (survey.groups[0] if len(survey.groups) == 1 else None))
    chosen = [group] if group else survey.groups
    context = {
        "tabs": [(queue, words, depths[queue]) for queue, (words, _) in TABS.items()],
        "about": TABS[view.queue][1],
        "nothing": EMPTY[view.queue],
        "view": view,
        "survey": survey,
        "listing": listing,
        "group": group,
        "matching": sum(each.count for each in chosen),
        "hosts": sum((each.hosts for each in chosen), Counter[str]()).most_common(5),
        "cause": cause,
        "is_cause_unknown": is_cause_unknown,
        "circuit": await _circuit(parts),
        "found": found,
        "gone": bool(view.letter) and found is None,
        "entry": entry_of(parts, found, payload, details) if found else None,
        "moment": parse_timestamp,
        "explained": explained,
        "bars": bars_of,
        "can_edit_all": view.queue in (Queue.MOOG, Queue.POISON),
    }
    return await render(request, "dead-letters.html", context, status)


def view_of(asked: Mapping[str, str], depths: Mapping[Queue, int]) -> View:
    """Read the address; without a list it is the first that holds something."""
    name = asked.get("queue", "")
    queue = (
        Queue(name)
        if name in {str(each) for each in Queue}
        else next((each for each in TABS if depths.get(each)), Queue.POISON)
    )
    wanted = Filter(asked.get("error", "")[:64], asked.get("hostname", "").strip()[:255], asked.get("q", "")[:500])
    letter, digest = asked.get("letter", "")[:64], asked.get("sha256", "")[:64]
    return View(queue, wanted, number_of(asked, "start"), letter, digest, number_of(asked, "at"))


def number_of(asked: Mapping[str, str], name: str) -> int:
    """Return a whole number of the address or the form, 0 where there is none."""
    text = asked.get(name, "")[:8]
    return int(text) if text.isdecimal() else 0


def entry_of(
    parts: Context, found: Found, payload: str | None = None, details: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return what the page shows of one letter."""
    letter = found.letter
    original = editable(letter)
    typed = original if payload is None else payload.replace("\r\n", "\n")
    rows = diff(original, typed) if typed != original else []
    return {
        "letter": letter,
        "payload": typed,
        "diff": rows,
        "differs": sum(mark == "+" for mark, _ in rows) or sum(mark == "-" for mark, _ in rows),
        "details": details or {},
        "died": parse_timestamp(letter.died_at),
        "first": parse_timestamp(letter.mutt.first_failed_at) if letter.mutt.first_failed_at else None,
        "mutt": _mutt(letter),
        "sent": _as_sent(letter, parts.settings.judging.moog_profile),
        "is_refusal": is_refusal(letter),
        "can_replay": letter.kind is not Kind.UNREADABLE,
    }


def diff(old: str, new: str) -> list[tuple[str, str]]:
    """Return the changed lines, with two around each."""
    lines = list(difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=2))[3:]
    return [(line[0], line[1:]) if line[0] in "+- " else (" ", "…") for line in lines]


def bars_of(group: Group) -> list[tuple[int, float]]:
    """Return a group's little chart as (x, height of 14)."""
    counts = group.bars()
    most = max(counts) or 1
    return [(place * 6, max(1.0, round(14 * count / most, 1)) if count else 0.5) for place, count in enumerate(counts)]


def _as_sent(letter: Letter, profile: str) -> str:
    """Return what Moogsoft would get, indented; empty for what never goes there."""
    if letter.kind is not Kind.ALERT:
        return ""
    try:
        body = body_of([decode_decided(letter.entry)], profile, batch=False)
    except EntryError:
        return ""
    return msgspec.json.format(body, indent=2).decode("utf-8", "replace")


def _mutt(letter: Letter) -> str:
    try:
        return msgspec.json.format(split_entry(letter.entry)[0], indent=2).decode("utf-8", "replace")
    except (EntryError, msgspec.DecodeError):
        return "none: it is no entry of MUTT's"


async def _cause(parts: Context, group: Group | None) -> tuple[Any, bool]:
    """Return the change that may be the cause, and whether there may be one that PostgreSQL does not tell now."""
    if group is None:
        return None, False
    try:
        async with parts.database() as queries:
            return await cause_of(queries, group, match_short=parts.settings.judging.host_match_short), False
    except (PoolTimeout, psycopg.OperationalError, psycopg.InterfaceError):
        return None, True


async def _circuit(parts: Context) -> tuple[str, str]:
    """Return the circuit's icon and what its state means."""
    state = (await circuit.read(parts.redis)).state
    meaning = {
        State.CLOSED: ("closed", "Circuit CLOSED: alerts flow"),
        State.OPEN: ("open", "Circuit OPEN: nothing is sent to Moogsoft; a replayed alert waits"),
        State.HALF_OPEN: ("half", "Circuit HALF_OPEN: one alert is tried"),
    }
    return meaning[state]
