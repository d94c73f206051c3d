"""Logs for people (plain) or machines (JSON lines); control characters never reach a terminal."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from mutt.settings import LogSettings

ESCAPES = {code: f"\\x{code:02x}" for code in (*range(0x20), 0x7F, *range(0x80, 0xA0))}
ESCAPES |= {0x0A: "\\n", 0x0D: "\\r", 0x09: "\\t"}
BIDI_CONTROLS = {code: f"\\u{code:04x}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}

Processor = structlog.typing.Processor


def configure(settings: LogSettings, service: str) -> None:
    """Send structlog's and the libraries' own records to stderr in one form, each with the service's name."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.format_exc_info,
        _escape_controls,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    renderer: Processor = (
        structlog.processors.JSONRenderer() if settings.json_enabled else structlog.dev.ConsoleRenderer(colors=False)
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level)
    for noisy in ("uvicorn.error", "uvicorn.access", "asyncio", "aiohttp.access", "urllib3"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
    structlog.contextvars.bind_contextvars(service=service)


def get_logger(name: str) -> Any:
    """Return a structured logger: `log.info("what happened", key=value)`."""
    return structlog.stdlib.get_logger(name)


def escape_controls(text: str) -> str:
    """Return `text` with control and direction-changing characters written out, safe for a terminal."""
    return text.translate(ESCAPES | BIDI_CONTROLS)


def _escape_controls(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        # A traceback keeps its lines: it is text of MUTT's own, and unreadable without them.
        if isinstance(value, str) and key != "exception" and not value.isprintable():
            event[key] = escape_controls(value)
    return event
