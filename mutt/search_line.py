"""The search line over the events: hosts, ids, `rule:118`, `handling:page`, and plain text."""

import re
from dataclasses import dataclass
from datetime import timedelta

from mutt.ids import is_uuid
from mutt.rules import Handling

RULE_MOST = 2**31 - 1
TEXT_MOST = 255
_WORD = re.compile(r'(?:[^\s"]|"[^"]*")+')
# What only a host or an address looks like: letters or digits with a digit, and a dot or a dash, or an IPv6 address.
_HOST = re.compile(r"(?=.*\d)(?=.*[-.:])[a-z0-9](?:[a-z0-9_.:-]{0,253}[a-z0-9])?\.?", re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?\d+(?:[.:]\d+)*%?")
_ADDRESS = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")
HANDLINGS = {
    "page": Handling.PAGE_AND_TICKET,
    "paged": Handling.PAGE_AND_TICKET,
    "ticket": Handling.TICKET_ONLY,
    "email": Handling.EMAIL_ONLY,
    "mail": Handling.EMAIL_ONLY,
    "log": Handling.LOG_ONLY,
    "logged": Handling.LOG_ONLY,
    "suppressed": Handling.SUPPRESS,
    "none": Handling.UNHANDLED,
} | {str(handling).lower(): handling for handling in Handling}
# The ranges of time that the page offers, by their word in its address.
RANGES = {
    "15m": ("15 min", timedelta(minutes=15)),
    "1h": ("hour", timedelta(hours=1)),
    "6h": ("6 h", timedelta(hours=6)),
    "24h": ("24 h", timedelta(hours=24)),
    "7d": ("7 days", timedelta(days=7)),
    "30d": ("30 days", timedelta(days=30)),
}


@dataclass(frozen=True, slots=True)
class Word:
    """One condition of the line; `kind` is host, id, rule, handling or text; `given` is as it was typed."""

    kind: str
    value: str
    given: str
    maybe: bool = False  # looks like a host, and may be a text after all


def parse(line: str) -> tuple[list[Word], list[str]]:
    """Return the line's conditions, and what could not be understood, in words."""
    words: list[Word] = []
    problems: list[str] = []
    loose: list[str] = []
    for given in _WORD.findall(line.replace("\0", "")):
        name, colon, value = given.partition(":")
        value = value.strip('"')
        if colon and name.lower() in _NAMED:
            try:
                words.append(_named(name.lower(), value, given))
            except ValueError as error:
                problems.append(str(error))
        elif is_uuid(given.strip('"')):
            words.append(Word("id", given.strip('"').lower(), given))
        elif looks_like_host(given):
            words.append(Word("host", given, given, maybe=True))
        else:
            loose.append(given)
    if loose:
        # Words side by side are one text, as they stand in a message.
        text = " ".join(word.strip('"') if word.count('"') == 2 else word for word in loose)[:TEXT_MOST]  # noqa: PLR2004
        words.append(Word("text", text, " ".join(loose)))
    return _once_each(words, problems), problems


def looks_like_host(word: str) -> bool:
    """Tell whether a word is more likely a host's name or address than a text."""
    if _ADDRESS.fullmatch(word):
        return True
    return bool(_HOST.fullmatch(word)) and not _NUMBER.fullmatch(word)


def without(line: str, given: str) -> str:
    """Return the line without one of its conditions."""
    if given in line:
        start = line.index(given)
        return " ".join((line[:start] + line[start + len(given) :]).split())
    gone = given.split(" ")
    return " ".join(word for word in _WORD.findall(line) if word not in gone)


def _host(value: str, given: str) -> Word:
    if not value:
        raise ValueError("host: needs a name, such as host:core-rtr-0412.dc3.example.net")
    return Word("host", value[:TEXT_MOST], given)


def _rule(value: str, given: str) -> Word:
    if not value.isascii() or not value.isdecimal() or not 1 <= int(value[:11]) <= RULE_MOST:
        raise ValueError(f"rule:{value[:40]} is no rule's number; write it as rule:118")
    return Word("rule", str(int(value)), given)


def _handling(value: str, given: str) -> Word:
    found = HANDLINGS.get(value.lower().replace(" ", "_").replace("-", "_"))
    if found is None:
        allowed = "page, ticket, email, log, suppress or unhandled"
        raise ValueError(f"handling:{value[:40]} is not known; there is {allowed}")
    return Word("handling", str(found), given)


def _id(value: str, given: str) -> Word:
    if not is_uuid(value):
        raise ValueError(f"id:{value[:40]} is no UUID; an event's id looks like 019ac7d2-1f64-7c10-9e0b-5d0c8be1a7f3")
    return Word("id", value.lower(), given)


def _text(value: str, given: str) -> Word:
    if not value:
        raise ValueError('text: needs a text, such as text:"link down"')
    return Word("text", value[:TEXT_MOST], given)


_NAMED = {"host": _host, "hostname": _host, "rule": _rule, "handling": _handling, "id": _id, "text": _text, "q": _text}


def _named(name: str, value: str, given: str) -> Word:
    return _NAMED[name](value, given)


def _once_each(words: list[Word], problems: list[str]) -> list[Word]:
    found: dict[str, Word] = {}
    for word in words:
        if word.kind in found and found[word.kind].value != word.value:
            problems.append(f"only one {word.kind} at a time: {found[word.kind].given} is kept, {word.given} left out")
        else:
            found.setdefault(word.kind, word)
    return list(found.values())
