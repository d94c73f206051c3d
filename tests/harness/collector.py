"""An OpenTelemetry collector for spans: a real gRPC server of the OTLP trace service, in threads of this process."""

import threading
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, NamedTuple, Self

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

from scripts.devtools.embedded import free_port
from scripts.devtools.services import HOST


class Span(NamedTuple):
    """A span as it was received; ids and links are hexadecimal, `links` are (trace, span), times in seconds."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    links: list[tuple[str, str]]
    attributes: dict[str, Any]
    failed: bool
    problem: str
    began: float
    ended: float


class Collector(TraceServiceServicer):
    """Keeps what it is sent; with `hang` it answers nobody until `resume`, as a collector that is overwhelmed."""

    def __init__(self, port: int | None = None) -> None:
        self.port = port or free_port()
        self.url = f"http://{HOST}:{self.port}"
        self.requests: list[Any] = []
        self._spans: list[Span] = []
        self._flowing = threading.Event()
        self._flowing.set()
        self._server: Any = None

    def __enter__(self) -> Self:
        self._server = grpc.server(ThreadPoolExecutor(4))
        add_TraceServiceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        self._server.add_insecure_port(f"{HOST}:{self.port}")
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._flowing.set()
        self._server.stop(grace=None).wait()

    def hang(self) -> None:
        """Take requests and answer none."""
        self._flowing.clear()

    def spans(self, name: str = "", *, trace: str = "") -> list[Span]:
        """Return the spans received so far, of one name and one trace where they are given."""
        return [span for span in self._spans if name in ("", span.name) and trace in ("", span.trace)]

    def is_awaited(self) -> bool:
        """Tell whether somebody still waits for an answer."""
        return any(request.is_active() for request in self.requests)

    def Export(  # noqa: N802  (gRPC's name)
        self, request: ExportTraceServiceRequest, context: Any
    ) -> ExportTraceServiceResponse:
        """Receive a request of spans."""
        self.requests.append(context)
        self._flowing.wait(60)
        for resource in request.resource_spans:
            names = {item.key: item.value.string_value for item in resource.resource.attributes}
            for scope in resource.scope_spans:
                self._spans += [_span(names.get("service.name", ""), span) for span in scope.spans]
        return ExportTraceServiceResponse()


def _span(service: str, span: Any) -> Span:
    return Span(
        service,
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        [(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in span.attributes},
        span.status.code == 2,
        span.status.message,
        span.start_time_unix_nano / 1e9,
        span.end_time_unix_nano / 1e9,
    )
