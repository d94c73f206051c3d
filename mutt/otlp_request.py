"""A request of OTLP's, in either encoding, as queue entries."""

from mutt import otlp_json, otlp_wire
from mutt.bodies import inflate
from mutt.foreign import collect
from mutt.intake import Intake, Receipt, Taken
from mutt.otlp import SentLog, event_fields, traceparent
from mutt.records import Record, made_record


def read_request(intake: Intake, body: bytes, coding: str, sender: str, receipt: Receipt, *, is_json: bool) -> Taken:
    """Take a request's log records, each by itself; raises RecordError where nothing is taken."""
    limits = intake.limits
    body = inflate(body, coding, limits.body_bytes)
    logs = otlp_json.split(body, limits) if is_json else otlp_wire.split(body, limits)
    decode = otlp_json.read if is_json else otlp_wire.read

    def read(sent: SentLog) -> tuple[bytes, Record]:
        if len(sent.raw) > limits.event_bytes:
            return sent.raw, made_record({})  # (the intake refuses it by its size)
        log, replaced = decode(sent.raw, limits.depth)
        fields = event_fields(log, sent.context, sender, receipt)
        return sent.raw, made_record(fields, sanitized=replaced, traceparent=traceparent(log))

    return collect(intake, logs, receipt, read, lambda sent: sent.raw)
