"""The door for OpenTelemetry: OTLP over HTTP, logs alone, in JSON and protobuf."""

import msgspec
from google.rpc.code_pb2 import Code
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

from mutt.intake import Receipt, Taken
from mutt.otlp_request import read_request
from services.ingestor import replies
from services.ingestor.exchange import Exchange
from services.ingestor.foreign import MOST_WORDS, ForeignExchange
from services.ingestor.turns import Refusal

PATH = b"/v1/logs"
MEDIA = {"application/json": replies.JSON, "application/x-protobuf": replies.PROTOBUF}
CODES = {401: Code.UNAUTHENTICATED, 413: Code.RESOURCE_EXHAUSTED, 500: Code.INTERNAL, 503: Code.UNAVAILABLE}

_encode = msgspec.json.Encoder().encode


class Logs(ForeignExchange):
    """A request to /v1/logs; its reply is in its own encoding."""

    def judge(self) -> None:
        """Look at the head; nothing but its Content-Type tells the encoding."""
        super().judge()
        sent = self._head.content_type.partition(";")[0].strip().lower()
        self.media = MEDIA.get(sent, replies.JSON)
        if self._refusal is None and sent not in MEDIA:
            message = f"Content-Type {sent!r} is not known here: send {' or '.join(MEDIA)}"
            self._refusal = Refusal(415, "json", message, None, {})

    def _understand(self, body: bytes, receipt: Receipt) -> Taken:
        is_json = self.media is replies.JSON
        sender = self._connection.sender()
        return read_request(self._door.intake, body, self._head.coding, sender, receipt, is_json=is_json)

    def _accepted(self, taken: Taken) -> bytes:
        rejected, words = len(taken.rejected), ""
        if rejected:
            words = "; ".join(f"log record {item.place}: {item.error}" for item in taken.rejected[:MOST_WORDS])
        if self.media is replies.JSON:
            # A 64-bit integer is a string in this encoding.
            partial = {"partialSuccess": {"rejectedLogRecords": str(rejected), "errorMessage": words}}
            return _encode(partial if rejected else {})
        reply = ExportLogsServiceResponse()
        if rejected:
            reply.partial_success.rejected_log_records = rejected
            reply.partial_success.error_message = words
        return reply.SerializeToString()

    def _error(self, refusal: Refusal, correlation_id: str) -> bytes:
        code = int(CODES.get(refusal.status, Code.INVALID_ARGUMENT))
        message = f"{refusal.message} ({correlation_id})"
        if self.media is replies.JSON:
            return _encode({"code": code, "message": message})
        return bytes(Status(code=code, message=message).SerializeToString())


ROUTES: dict[bytes, type[Exchange]] = {PATH: Logs}
