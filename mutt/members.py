"""Decoding events that are in order into what MUTT looks at; their other members are decoded as well, and dropped.

A decoder that knows every member of an event makes no dict of it. Members that senders bring beside MUTT's own are
learned; a decoder that skipped them would not see what no reader of the queue could hold.
"""

import re
from collections.abc import Set as AbstractSet
from threading import Lock
from typing import Any, ClassVar, cast

import msgspec
from msgspec import UNSET

from mutt.fields import DEBUG
from mutt.records import UNREADABLE, decode_object

MOST_LEARNED = 32  # names; each costs every event a little
_NAME = re.compile(r"[A-Za-z0-9_.@:/ -]{1,64}")
_UNKNOWN = "Object contains unknown field"


class Event(msgspec.Struct, gc=False):
    """What is looked at of an event; a plain one has the first three."""

    timestamp: str
    message: str
    hostname: str
    source: str = ""
    syslog_severity: Any = DEBUG
    trap_oid: Any = UNSET
    correlation_id: Any = UNSET
    mutt: Any = msgspec.field(name="_mutt", default=UNSET)

    absent: ClassVar[str] = ""


class Members:
    """Decoders of events, `decode` for those of known members only; threads may use it at once.

    `required` are members that are looked at too, as attributes that `attributes` names.
    """

    def __init__(self, required: tuple[str, ...]) -> None:
        names = {field.encode_name: field.name for field in msgspec.structs.fields(Event)}
        more = {
            name: f"required_{number}"
            for number, name in enumerate(required)
            if name not in names and _NAME.fullmatch(name)
        }
        self._looked_at = _with(Event, more, forbid_unknown_fields=False)
        # A name that no attribute can stand for is never there, which leaves all events to the careful reading.
        self.attributes = [(names | more).get(name, "absent") for name in required]
        self._names = frozenset(names | more)
        self._learned: dict[str, str] = {}
        self._learning = Lock()
        self._renew()

    def decode_new(self, raw: bytes, error: msgspec.ValidationError) -> Event | None:
        """Decode what `decode` refused with this error, and learn its members; None where it is no plain event."""
        if not str(error).startswith(_UNKNOWN):
            return None
        try:
            fields = decode_object(raw)
            event = msgspec.convert(fields, self._looked_at)
        except UNREADABLE:
            return None
        if not self.is_full:
            self._learn(fields.keys() - self._names)
        return event

    def decode_any(self, raw: bytes) -> Event:
        """Decode an event of any members; raises as `decode` does."""
        return msgspec.convert(decode_object(raw), self._looked_at)

    @property
    def is_full(self) -> bool:
        """Say whether no more names are learned."""
        return len(self._learned) >= MOST_LEARNED

    def _learn(self, names: AbstractSet[str]) -> None:
        with self._learning:
            known = len(self._learned)
            new = [name for name in names - self._learned.keys() if _NAME.fullmatch(name)]
            for number, name in enumerate(new[: MOST_LEARNED - known], known):
                self._learned[name] = f"learned_{number}"
            if len(self._learned) > known:
                self._renew()

    def _renew(self) -> None:
        known = _with(self._looked_at, self._learned, forbid_unknown_fields=True)
        self.decode = msgspec.json.Decoder(known).decode


def _with(base: type[Event], names: dict[str, str], *, forbid_unknown_fields: bool) -> type[Event]:
    """Return the struct with more members; `names` gives each its attribute."""
    fields = [(attribute, Any, msgspec.field(name=name, default=UNSET)) for name, attribute in names.items()]
    made = msgspec.defstruct("Known", fields, bases=(base,), gc=False, forbid_unknown_fields=forbid_unknown_fields)
    return cast("type[Event]", made)
