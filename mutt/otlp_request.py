"""A request of OTLP's, in either encoding, as queue entries."""

from mutt import otlp_json, otlp_wire
from mutt.bodies import inflate
from mutt.foreign import collect
from mutt.intake import Intake, Limits, Receipt, Taken
from mutt.otlp import Context, SentContext, SentLog, event_fields, traceparent
from mutt.records import Record, RecordError, made_record


def read_request(intake: Intake, body: bytes, coding: str, sender: str, receipt: Receipt, *, is_json: bool) -> Taken:
    """Take a request's log records, each by itself; raises RecordError where nothing is taken."""
    limits = intake.limits
    body = inflate(body, coding, limits.body_bytes)
    logs = otlp_json.split(body, limits) if is_json else otlp_wire.split(body, limits)
    decode = otlp_json.read if is_json else otlp_wire.read
    shared = _Shared(limits, is_json=is_json)

    def read(sent: SentLog) -> tuple[bytes, Record]:
        if len(sent.raw) > limits.event_bytes:
            return sent.raw, made_record({})  # (the intake refuses it by its size)
        log, replaced = decode(sent.raw, limits.depth)
        context = shared.of(sent.context)
        fields = event_fields(log, context, sender, receipt)
        sanitized = replaced or context.replaced
        return sent.raw, made_record(fields, sanitized=sanitized, traceparent=traceparent(log))

    return collect(intake, logs, receipt, read, lambda sent: sent.raw)


class _Shared:
    """Decodes what records share once for those that follow each other, and keeps no more than the last."""

    def __init__(self, limits: Limits, *, is_json: bool) -> None:
        self._limits = limits
        self._decode = otlp_json.context if is_json else otlp_wire.context
        self._sent: SentContext | None = None
        self._found: Context | RecordError | None = None

    def of(self, sent: SentContext) -> Context:
        """Return what a record shares; raises RecordError, without decoding again what was found wrong."""
        if sent is not self._sent:
            self._sent, self._found = sent, self._read(sent)
        if isinstance(self._found, Context):
            return self._found
        assert self._found is not None  # noqa: S101  (it is one or the other)
        raise RecordError(self._found.reason, str(self._found))

    def _read(self, sent: SentContext) -> Context | RecordError:
        most = self._limits.event_bytes
        if len(sent.resource) + len(sent.scope) > most:
            return RecordError("too_large", f"its resource and scope have over {most} bytes")
        try:
            return self._decode(sent, self._limits.depth)
        except RecordError as error:
            return error
