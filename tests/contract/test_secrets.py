"""Every secret opens what it is for; of a pair, each alone."""

from collections.abc import Iterator

import pytest

from tests.contract.sheet import SHEET, Row, params
from tests.contract.sheet import secrets as secret_rows
from tests.contract.stack import KEYS, SHORT, Stack, running
from tests.harness.servers import PASSWORD as DATABASE_PASSWORD
from tests.harness.servers import Databases
from tests.harness.waiting import wait_for

REDIS_PASSWORD = "redis-password"
OLD = "a password that is no longer right"


@pytest.fixture(scope="module")
def rotated(tmp_path_factory: pytest.TempPathFactory, databases: Databases) -> Iterator[Stack]:
    """Start services that hold yesterday's secrets as CURRENT and today's as NEXT."""
    changes = {
        "REDIS_PASS_CURRENT": OLD, "REDIS_PASS_NEXT": REDIS_PASSWORD,
        "DB_PASS_CURRENT": OLD, "DB_PASS_NEXT": DATABASE_PASSWORD,
        "INGEST_API_KEY": OLD, "INGEST_API_KEY_NEXT": KEYS["ingestor"],
        "WEBUI_API_KEY": OLD, "WEBUI_API_KEY_NEXT": KEYS["webui"],
    }  # fmt: skip
    with running(tmp_path_factory.mktemp("rotated"), databases, SHORT | changes) as started:
        yield started


def status(stack: Stack, service: str, key: str) -> int:
    """Return the answer that a key gets."""
    if service == "ingestor":
        return stack.request("ingestor", "http", "POST", "/api/v2/ingest", [], key).status
    return stack.request("webui", "http", "GET", "/api/v2/rules", None, key).status


@params(row for row in secret_rows() if row.facts in ("INGEST_API_KEY", "WEBUI_API_KEY"))
def test_a_key_opens_its_service(row: Row, stack: Stack) -> None:
    assert status(stack, row.service, KEYS[row.service]) == 200
    other = next(key for name, key in KEYS.items() if name != row.service)
    assert status(stack, row.service, other) == 401


@params(row for row in secret_rows() if row.facts.endswith("_KEY_NEXT"))
def test_both_keys_of_a_pair_are_valid(row: Row, rotated: Stack) -> None:
    assert status(rotated, row.service, KEYS[row.service]) == 200
    assert status(rotated, row.service, OLD) == 200


@params(row for row in secret_rows() if row.facts.endswith("_PASS_CURRENT"))
def test_the_current_password_is_used(row: Row, stack: Stack) -> None:
    document = stack.services[row.service].wait_health(200)
    assert ("redis" if row.facts.startswith("REDIS") else "postgres") in document


@params(row for row in secret_rows() if row.facts.endswith("_PASS_NEXT"))
def test_the_next_password_is_used_where_the_current_one_is_refused(row: Row, rotated: Stack) -> None:
    document = rotated.services[row.service].wait_health(200)
    assert ("redis" if row.facts.startswith("REDIS") else "postgres") in document


@params(row for row in secret_rows() if row.facts == "MOOG_API_KEY")
def test_the_webhook_gets_its_key(row: Row, stack: Stack) -> None:
    """The stand-in refuses requests without it."""
    before = stack.moogsoft.stats()["count"]
    assert row.service == "moog-forwarder"
    assert stack.post("CONTRACT-PAGE for the key").status == 200
    wait_for(lambda: stack.moogsoft.stats()["count"] > before, "the alert at the stand-in")


def test_every_secret_has_a_test() -> None:
    endings = ("_KEY", "_KEY_NEXT", "_PASS_CURRENT", "_PASS_NEXT")
    assert all(facts["name"].endswith(endings) for facts in SHEET["secrets"])
