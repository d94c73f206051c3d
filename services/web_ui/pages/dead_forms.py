"""The forms of the dead letters: which letters one means, and what is to be done with them."""

from typing import NamedTuple

from mutt.dead_groups import Filter
from mutt.dead_letters import Queue
from mutt.ids import is_uuid
from services.web_ui.dead_letters import LOOKED_AT, DeadLetters, Found
from services.web_ui.dead_moves import BATCH
from services.web_ui.dead_requests import Name
from services.web_ui.pages.dead_list import View, number_of
from services.web_ui.pages.frame import Form
from services.web_ui.replies import ApiError

# Fields of an edit of several, each replaced only where something was typed.
MEMBERS = ("team", "handling")


class Asked(NamedTuple):
    """What a form of the list asks for."""

    do: str
    view: View
    names: list[Name]
    is_all: bool
    operation: str
    before: str
    start: int
    members: dict[str, str]

    @property
    def fields(self) -> list[tuple[str, str]]:
        """Return the hidden fields that ask for the same again."""
        fixed = {"queue": str(self.view.queue), **self.view.filter._asdict(), "before": self.before}
        fields = [(name, str(value)) for name, value in fixed.items() if value]
        return fields + (
            [("all", "1")] if self.is_all else [("letter", " ".join(map(str, name))) for name in self.names]
        )


class Meant(NamedTuple):
    """The letters that a form means, of long lists the newest; `number` is all of them, or with `is_least` so many."""

    letters: list[Found]
    number: int
    is_least: bool


def asked_by(sent: Form) -> Asked:
    """Read a form; raises ApiError 400 where it says no list."""
    name = sent.get("queue")
    if name not in {str(each) for each in Queue}:
        raise ApiError(400, "The form does not say which list it is about.")
    wanted = Filter(sent.get("error"), sent.get("hostname"), sent.get("q"))
    names = [named for each in sent.all("letter") if (named := _name(each)) is not None]
    operation = sent.get("operation")
    return Asked(
        sent.get("do"),
        View(Queue(name), wanted, 0, "", ""),
        names[:BATCH],
        sent.get("all") == "1",
        operation if is_uuid(operation) else "",
        sent.get("before"),
        number_of(dict(sent.fields), "start"),
        {member: sent.get(member).strip() for member in MEMBERS if sent.get(member).strip()},
    )


async def meant_by(letters: DeadLetters, asked: Asked) -> Meant:
    """Return the letters that a form means, and how many there are as far as that is known."""
    if not asked.is_all:
        found = list((await letters.find_all(asked.names)).values())
        return Meant(found, len(found), is_least=False)
    chosen = asked.view.filter
    listing = await letters.listing(chosen, 0, LOOKED_AT)
    if listing.next is None:
        return Meant(listing.letters, len(listing.letters), is_least=False)
    if not any(chosen):
        return Meant(listing.letters, listing.total, is_least=False)
    return Meant(listing.letters, len(listing.letters), is_least=True)


def _name(value: str) -> Name | None:
    """Read what a check box names: an id, a digest, and the index at which the letter was seen."""
    event_id, _, rest = value.partition(" ")
    digest, _, near = rest.partition(" ")
    return (event_id, digest, number_of({"near": near}, "near")) if digest else None
