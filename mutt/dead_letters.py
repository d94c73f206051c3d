"""Dead letters as a person meets them: what each one is, and what becomes of it when it is sent back or edited."""

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from mutt.envelope import Envelope, amend, split_entry
from mutt.errors import EntryError
from mutt.remediation import Source

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_fields = msgspec.json.Decoder(dict[str, Any])
_UNREADABLE = (EntryError, msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError)


class Queue(StrEnum):
    """The four lists that nothing leaves by itself, as the API names them."""

    ALERTER = "alerter"
    MOOG = "moog"
    POISON = "poison"
    QUARANTINE = "quarantine"


class Kind(StrEnum):
    """What a letter is, which says where it may go back to."""

    EVENT = "event"
    ALERT = "alert"
    AUDIT = "audit"  # a row that the audit refused; its alert has gone already
    RECORD = "record"  # what a sender sent and the ingestor did not take
    RAW = "raw"  # bytes that a service could not read as an entry
    UNREADABLE = "unreadable"  # no entry of MUTT's at all


class Home(StrEnum):
    """The queues that letters go back to."""

    INGEST = "ingest"
    ALERT = "alert"
    AUDIT = "audit"


HOMES = {Kind.EVENT: Home.INGEST, Kind.ALERT: Home.ALERT, Kind.AUDIT: Home.AUDIT, Kind.RECORD: Home.INGEST}
NO_ID = "unreadable"  # stands for the event_id of what has none


class Mutt(Envelope, omit_defaults=True):
    """The envelope of a dead letter; `kind` is what gave it up for good."""

    kind: str | None = None


_envelope = msgspec.json.Decoder(Mutt)


class Letter(msgspec.Struct, frozen=True):
    """One dead letter; `raw` is the event's JSON, or what was kept of bytes that could not be read."""

    queue: Queue
    kind: Kind
    entry: bytes
    raw: bytes
    mutt: Mutt
    hostname: str = ""
    message: str = ""
    decision: dict[str, Any] = {}
    source: Source | None = None

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the bytes, which tells this letter from one that changed meanwhile."""
        return sha256(self.entry).hexdigest()

    @property
    def died_at(self) -> str:
        """Return when it failed last, in UTC; of a record, when it came; empty where nobody knows."""
        return self.mutt.last_error.at if self.mutt.last_error else self.mutt.received_at

    @property
    def error(self) -> str:
        """Return why it lies here."""
        if self.mutt.last_error:
            return self.mutt.last_error.message
        return self.mutt.error or self.mutt.shedding_reason or "why it lies here was not recorded"


class Return(NamedTuple):
    """A letter on its way back: the queue, the bytes that arrive there, and the event's id from now on."""

    home: Home
    payload: bytes
    event_id: str


def read(queue: Queue, entry: bytes) -> Letter:
    """Read a letter; whatever its bytes are, something can be shown."""
    try:
        mutt, rest = split_entry(entry)
        envelope = _envelope.decode(mutt)
        members = _members.decode(rest)
    except _UNREADABLE:
        return Letter(queue, Kind.UNREADABLE, entry, entry, Mutt(NO_ID, ""))
    source = _source(queue, envelope)
    kept = _kept(members)
    if queue is Queue.QUARANTINE or kept is not None:
        kind = Kind.RECORD if queue is Queue.QUARANTINE else Kind.RAW
        hostname, message = _words(kept or b"")
        return Letter(queue, kind, entry, kept or b"", envelope, hostname, message, source=source)
    if source is Source.ALERTER:
        return Letter(queue, Kind.EVENT, entry, rest, envelope, *_words(rest), source=source)
    if source is Source.MOOG and "event" in members:
        kind = Kind.AUDIT if envelope.kind == Kind.AUDIT else Kind.ALERT
        event = bytes(members.pop("event"))
        decision = {name: msgspec.json.decode(value) for name, value in members.items()}
        return Letter(queue, kind, entry, event, envelope, *_words(event), decision, source)
    return Letter(queue, Kind.UNREADABLE, entry, entry, envelope)


def replayed(letter: Letter) -> Return:
    """Return an event, alert or audit row as it goes back; raises EntryError where no service could read it.

    A person decided it, so remediation gets all of its attempts again.
    """
    fresh: dict[str, Any] = {"retry_count": 0, "remediation_attempts": None, "shedding_reason": None, "kind": None}
    entry = letter.raw if letter.kind is Kind.RAW else letter.entry
    if letter.kind in (Kind.RECORD, Kind.UNREADABLE) or letter.source is None:
        raise EntryError("it is not an entry that a service could read; edit it, or delete it")
    letter.source.check(entry)
    home = HOMES.get(letter.kind) or (Home.INGEST if letter.source is Source.ALERTER else Home.ALERT)
    event_id = _envelope.decode(split_entry(entry)[0]).event_id
    return Return(home, amend(entry, **fresh), event_id)


def received(letter: Letter, now: datetime) -> datetime:
    """Return when the letter's event came; `now` where that is not known."""
    try:
        return datetime.fromisoformat(letter.mutt.received_at)
    except ValueError:
        return now


def editable(letter: Letter) -> str:
    """Return what may be edited, indented: an event's fields, an alert's decision with its event, or raw text."""
    raw = letter.raw
    if letter.decision or letter.kind in (Kind.ALERT, Kind.AUDIT):
        raw = msgspec.json.encode({**letter.decision, "event": msgspec.Raw(letter.raw)})
    elif letter.kind in (Kind.RAW, Kind.UNREADABLE):
        raw = _without_envelope(raw)
    try:
        return msgspec.json.format(raw, indent=2).decode("utf-8", "replace")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return raw.decode("utf-8", "replace").replace("\0", "\ufffd")


def with_members(text: str, changes: Mapping[str, Any]) -> str:
    """Return the editable text with members of its object replaced; raises EntryError where it is no object."""
    try:
        members = _members.decode(text.encode())
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
        raise EntryError(f"its members cannot be replaced, since it is no JSON object: {error}") from error
    for name, value in changes.items():
        members[name] = msgspec.Raw(msgspec.json.encode(value))
    return msgspec.json.format(msgspec.json.encode(members), indent=2).decode()


def _source(queue: Queue, envelope: Mutt) -> Source | None:
    named = envelope.kind if queue is Queue.POISON else queue.value
    # A refused audit row is an alert's entry by its shape.
    return {"alerter": Source.ALERTER, "moog": Source.MOOG, "audit": Source.MOOG}.get(named or "")


def _kept(members: dict[str, msgspec.Raw]) -> bytes | None:
    """Return the bytes that a letter keeps as they came; None where it is an event."""
    try:
        if members.keys() == {"raw"}:
            text = msgspec.json.decode(members["raw"])
            return text.encode() if isinstance(text, str) else None
        if members.keys() == {"raw_base64"}:
            return base64.b64decode(msgspec.json.decode(members["raw_base64"], type=str), validate=True)
    except (*_UNREADABLE, binascii.Error):
        return b""
    return None


def _words(event: bytes) -> tuple[str, str]:
    """Return the host and the message of an event, as far as there are any."""
    try:
        fields = _fields.decode(event)
    except _UNREADABLE:
        return "", event[:1000].decode("utf-8", "replace")
    hostname, message = (fields.get(name) for name in ("hostname", "message"))
    return ("" if hostname is None else str(hostname), "" if message is None else str(message))


def _without_envelope(raw: bytes) -> bytes:
    try:
        return split_entry(raw)[1]
    except EntryError:
        return raw
