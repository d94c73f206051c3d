"""A request of OTLP's, in either encoding, as queue entries."""

from collections.abc import Callable
from typing import Any

from mutt import otlp_json, otlp_wire
from mutt.bodies import inflate
from mutt.foreign import BodyError, collect, host_of
from mutt.intake import Intake, Limits, Receipt, Taken
from mutt.otlp import Allowance, Context, SentContext, SentLog, event_fields, traceparent
from mutt.records import Record, RecordError, made_record

Read = Callable[[bytes, int, Allowance], tuple[dict[str, Any], bool]]


def read_request(intake: Intake, body: bytes, coding: str, sender: str, receipt: Receipt, *, is_json: bool) -> Taken:
    """Take a request's log records, each by itself; raises RecordError where nothing is taken."""
    limits = intake.limits
    body = inflate(body, coding, limits.body_bytes)
    allowance = Allowance(limits)
    encoding = otlp_json if is_json else otlp_wire
    try:
        logs = encoding.split(body, limits, allowance)
    except BodyError as error:
        raise RecordError("too_large", str(error)) from error
    shared = _Shared(limits, allowance, encoding.resource, encoding.scope)

    def read(sent: SentLog) -> tuple[bytes, Record]:
        if len(sent.raw) > limits.event_bytes:
            return sent.raw, made_record({})  # (the intake refuses it by its size)
        log, replaced = encoding.read(sent.raw, limits.depth, allowance)
        context = shared.of(sent.context)
        fields = event_fields(log, context, sender, receipt)
        # What is shared was made fit for the queue once; that again for each record costs many times the record.
        ready: dict[str, Any] = {name: fields.pop(name) for name in ("resource", "scope") if name in fields}
        record = made_record(
            fields,
            sanitized=replaced or context.replaced,
            traceparent=traceparent(log),
            origin=host_of(fields) + sent.context.resource + sent.context.scope,
        )
        record.fields.update(ready)
        return sent.raw, record

    return collect(intake, logs, receipt, read, lambda sent: sent.raw)


class _Shared:
    """What records share, each resource and each scope decoded once for the records that follow each other."""

    def __init__(self, limits: Limits, allowance: Allowance, resource: Read, scope: Read) -> None:
        self._most = limits.event_bytes
        self._resource = _Last(resource, limits.depth, allowance)
        self._scope = _Last(scope, limits.depth, allowance)

    def of(self, sent: SentContext) -> Context:
        """Return what a record shares; raises RecordError."""
        if len(sent.resource) + len(sent.scope) > self._most:
            raise RecordError("too_large", f"its resource and scope have over {self._most} bytes")
        resource, scope = self._resource.of(sent.resource), self._scope.of(sent.scope)
        return Context(resource.fields, scope.fields, resource.sanitized or scope.sanitized)


class _Last:
    """Keeps what was decoded last, all of them may be large, and what was found wrong with it."""

    def __init__(self, read: Read, depth: int, allowance: Allowance) -> None:
        self._read = read
        self._depth = depth
        self._allowance = allowance
        self._raw: bytes | None = None
        self._found: Record | RecordError = made_record({})

    def of(self, raw: bytes) -> Record:
        """Return what the bytes mean; raises RecordError."""
        if raw is not self._raw:
            self._raw = raw
            try:
                fields, replaced = self._read(raw, self._depth, self._allowance)
            except RecordError as error:
                self._found = error
            else:
                self._found = made_record(fields, sanitized=replaced)
        if isinstance(self._found, RecordError):
            raise RecordError(self._found.reason, str(self._found))
        return self._found
