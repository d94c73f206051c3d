"""What a quarantined record or an edited event is checked against: the ingestor's own variables, read elsewhere too."""

from dataclasses import dataclass

from mutt.variables import var


@dataclass(frozen=True, slots=True)
class IntakeSettings:
    """Variables of the ingestor that the web UI reads as well: what it replays has to pass the same checks."""

    required_message_fields: tuple[str, ...] = var(
        "REQUIRED_MESSAGE_FIELDS",
        ("timestamp", "message", "hostname"),
        "Required fields for events, by comma",
    )
    max_event_bytes: int = var("INGEST_MAX_EVENT_BYTES", 65_536, "Largest event", low=256, high=16_777_216)
    max_json_depth: int = var("INGEST_MAX_JSON_DEPTH", 32, "Most levels of an event's JSON", low=1, high=200)
