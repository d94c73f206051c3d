"""Settings of the forwarder that cannot be, refused in words that say what to do."""

import pytest

from mutt.errors import SettingsError
from mutt.settings import MoogForwarderSettings, load

HTTPS = "https://moog.example/events"


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"MOOG_WEBHOOK_URL": ""}, "MOOG_WEBHOOK_URL is not set"),
        ({"MOOG_WEBHOOK_URL": "http://moog.example/events"}, "MOOG_ALLOW_HTTP=true"),
        ({"MOOG_WEBHOOK_URL": "moog.example"}, "https://host/path"),
        ({"MOOG_WEBHOOK_URL": "ftp://moog.example/"}, "https://host/path"),
        ({"MOOG_WEBHOOK_URL": "https://moog.example:port/"}, "MOOG_WEBHOOK_URL"),
        ({"MOOG_WEBHOOK_URL": "https://user:word@moog.example/"}, "MOOG_API_KEY"),
        ({"MOOG_BATCH_MODE": "many"}, "single, events"),
        ({"MOOG_AUTH_HEADER": "two words"}, "MOOG_AUTH_HEADER"),
        ({"MOOG_HEARTBEAT_INTERVAL": "20"}, "MOOG_JANITOR_TIMEOUT"),
    ],
)
def test_an_impossible_setting_is_refused_by_name(variables: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        load(MoogForwarderSettings, {"MOOG_WEBHOOK_URL": HTTPS} | variables)


def test_a_password_in_the_address_is_not_repeated() -> None:
    with pytest.raises(SettingsError) as refusal:
        load(MoogForwarderSettings, {"MOOG_WEBHOOK_URL": "https://user:word@moog.example/"})
    assert "word@" not in str(refusal.value)


@pytest.mark.parametrize(
    "variables",
    [
        {"MOOG_WEBHOOK_URL": "http://127.0.0.1:8095/events"},
        {"MOOG_WEBHOOK_URL": "http://[::1]:8095/events"},
        {"MOOG_WEBHOOK_URL": "http://localhost/events"},
        {"MOOG_WEBHOOK_URL": "http://moog.example/events", "MOOG_ALLOW_HTTP": "true"},
        {"MOOG_WEBHOOK_URL": HTTPS, "MOOG_BATCH_MODE": "Events", "MOOG_AUTH_SCHEME": "basic"},
    ],
)
def test_what_is_possible_is_taken(variables: dict[str, str]) -> None:
    assert load(MoogForwarderSettings, variables).webhook_url == variables["MOOG_WEBHOOK_URL"]
