"""Environment variables and dynamic keys: names, types, defaults."""

from typing import Any

import pytest

from mutt import dynamic_keys, keys
from mutt.errors import SettingsError
from mutt.settings import SERVICES, CommonSettings, load
from mutt.variables import Variable, variables
from tests.contract.sheet import SHEET, Row, params
from tests.contract.sheet import dynamic_keys as dynamic_rows
from tests.contract.sheet import variables as variable_rows
from tests.contract.usage import attributes_read, fields

SHARED = {"global", "redis", "vault"}
# What a variable has to have beside it; of a pair, both.
PAIR = {"MUTT_TLS_CERT_PATH": "certificate", "MUTT_TLS_KEY_PATH": "key"}
BESIDE = {"REDIS_MODE": {"REDIS_SENTINELS": "sentinel.example"}, **dict.fromkeys(PAIR, PAIR)}


def readers(group: str) -> list[type[CommonSettings]]:
    """Return the settings classes that have to know the variables of a group."""
    if group in SHARED:
        return list(SERVICES.values())
    if group == "postgresql":
        return [SERVICES[name] for name, facts in SHEET["services"].items() if facts["postgres"]]
    return [SERVICES[group]]


def known(cls: type[CommonSettings], name: str) -> tuple[Variable, Any]:
    """Return the declaration of a variable and its type."""
    for variable, kind in variables(cls):
        if variable.name == name:
            return variable, kind
    raise AssertionError(f"{cls.__name__} does not read {name}")


@params(variable_rows())
def test_a_variable_has_its_default_and_an_effect(row: Row) -> None:
    for cls in readers(row.service):
        check_default(cls, row.facts)
        check_effect(cls, row.facts["name"])


def check_default(cls: type[CommonSettings], facts: dict[str, Any]) -> None:
    """Assert that the variable holds what is promised where it is not set."""
    variable, _ = known(cls, facts["name"])
    assert variable.required == facts.get("required", False)
    expected = facts.get("default")
    if isinstance(expected, str) and "{random}" in expected:
        assert variable.default is None
        assert expected in variable.purpose
    elif isinstance(variable.default, tuple):
        assert ",".join(variable.default) == (expected or "")
    else:
        assert (variable.default or None) == (expected or None)
        assert isinstance(expected, (str, type(None))) == isinstance(variable.default, (str, type(None)))


def check_effect(cls: type[CommonSettings], name: str) -> None:
    """Assert that the variable changes the settings, and that something reads what it changes."""
    variable, kind = known(cls, name)
    environ = {"MOOG_WEBHOOK_URL": "https://moog.example/events", "VAULT_ROLE_ID": "role", **BESIDE.get(name, {})}
    changed = "2" if name.endswith("_HEARTBEAT_INTERVAL") else another_value(variable, kind)
    assert load(cls, environ | {name: changed}) != load(cls, {name: standing_value(variable)} | environ)
    field = dict(fields(cls))[name]
    assert field in attributes_read(), f"nothing reads {field}"


def another_value(variable: Variable, kind: Any) -> str:
    """Return text for a value that is possible and not the default."""
    if kind is bool:
        return str(not variable.default).lower()
    if variable.choices:
        return next(choice for choice in variable.choices if choice != variable.default)
    if isinstance(variable.default, (int, float)):
        return str(variable.default + 1 if variable.high is None or variable.default + 1 <= variable.high else 1)
    if variable.name.endswith("_ENDPOINT"):
        return "http://another.example:4317"
    return "https://another.example" if "URL" in variable.name or "ADDR" in variable.name else "another"


def standing_value(variable: Variable) -> str:
    """Return text for the default, or for some value where there is none."""
    if variable.required:
        return "https://moog.example/events"
    return ",".join(variable.default) if isinstance(variable.default, tuple) else str(variable.default or "")


def test_a_required_variable_is_named_when_it_is_missing() -> None:
    with pytest.raises(SettingsError, match="MOOG_WEBHOOK_URL"):
        load(SERVICES["moog-forwarder"], {})


def test_every_service_of_the_sheet_has_settings_and_no_other() -> None:
    assert set(SERVICES) == set(SHEET["services"])


@params(dynamic_rows())
def test_a_dynamic_key_has_its_type_and_default(row: Row) -> None:
    facts = row.facts
    assert facts["name"] in dynamic_keys.ALL
    key = dynamic_keys.ALL[facts["name"]]
    assert key.kind.__name__ == facts["type"]
    assert key.default == facts["default"]
    assert list(key.choices) == facts.get("choices", [])
    assert key.variable == facts.get("variable")
    assert key.parse(str(facts["default"])) == facts["default"]


def test_no_dynamic_key_is_undeclared() -> None:
    assert set(dynamic_keys.ALL) == {facts["name"] for facts in SHEET["dynamic"]["keys"]}


def test_dynamic_keys_live_where_operators_look_for_them() -> None:
    assert keys.config("{key}") == SHEET["dynamic"]["key"]
    assert SHEET["dynamic"]["channel"] == keys.CONFIG_UPDATES
