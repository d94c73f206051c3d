import pytest

from mutt.errors import SettingsError
from mutt.settings import (
    SERVICES,
    AlerterSettings,
    IngestorSettings,
    MoogForwarderSettings,
    RemediationSettings,
    WebUiSettings,
    load,
)
from mutt.variables import variables


def test_an_empty_environment_gives_the_defaults() -> None:
    settings = load(IngestorSettings, {})
    assert settings.required_message_fields == ("timestamp", "message", "hostname")
    assert settings.redis.tls_enabled
    assert settings.logs.level == "INFO"


def test_an_empty_value_means_not_set() -> None:
    assert load(IngestorSettings, {"REDIS_PORT": "", "REDIS_CA_CERT_PATH": " "}).redis.port == 6379


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("REDIS_PORT", "six", "a whole number is needed"),
        ("REDIS_PORT", "70000", "at least 1 and at most 65535"),
        ("REDIS_TLS_ENABLED", "maybe", "allowed are true and false"),
        ("LOG_LEVEL", "LOUD", "allowed are DEBUG, INFO, WARNING, ERROR, CRITICAL"),
        ("POD_NAME", "a b", "it has to match [A-Za-z0-9._-]{1,63}"),
        ("MUTT_SHUTDOWN_GRACE", "nan", "at least 0 and at most 600"),
    ],
)
def test_an_impossible_value_names_variable_value_and_what_is_allowed(name: str, value: str, allowed: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(AlerterSettings, {name: value})
    assert str(caught.value).startswith(f"{name}={value!r} is not possible: ")
    assert allowed in str(caught.value)


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        load(AlerterSettings, {"REDIS_PORT": "0", "DB_PORT": "x"})
    assert len(str(caught.value).splitlines()) == 2


def test_an_empty_list_is_refused() -> None:
    with pytest.raises(SettingsError, match="REQUIRED_MESSAGE_FIELDS=',' is not possible: give at least one name"):
        load(IngestorSettings, {"REQUIRED_MESSAGE_FIELDS": ","})


def test_the_webhook_is_required() -> None:
    with pytest.raises(SettingsError, match="MOOG_WEBHOOK_URL is not set"):
        load(MoogForwarderSettings, {})


@pytest.mark.parametrize(
    "address", ["host:9090", "ftp://host", "https://[::1", "https://host:port", "http://host:99999"]
)
def test_an_address_that_is_none_is_named(address: str) -> None:
    with pytest.raises(SettingsError, match=r"PROMETHEUS_URL=.* an address like http://host:9090 is needed"):
        load(WebUiSettings, {"PROMETHEUS_URL": address})
    with pytest.raises(SettingsError, match=r"VAULT_ADDR=.* an address like https://host:8200 is needed"):
        load(RemediationSettings, {"VAULT_ADDR": address, "VAULT_ROLE_ID": "role"})


def test_a_password_in_an_address_is_not_shown() -> None:
    with pytest.raises(SettingsError, match="PROMETHEUS_URL") as caught:
        load(WebUiSettings, {"PROMETHEUS_URL": "ftp://user:a-secret@host"})
    assert "a-secret" not in str(caught.value)


def test_vault_needs_a_role() -> None:
    with pytest.raises(SettingsError, match="VAULT_ROLE_ID is not set"):
        load(RemediationSettings, {"VAULT_ADDR": "https://vault.example:8200"})


def test_a_heartbeat_that_one_lost_refresh_lets_expire_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"ALERTER_JANITOR_TIMEOUT=20 is not possible: .* at least 3 x"):
        load(AlerterSettings, {"ALERTER_JANITOR_TIMEOUT": "20"})


def test_words_for_true_and_choices_are_read_in_any_case() -> None:
    settings = load(AlerterSettings, {"HOST_MATCH_SHORT": "YES", "LOG_LEVEL": "debug"})
    assert settings.host_match_short
    assert settings.logs.level == "DEBUG"


@pytest.mark.parametrize("service", SERVICES)
def test_every_default_lies_within_its_own_limits(service: str) -> None:
    for known, _kind in variables(SERVICES[service]):
        if isinstance(known.default, (int, float)) and not isinstance(known.default, bool):
            assert known.low is None or known.default >= known.low, known.name
            assert known.high is None or known.default <= known.high, known.name
        assert known.purpose, known.name
