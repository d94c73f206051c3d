"""What the doctor says: exit status, document, near misses of variables, environment files."""

import pytest

from mutt.errors import SettingsError
from mutt.findings import complaints, document, exit_status, nearly, ok, problem, read_environment_file, warning

WELL, ODD, BAD = ok("a", "1"), warning("b", "2", "do this"), problem("c", "3", "do that")


def test_only_a_problem_fails_unless_warnings_are_to() -> None:
    assert exit_status([WELL, ODD]) == 0
    assert exit_status([WELL, ODD], strict=True) == 1
    assert exit_status([WELL, ODD, BAD]) == 1


def test_the_document_leads_with_the_worst() -> None:
    assert document([WELL])["state"] == "ok"
    assert document([WELL, ODD])["state"] == "warning"
    told = document([BAD, ODD])
    assert told["state"] == "problem"
    assert told["findings"][0] == {"what": "c", "state": "problem", "seen": "3", "remedy": "do that"}


def test_a_variable_that_differs_by_a_letter_is_named_with_the_one_that_is_meant() -> None:
    known = {"ALERTER_MAX_RETRIES", "LOG_LEVEL"}
    assert nearly(["ALERTER_MAX_RETRYS", "LOG_LEVEL", "HOME", "PATH"], known) == {
        "ALERTER_MAX_RETRYS": "ALERTER_MAX_RETRIES"
    }


def test_an_environment_file_is_read_as_systemd_reads_it() -> None:
    text = "# comment\n; another\n\nREDIS_HOST=redis.example\nA='x y'\nB=\"z\"\nC=a b = c\n"
    assert read_environment_file(text, "mutt.env") == {
        "REDIS_HOST": "redis.example",
        "A": "x y",
        "B": "z",
        "C": "a b = c",
    }


@pytest.mark.parametrize("line", ["export A=1", "no assignment", "A=b\\"])
def test_a_line_that_is_no_assignment_is_named(line: str) -> None:
    with pytest.raises(SettingsError, match=r"mutt\.env, line 2: NAME=value is needed"):
        read_environment_file(f"A=1\n{line}\n", "mutt.env")


def test_a_health_document_is_told_in_words_each_trouble_once() -> None:
    document = {
        "status": "unhealthy",
        "redis": "disconnected",
        "postgres": "connected",
        "vault": "disconnected",
        "failing": ["redis", "circuit"],
        "problems": {"circuit": "OPEN: Moogsoft answers 503"},
        "notes": {"vault": "no answer since 09:00", "lease": "held"},
        "queue_depth": None,
        "service": "mutt-moog-forwarder",
    }
    assert complaints(document) == (
        "redis: disconnected; vault: no answer since 09:00; circuit: OPEN: Moogsoft answers 503"
    )
