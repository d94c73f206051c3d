"""What holds for a dynamic key that Redis does not have."""

import pytest

from mutt.dynamic_keys import ALL
from mutt.fallbacks import fallback


@pytest.mark.parametrize(
    ("key", "environ", "expected"),
    [
        ("slo_window_hours", {}, (24, "default")),
        ("max_ingest_queue_size", {}, (1_000_000, "default")),
        ("max_ingest_queue_size", {"MAX_INGEST_QUEUE_SIZE": " 5 "}, (5, "environment")),
        ("max_ingest_queue_size", {"MAX_INGEST_QUEUE_SIZE": "many"}, (1_000_000, "default")),
    ],
)
def test_a_key_falls_back_to_its_variable(key: str, environ: dict[str, str], expected: tuple[int, str]) -> None:
    assert fallback(ALL[key], environ) == expected


def test_every_key_has_a_possible_fallback() -> None:
    for key in ALL.values():
        value, source = fallback(key, {})
        assert key.parse(str(value)) == value
        assert source == "default"
