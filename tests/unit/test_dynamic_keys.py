import pytest

from mutt.dynamic_keys import ALL


@pytest.mark.parametrize("name", ALL)
def test_every_default_is_a_value_that_the_key_takes(name: str) -> None:
    key = ALL[name]
    assert key.parse(str(key.default)) == key.default


@pytest.mark.parametrize(
    ("name", "text", "allowed"),
    [
        ("moog_rate_limit", "fast", "a whole number from 1 to 100000"),
        ("moog_rate_limit", "0", "a whole number from 1 to 100000"),
        ("moog_rate_limit", "1.5", "a whole number from 1 to 100000"),
        ("slo_ingest_success_target", "2", "a number from 0.5 to 0.99999"),
        ("slo_ingest_success_target", "nan", "a number from 0.5 to 0.99999"),
        ("alerter_shed_mode", "drop", "dlq or defer"),
    ],
)
def test_a_refused_value_says_what_is_allowed(name: str, text: str, allowed: str) -> None:
    with pytest.raises(ValueError, match=f"{name}={text!r}: {allowed} is needed"):
        ALL[name].parse(text)
