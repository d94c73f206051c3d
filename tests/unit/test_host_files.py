"""Hosts and teams as CSV and JSON: formulas stay text, each bad line is named."""

from typing import Any

import pytest

from mutt import host_files
from mutt.errors import RuleError
from mutt.hosts import validate_host, validate_team

TEAMS = ("hostname", "team_assignment")


def teams(document: str) -> list[dict[str, Any]]:
    return host_files.read(document, TEAMS, "teams", validate_team)


def hosts(document: str) -> list[dict[str, Any]]:
    return host_files.read(document, ("hostname",), "hosts", validate_host)


def test_cells_that_a_spreadsheet_would_calculate_are_quoted_and_read_back() -> None:
    rows = [{"hostname": "core1", "team_assignment": f"{sign}1"} for sign in "=+-@"]
    document = host_files.write_csv(rows, TEAMS)
    assert document.splitlines() == ["hostname,team_assignment", "core1,'=1", "core1,'+1", "core1,'-1", "core1,'@1"]
    assert teams(document.split("\r\n")[0] + "\r\n" + document.split("\r\n")[1]) == [
        {"hostname": "core1", "team_assignment": "=1"}
    ]


@pytest.mark.parametrize(
    "document",
    [
        "core1,NETO\ncore2,DC",
        "\ufeffhostname,team_assignment\r\nCORE1,NETO\r\n\r\n# a comment\r\ncore2.,DC\r\n",
        "Team_assignment,Hostname\nNETO,core1\nDC,core2",
        '[{"hostname": "core1", "team_assignment": "NETO"}, {"hostname": "core2", "team_assignment": "DC"}]',
        '{"teams": [{"hostname": "core1", "team_assignment": "NETO"}, {"hostname": "core2", "team_assignment": "DC"}]}',
    ],
)
def test_csv_and_json_are_told_apart_by_themselves(document: str) -> None:
    assert teams(document) == [
        {"hostname": "core1", "team_assignment": "NETO"},
        {"hostname": "core2", "team_assignment": "DC"},
    ]


def test_hosts_may_be_names_alone() -> None:
    expected = [{"hostname": "lab1"}, {"hostname": "lab2"}]
    assert hosts("lab1\nlab2\n") == hosts('["lab1", "lab2"]') == hosts('{"hosts": ["lab1", "lab2"]}') == expected


def test_every_bad_line_is_named() -> None:
    with pytest.raises(RuleError) as refused:
        teams("core1,NETO\nco re,X\ncore3\ncore1.,Y\na,b,c\n")
    details = refused.value.details
    assert set(details) == {"line 2", "line 3", "line 4", "line 5"}
    assert "no blanks" in details["line 2"]
    assert "team_assignment" in details["line 3"]
    assert details["line 4"] == "hostname: core1 is in line 1 already"
    assert "has 3 cells" in details["line 5"]


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("", "holds no entries"),
        ("[", "is not JSON"),
        ("{}", "has to be a list"),
        ('"a', "is not CSV"),
        ("[5]", "has to be an object"),
        ("[]", "holds no entries"),
    ],
)
def test_what_is_no_list_is_refused_with_what_would_be(document: str, said: str) -> None:
    with pytest.raises(RuleError, match=said):
        teams(document)


@pytest.mark.parametrize("document", ["h{}\n", '"h{}",'], ids=["CSV", "JSON"])
def test_a_list_that_is_too_long_is_refused_without_reading_it_all(document: str) -> None:
    listed = "".join(document.format(number) for number in range(60_000))
    with pytest.raises(RuleError, match="more than 50000 entries"):
        hosts(listed if document.startswith("h") else f"[{listed[:-1]}]")
