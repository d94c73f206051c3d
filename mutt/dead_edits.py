"""A dead letter edited by a person: checked as the ingestor checks, under a new id that names the one it replaces."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from mutt.checks import Check, check_fields, choice, text, whole
from mutt.dead_letters import HOMES, Home, Kind, Letter, Return, received
from mutt.envelope import amend
from mutt.errors import RuleError
from mutt.events import decided_entry
from mutt.handling import DEV, PROD
from mutt.ids import uuid7
from mutt.intake import Entropy, Intake, Receipt
from mutt.records import RecordError
from mutt.rules import FORWARDED, TEAM_MAX, Handling

ID_MAX = 2**31 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _environment(value: Any) -> str:
    if value not in (PROD, DEV):
        raise ValueError(f"has to be {PROD} or {DEV}")
    return str(value)


_CHECKS: dict[str, Check] = {
    "team": text(TEAM_MAX, required=True),
    "rule_id": whole(1, ID_MAX),
    "rule_version": whole(1, ID_MAX),
    "environment": _environment,
}
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def taken(letter: Letter, intake: Intake, now: datetime) -> Return:
    """Return a quarantined record as the ingestor takes it by now; raises RuleError with what it still lacks."""
    accepted = _accept(intake, letter.raw, letter, now)
    return Return(Home.INGEST, amend(accepted.entry, replaces=letter.mutt.event_id), accepted.event_id)


def edited(letter: Letter, payload: str, intake: Intake, now: datetime, entropy: Entropy) -> Return:
    """Return the letter with `payload` in place of what could be edited; raises RuleError naming what is at fault."""
    new_id = uuid7(int(now.timestamp() * 1000), entropy(10))
    if letter.kind not in (Kind.ALERT, Kind.AUDIT):
        entry = _accept(intake, payload.encode(), letter, now).entry
        return Return(Home.INGEST, amend(entry, event_id=new_id, replaces=letter.mutt.event_id), new_id)
    members = _object(payload)
    event = bytes(members.pop("event", msgspec.Raw(b"null")))
    decision = _decision(members, letter.kind)
    entry = amend(
        _accept(intake, event, letter, now).entry,
        event_id=new_id,
        replaces=letter.mutt.event_id,
        traceparent=letter.mutt.traceparent,
    )
    return Return(HOMES[letter.kind], decided_entry(entry, **decision), new_id)


def _accept(intake: Intake, raw: bytes, letter: Letter, now: datetime) -> Any:
    came = received(letter, now)
    receipt = Receipt((came - _EPOCH) // (_EPOCH.resolution))
    try:
        return intake.accept(raw, receipt)
    except RecordError as error:
        raise RuleError({"event": str(error)}) from error


def _object(payload: str) -> dict[str, msgspec.Raw]:
    try:
        return _members.decode(payload.encode())
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
        raise RuleError({"payload": f"is not a JSON object: {error}"}) from error


def _decision(members: dict[str, msgspec.Raw], kind: Kind) -> dict[str, Any]:
    """Return what the rules decided, as edited; every fault is named."""
    given = {name: msgspec.json.decode(value) for name, value in members.items()}
    handlings = tuple(each for each in Handling if kind is Kind.AUDIT or each in FORWARDED)
    checks = _CHECKS | {"handling": choice(handlings)}
    valid, details = check_fields(given, checks)
    if details:
        raise RuleError(details)
    return valid
