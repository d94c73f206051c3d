"""systemd units say what the template says."""

import configparser

import pytest

from tests.contract.sheet import ROOT, SHEET, Row, params
from tests.contract.sheet import units as unit_rows


@params(unit_rows())
def test_a_unit_follows_the_template(row: Row) -> None:
    path = ROOT / "systemd" / f"{row.id.removeprefix('unit:')}.service"
    assert path.is_file(), f"{path.name} is missing"
    unit = configparser.RawConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # names of units are case-sensitive
    unit.read(path, encoding="utf-8")
    facts, service = SHEET["unit"], unit["Service"]
    assert (service["User"], service["Group"]) == (facts["user"], facts["group"])
    assert service["WorkingDirectory"] == facts["working_directory"]
    assert service["EnvironmentFile"] == facts["environment_file"]
    assert service["ExecStart"] == facts["exec_start"].format(entry=row.facts)
    assert (service["Restart"], service["RestartSec"]) == (facts["restart"], facts["restart_sec"])
    assert set(facts["after"]) <= set(unit["Unit"]["After"].split())
    for setting in facts["hardening"]:
        name, _, value = setting.partition("=")
        assert service[name] == value
    assert set(facts["read_write_paths"]) <= set(service["ReadWritePaths"].split())
    assert unit["Install"]["WantedBy"] == facts["wanted_by"]


def test_every_service_has_its_unit_listed() -> None:
    assert [row.id.removeprefix("unit:") for row in unit_rows()] == SHEET["commands"]["units"]
    assert len(SHEET["files"]["systemd"]) == len(SHEET["commands"]["units"])


@pytest.mark.parametrize("unit", SHEET["commands"]["units"])
def test_a_units_name_is_the_services_name_in_health(unit: str) -> None:
    assert unit in {facts["health_name"] for facts in SHEET["services"].values()}
