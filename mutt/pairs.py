"""Problems and the clears that end them: a table of families, told by trap OID or by the text of the message.

Everything here reads text that strangers wrote, so every expression is RE2's: linear in the text, whatever it is.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import re2

MAX_INSTANCE = 255  # characters of an instance kept; a sender chooses them
MAX_FIELDS = 500  # fields looked through for a varbind
ALL_SEVERITIES = tuple(range(8))

_OPTIONS = re2.Options()
_OPTIONS.case_sensitive = False
_OPTIONS.log_errors = False


class Event(Protocol):
    """What is read of an event; `mutt.events.QueuedEvent` is one."""

    @property
    def message(self) -> str: ...  # noqa: D102
    @property
    def hostname(self) -> str: ...  # noqa: D102
    @property
    def source(self) -> str | None: ...  # noqa: D102
    @property
    def severity(self) -> int | None: ...  # noqa: D102
    @property
    def trap_oid(self) -> str | None: ...  # noqa: D102
    @property
    def fields(self) -> Mapping[str, Any]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of problem with its clear.

    `oids` are (problem, clear) trap OIDs. `text` finds the state in a message: its group `state` holds one of the
    `clears` words or a problem's word, its group `instance`, where it has one, what the state is of.
    `varbinds` name what else holds the instance, best first: object names with the OIDs of their columns.
    `rewrites` turn a clear's message into its problem's; `{down}` takes the letter case of what it replaces.
    """

    name: str
    clears: frozenset[str]
    text: Any = None
    oids: tuple[tuple[str, str], ...] = ()
    varbinds: tuple[tuple[str, str], ...] = ()
    rewrites: tuple[tuple[Any, str], ...] = ()
    instance_text: tuple[Any, ...] = ()


class Match(NamedTuple):
    """A message's place in the table; `instance` is "" where the event does not say of what it speaks."""

    family: Family
    instance: str
    is_clear: bool
    problem_oid: str | None


class Problem(NamedTuple):
    """What a clear's problem looked like: match it with each of `severities` until a rule forwards it."""

    message: str
    trap_oid: str | None
    severities: tuple[int | None, ...]


def _re(pattern: str) -> Any:
    return re2.compile(pattern, _OPTIONS)


_UP_WORD = (
    _re(r"(adminstatus\S*\W+(?:integer: )?)?(\b|_|link[ _-]?)(up)(?:(\(1\))|(\b|_))"),
    "{down}",
)
_INTERFACE_WORD = r"(?:interface|port|ifname|ifdescr)"
_IF_INDEX_TEXT = (
    _re(r"\bifIndex(?:\.\d+)?(?:\s*[:=]+\s*|\s+)(?:integer:\s*)?(?P<instance>\d+)"),
    _re(r"\b(?:1|iso)\.3\.6\.1\.2\.1\.2\.2\.1\.1\.(?P<instance>\d+)\b"),
)
_INTERFACE_NAME = (
    r"[a-z][a-z-]*\d+(?:/\d+)+(?:[.:]\d+)*"
    r"|(?:eth|ethernet|en[ops]\d+s|eno|ens|bond|vlan|loopback|tunnel|port-channel|ae|lag|irb|serial|mgmt|wlan|br|veth)"
    r"[ -]?\d+(?:[.:]\d+)*"
)
INTERFACE_NAME = _re(rf"\b(?P<instance>{_INTERFACE_NAME})\b")
# On bytes and without a group to find it costs a third.
_INTERFACE = re2.compile(rf"\b(?:{_INTERFACE_NAME})\b".encode(), _OPTIONS)
_NAMED_INTERFACE = _re(
    rf"\b{_INTERFACE_WORD}(?:\.\d+)?(?:\s*[:=#]+\s*|\s+)(?:string:\s*)?\"?(?P<instance>[a-z0-9][\w/.:-]*)"
)

IF_INDEX = ("ifindex", "1.3.6.1.2.1.2.2.1.1")
IF_NAME = ("ifname", "1.3.6.1.2.1.31.1.1.1.1")
IF_DESCR = ("ifdescr", "1.3.6.1.2.1.2.2.1.2")
INTERFACE_VARBINDS = (IF_NAME, IF_DESCR, ("interface", ""), ("port", ""))

FAMILIES: tuple[Family, ...] = (
    Family(
        "lineproto",
        clears=frozenset({"up"}),
        text=_re(
            r"\bline ?proto(?:col)?\b.{0,80}?\binterface (?P<instance>[^\s,]+).{0,40}?"
            r"\b(?:state to|is) (?:administratively )?(?P<state>up|down)\b"
        ),
        rewrites=(_UP_WORD,),
    ),
    Family(
        "link",
        clears=frozenset({"up"}),
        text=_re(
            r"(?:\b|_)link[ _-]?(?:is |state |status |changed |to |: ?){0,3}(?P<state>up|down)(?:\b|_)"
            rf"|\b{_INTERFACE_WORD} [^\s,]+,? (?:link |is |went |has |gone |state |changed |to )"
            r"{0,5}(?:administratively )?(?P<state_2>up|down)\b"
            r"|\bchanged state to (?:administratively )?(?P<state_3>up|down)\b"
        ),
        oids=(("1.3.6.1.6.3.1.1.5.3", "1.3.6.1.6.3.1.1.5.4"),),
        varbinds=(IF_INDEX, *INTERFACE_VARBINDS),
        rewrites=(_UP_WORD, (_re(r"\b(1|iso)\.3\.6\.1\.6\.3\.1\.1\.5\.4\b"), r"\1.3.6.1.6.3.1.1.5.3")),
        instance_text=(*_IF_INDEX_TEXT, INTERFACE_NAME, _NAMED_INTERFACE),
    ),
    Family(
        "bgp",
        clears=frozenset({"up", "established"}),
        text=_re(
            r"\bBGP[^ ]*:? .{0,40}?\b(?:neighbor|peer) (?P<instance>[0-9a-f.:]+)\b.{0,80}?"
            r"\b(?P<state>up|down|established|idle)\b"
        ),
        oids=(
            ("1.3.6.1.2.1.15.0.2", "1.3.6.1.2.1.15.0.1"),
            ("1.3.6.1.2.1.15.7.2", "1.3.6.1.2.1.15.7.1"),
        ),
        varbinds=(("bgppeerremoteaddr", "1.3.6.1.2.1.15.3.1.7"),),
        rewrites=(_UP_WORD, (_re(r"\bbgpEstablished(Notification)?\b"), "bgpBackwardTransition")),
        instance_text=(_re(r"\b(?:neighbor|peer)[ =:]+(?P<instance>[0-9a-f.:]+[0-9a-f])\b"),),
    ),
    Family(
        "ospf",
        clears=frozenset({"full"}),
        text=_re(
            r"\bOSPF.{0,60}?\bnbr (?P<instance>[0-9a-f.:]+ on [^\s,]+).{0,20}?\bfrom \S+ to (?P<state>full|down)\b"
        ),
        rewrites=((_re(r"from \S+ to full\b"), "from FULL to DOWN"),),
    ),
    Family(
        "eigrp",
        clears=frozenset({"up"}),
        text=_re(r"\bEIGRP.{0,40}?\bneighbor (?P<instance>\S+(?: \(\S+\))?) is (?P<state>up|down)\b"),
        rewrites=(_UP_WORD,),
    ),
    Family(
        "ups-battery",
        clears=frozenset(),
        oids=(("1.3.6.1.4.1.318.0.5", "1.3.6.1.4.1.318.0.9"),),
    ),
    Family(
        "ups-communication",
        clears=frozenset(),
        oids=(("1.3.6.1.4.1.318.0.1", "1.3.6.1.4.1.318.0.8"),),
    ),
)

_BY_OID: dict[str, tuple[Family, bool, str]] = {
    oid: (family, is_clear, problem)
    for family in FAMILIES
    for problem, clear in family.oids
    for oid, is_clear in ((problem, False), (clear, True))
}
# A clear bears one of these OIDs or holds one of these words, with no ASCII letter or digit behind it.
CLEAR_OIDS = frozenset(oid for oid, (_, is_clear, _) in _BY_OID.items() if is_clear)
CLEAR_WORDS = sorted(frozenset[str]().union(*(family.clears for family in FAMILIES)))
# One search tells most events from a state message, so that the table costs them next to nothing.
_ANY_STATE = re2.compile(rb"(?:\b|_|link)(?:up|down|full|established|idle)(?:\b|_)", _OPTIONS)


def match(event: Event) -> Match | None:
    """Find the event's family: its trap OID decides, else its text; None for what is in no pair."""
    known = _BY_OID.get(event.trap_oid) if event.trap_oid else None
    if known is not None:
        family, is_clear, problem_oid = known
        return Match(family, _instance(family, event, None), is_clear, problem_oid)
    if not names_state(event.message.encode()):
        return None
    for family in FAMILIES:
        found = family.text.search(event.message) if family.text is not None else None
        if found is not None:
            groups = found.groupdict()
            state = next(value for name, value in groups.items() if value and name.startswith("state"))
            is_clear = state.lower() in family.clears
            return Match(family, _instance(family, event, groups.get("instance")), is_clear, event.trap_oid)
    return None


def problem_of(event: Event) -> Problem | None:
    """Return what the problem of this clear looked like, None for an event that clears nothing.

    A rule may ask for a severity, and a clear rarely has its problem's: the clear's own comes first.
    """
    found = match(event)
    if found is None or not found.is_clear:
        return None
    message = event.message
    for pattern, replacement in found.family.rewrites:
        message = pattern.sub(_down if replacement == "{down}" else replacement, message)
    others = tuple(level for level in (*ALL_SEVERITIES, None) if level != event.severity)
    return Problem(message, found.problem_oid, (event.severity, *others))


def names_state(message: bytes) -> bool:
    """Tell whether a message may be in a pair by its text; which digits it holds does not matter."""
    return bool(_ANY_STATE.search(message))


def interface_span(message: bytes) -> tuple[int, int] | None:
    """Return where a message names its first interface; which digits it holds does not matter."""
    found = _INTERFACE.search(message)
    return None if found is None else found.span()  # (groups are looked for by name, at several times the cost)


def interface_of(event: Event, span: tuple[int, int] | None) -> str:
    """Return the first interface that the event names, lower-case, or ""; `span` is its message's interface_span."""
    if span is None:
        return _plain(_varbind(event.fields, INTERFACE_VARBINDS))
    return _plain(event.message.encode()[slice(*span)].decode())


def _down(found: Any) -> str:
    admin, lead, word, number, tail = (group or "" for group in found.groups())
    if admin:  # the administrator's wish is no state: it is "up" in the problem too
        return str(found.group(0))
    down = "DOWN" if word.isupper() else "Down" if word[0].isupper() else "down"
    return f"{lead}{down}{'(2)' if number else ''}{tail}"


def _instance(family: Family, event: Event, from_text: str | None) -> str:
    found = _varbind(event.fields, family.varbinds)
    if not found:
        matches = (pattern.search(event.message) for pattern in family.instance_text)
        found = next((m.group("instance") for m in matches if m is not None), None) or from_text or ""
    return _plain(found)


def _plain(text: str) -> str:
    return text.strip().strip("\"'").rstrip(".,:;").lower()[:MAX_INSTANCE]


def _varbind(fields: Mapping[str, Any], wanted: Sequence[tuple[str, str]]) -> str:
    """Return the value of the first of `wanted` that the fields hold, "" without one."""
    if not wanted:
        return ""
    best: dict[int, str] = {}
    for key, value in _flat(fields):
        for rank, (name, column) in enumerate(wanted):
            if (column and key.startswith(f"{column}.")) or key.partition(".")[0] == name:
                best.setdefault(rank, value or key.rpartition(".")[2])
    return best[min(best)] if best else ""


def _flat(fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (name, value) of scalars at the top and one level down, however the sender shaped its varbinds."""
    seen = 0
    for key, value in fields.items():
        if key in {"message", "hostname", "timestamp"}:
            continue
        nested: Iterator[tuple[Any, Any]] = iter(((key, value),))
        if isinstance(value, Mapping):
            nested = iter(value.items())
        elif isinstance(value, list):
            nested = _pairs(value)
        for name, scalar in nested:
            seen += 1
            if seen > MAX_FIELDS:
                return
            if isinstance(scalar, (str, int)) and not isinstance(scalar, bool):
                yield _plain_name(str(name)), str(scalar)


def _pairs(varbinds: list[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield the varbinds of a list of objects such as {"oid": …, "value": …}."""
    for item in varbinds:
        if isinstance(item, Mapping):
            name = item.get("oid") or item.get("name") or item.get("key")
            if name is not None:
                yield name, item.get("value")
            else:
                yield from item.items()


def _plain_name(name: str) -> str:
    """Return an object name or OID as the table writes it: `IF-MIB::ifIndex.3` is `ifindex.3`."""
    plain = name.rpartition("::")[2].lstrip(".").lower()
    return f"1.{plain[4:]}" if plain.startswith("iso.") else plain
