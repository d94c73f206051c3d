"""The systemd units: valid, closed up, and such that any number of instances fits on one machine."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mutt.archive_settings import ArchiveSettings
from mutt.errors import SettingsError
from mutt.settings import POD_NAME_PATTERN, SERVICES, CommonSettings, load
from mutt.variables import variables
from scripts import generate_units
from scripts.devtools.services import SERVICES as PORTS
from tests.contract.sheet import ROOT
from tests.harness.programs import program
from tests.release.units import FOLDER, Unit, read_environment_file

MOST_EXPOSED = 25  # tenths of a point, as systemd-analyze's --threshold takes it
FILES = sorted(path.name for path in FOLDER.iterdir())
TEMPLATES = [name for name in FILES if name.endswith("@.service")]
SINGLE = [f"mutt-{name}.service" for name in SERVICES]
SHIPPED = ROOT / "release" / "mutt.env"


def settings_of(unit: Unit) -> CommonSettings:
    """Return what the unit's service reads of the environment that its unit file gives to it."""
    given = unit.own_environment() | {"MOOG_WEBHOOK_URL": "https://moog.example/events"}
    return load(SERVICES[unit.prefix.removeprefix("mutt-")], given)


def test_the_units_are_as_their_generator_writes_them() -> None:
    written = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}
    assert written == generate_units.units(), "run python -m scripts.generate_units"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a root with systemd's own units, ours and the programs that ours name, as far as verify looks."""
    root = tmp_path_factory.mktemp("system")
    analyze = program("systemd-analyze")
    theirs = next(
        folder
        for folder in map(analyze.companion, ("/usr/lib/systemd/system", "/lib/systemd/system"))
        if folder.exists()
    )
    shutil.copytree(theirs, root / "usr/lib/systemd/system", symlinks=True)
    shutil.copytree(FOLDER, root / "etc/systemd/system")
    for name in ("opt/mutt/venv/bin/python", "bin/kill"):
        (root / name).parent.mkdir(parents=True)
        (root / name).write_text("#!/bin/sh\n", encoding="ascii")
        (root / name).chmod(0o755)
    return root


def analyze(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run systemd-analyze."""
    tool = program("systemd-analyze")
    return subprocess.run(
        [str(tool.path), *arguments], env=tool.environment, capture_output=True, text=True, check=False, timeout=60
    )


def verify(system: Path) -> "subprocess.CompletedProcess[str]":
    """Have systemd read all units; what it does not know is only a line of stderr."""
    files = [str(path) for path in sorted((system / "etc/systemd/system").iterdir()) if path.is_file()]
    return analyze("verify", f"--root={system}", "--man=no", *files)


def test_systemd_finds_nothing_to_say_about_the_units(system: Path) -> None:
    done = verify(system)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_misspelt_setting_and_a_missing_program_would_be_found(system: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(system, broken, symlinks=True)
    unit = broken / "etc/systemd/system/mutt-alerter.service"
    unit.write_text(unit.read_text(encoding="utf-8").replace("ProtectProc", "ProtectPrc"), encoding="utf-8")
    (broken / "opt/mutt/venv/bin/python").unlink()
    found = verify(broken).stderr
    assert "Unknown key 'ProtectPrc'" in found
    assert "/opt/mutt/venv/bin/python is not executable" in found


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".service")])
def test_a_unit_is_closed_up(name: str) -> None:
    done = analyze("security", "--offline=true", f"--threshold={MOST_EXPOSED}", "--no-pager", str(FOLDER / name))
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


def test_an_open_unit_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "open.service").write_text("[Service]\nExecStart=/bin/true\n", encoding="ascii")
    options = ("--offline=true", f"--threshold={MOST_EXPOSED}", "--no-pager")
    assert analyze("security", *options, str(tmp_path / "open.service")).returncode != 0


@pytest.mark.parametrize("name", SINGLE + TEMPLATES)
def test_a_service_is_given_more_time_to_stop_than_it_takes(name: str) -> None:
    unit = Unit(FOLDER / name, "10")
    seconds = int(unit.one("TimeoutStopSec").removesuffix("s"))
    assert seconds >= settings_of(unit).shutdown_grace + 10


def every_instance() -> list[Unit]:
    """Return the five units and the instances 10 to 99 of each template."""
    return [Unit(FOLDER / name) for name in SINGLE] + [
        Unit(FOLDER / name, str(number)) for name in TEMPLATES for number in range(10, 100)
    ]


def test_each_instance_of_a_machine_has_a_name_of_its_own_that_the_service_takes() -> None:
    names = [unit.own_environment()["POD_NAME"] for unit in every_instance()]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(POD_NAME_PATTERN, name) for name in names)


def test_no_two_instances_of_a_machine_want_one_port() -> None:
    taken: list[int] = []
    for unit in every_instance():
        settings_of(unit)  # refuses a port that is none
        own = unit.own_environment()
        documented = PORTS[unit.prefix.removeprefix("mutt-")].ports.values()
        taken += [int(own.get(variable, port)) for variable, port in documented]
    assert len(taken) == len(set(taken)) > 90 * 6 - 1
    assert min(taken) > 1023
    assert max(taken) < 32_768, "the system hands ports from there on to outgoing connections"


@pytest.mark.parametrize("name", [*SINGLE, *TEMPLATES])
def test_a_service_is_reloaded_by_a_hangup_and_one_that_it_does_not_hear_yet_is_not_its_end(name: str) -> None:
    """For systemd a death by SIGHUP is an end in order: `on-failure` alone would not start the service again."""
    unit = Unit(FOLDER / name, "10")
    assert unit.one("ExecReload").endswith("kill -HUP $MAINPID")
    assert unit.one("RestartForceExitStatus") == "SIGHUP"


def test_remediation_has_no_further_instances() -> None:
    assert "mutt-remediation@.service" not in TEMPLATES
    assert len(TEMPLATES) == len(SINGLE) - 1


def test_the_shipped_environment_takes_secrets_from_vault_and_names_what_is_to_be_filled_in() -> None:
    shipped = read_environment_file(SHIPPED)
    assert shipped["VAULT_ADDR"].startswith("https://")
    known = {variable.name for group in (*SERVICES.values(), ArchiveSettings) for variable, _ in variables(group)}
    named = set(re.findall(r"(?m)^#?([A-Z_]+)=", SHIPPED.read_text(encoding="utf-8")))
    assert named <= known
    for service in SERVICES.values():
        with pytest.raises(SettingsError, match=r"VAULT_ROLE_ID|MOOG_WEBHOOK_URL"):
            load(service, shipped)
        load(service, shipped | {"VAULT_ROLE_ID": "role", "MOOG_WEBHOOK_URL": "https://moog.example/events"})
