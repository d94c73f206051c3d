"""OTLP's JSON as its protobuf: protobuf's own JSON writes ids and bytes in another way."""

from base64 import b64decode
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest


def as_protobuf(sent: dict[str, Any]) -> bytes:
    """Return a request of OTLP's JSON in protobuf."""
    return bytes(fill(ExportLogsServiceRequest(), sent).SerializeToString())


def fill(message: Any, sent: dict[str, Any]) -> Any:
    """Copy OTLP's JSON into a message, and return that."""
    for name, value in sent.items():
        field = next(field for field in message.DESCRIPTOR.fields if field.camelcase_name == name)
        target = getattr(message, field.name)
        if isinstance(value, list):
            for item in value:
                fill(target.add(), item)
        elif isinstance(value, dict):
            target.SetInParent()
            fill(target, value)
        elif field.type == field.TYPE_BYTES:
            setattr(message, field.name, bytes.fromhex(value) if name.endswith("Id") else b64decode(value))
        else:
            integer = isinstance(value, str) and field.type != field.TYPE_STRING
            setattr(message, field.name, int(value) if integer else value)
    return message
