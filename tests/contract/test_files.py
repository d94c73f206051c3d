"""Files where operators and deployments look for them, and libraries as decided."""

import re

from tests.contract.sheet import ROOT, SHEET, Row, params
from tests.contract.sheet import files as file_rows
from tests.contract.sheet import services as service_rows

DEVELOPMENT = ("requirements/development.in", "requirements/tests.in")


@params(file_rows())
def test_a_file_is_where_the_deployment_expects_it(row: Row) -> None:
    path = ROOT / row.facts
    assert path.is_file(), f"{row.facts} is missing"
    assert path.stat().st_size > 0


@params(service_rows())
def test_a_services_entry_file_is_listed(row: Row) -> None:
    assert row.facts["entry"] in SHEET["files"]["services"]


def names(*paths: str) -> set[str]:
    """Return the distributions that requirements inputs name."""
    lines = [line for path in paths for line in (ROOT / path).read_text(encoding="utf-8").splitlines()]
    found = (re.match(r"[A-Za-z0-9._-]+", line) for line in lines if not line.startswith(("#", "-")))
    return {match.group().lower() for match in found if match}


def test_the_kept_libraries_are_required() -> None:
    assert set(SHEET["dependencies"]["runtime"]) <= names("requirements/runtime.in")
    assert set(SHEET["dependencies"]["development"]) <= names(*DEVELOPMENT)


def test_a_replaced_library_is_not_needed_at_run_time_and_its_successor_is() -> None:
    runtime, development = names("requirements/runtime.in"), names(*DEVELOPMENT)
    for old, facts in SHEET["dependencies"]["replaced"].items():
        assert old not in runtime
        assert facts["by"] in runtime | development
