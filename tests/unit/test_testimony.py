"""What a service's health document says to the console while Redis is away."""

from typing import Any

import pytest

from services.web_ui.testimony import ADDRESS, answering, read

AWAY: dict[str, Any] = {"status": "unhealthy", "redis": "disconnected", "postgres": "connected", "version": "2.5"}


def test_an_ingestor_refuses_and_a_worker_waits() -> None:
    refusing, waiting = read("ingestor", "one", 503, AWAY), read("alerter", "two", 503, AWAY)
    assert (refusing.kind, refusing.state, refusing.reaches_redis) == ("critical", "503", False)
    assert (waiting.kind, waiting.state) == ("warn", "waiting")
    assert waiting.words == "redis: disconnected, postgres: connected"
    assert answering([refusing, waiting], "alerter") == 1


def test_its_problems_are_in_its_own_words() -> None:
    said = read("moog-forwarder", "one", 503, AWAY | {"redis": "connected", "problems": {"circuit": "OPEN: no answer"}})
    assert (said.kind, said.state, said.reaches_redis) == ("warn", "unfit", True)
    assert said.words.endswith("circuit: OPEN: no answer")
    assert read("alerter", "one", 200, {"redis": "connected"}).kind == "ok"


def test_what_is_no_health_document_is_no_answer() -> None:
    said = read("alerter", "one", 404, ["nothing"])
    assert (said.kind, said.state, said.reaches_redis) == ("critical", "404", None)
    assert answering([said], "alerter") == 0


@pytest.mark.parametrize("address", ["http://10.0.0.7:8082/health", "http://[fd00::7]:8082/health"])
def test_an_address_of_digits_is_asked(address: str) -> None:
    assert ADDRESS.fullmatch(address)


@pytest.mark.parametrize(
    "address",
    ["", "http://internal.example:80/health", "http://10.0.0.7:80/admin", "https://10.0.0.7:80/health", "file:///etc"],
)
def test_other_addresses_are_not(address: str) -> None:
    assert not ADDRESS.fullmatch(address)
