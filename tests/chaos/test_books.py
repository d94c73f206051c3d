"""The books themselves: each thing that the promise does not allow is put there, and found."""

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import redis

from mutt import keys
from tests.chaos.books import claims, faults
from tests.chaos.load import Ledger

Break = Callable[["Books"], None]


class Books:
    """A ledger of four events, and all that MUTT has of them: well at first."""

    def __init__(self, database_url: str, client: Any) -> None:
        self.ledger, self.client, self.database_url = Ledger(), client, database_url
        self.alerts: list[dict[str, Any]] = []
        self.ids: dict[str, str] = {}
        for words, handling in (
            ("PAGE", "Page_and_ticket"),
            ("LOG", "Log_only"),
            ("nobody knows", "Unhandled"),
            ("FLIP", "Email_only"),
        ):
            event = {"correlation_id": str(uuid4()), "message": f"{words}: job 1"}
            self.ledger.note([event], 0)
            self.ids[words] = event["correlation_id"]
            self.audit(event["correlation_id"], handling)
        values = {"id": 7, "version": 3, "prod_handling": "Email_only"}
        self.sql(
            "INSERT INTO config_audit_log (changed_by, operation, table_name, record_id, new_values)"
            " VALUES ('me', 'UPDATE', 'alert_rules', '7', %s)",
            json.dumps(values),
        )
        self.quarantine("bad-1")
        self.ledger.note([], 0, ["bad-1"])

    def audit(self, correlation_id: str, handling: str, source: str = "test") -> None:
        """Write an audit row, and deliver its alert where it owes one."""
        event_id, is_forwarded = str(uuid4()), handling in {"Page_and_ticket", "Email_only"}
        self.sql(
            "INSERT INTO event_audit_log (event_id, correlation_id, event_timestamp, received_at, hostname, message,"
            " source, handling, team, environment, forwarded, rule_id, rule_version)"
            " VALUES (%s, %s, now(), now(), 'h', 'm', %s, %s, 'NETO', 'prod', %s, 7, 3)",
            *(event_id, correlation_id, source, handling, is_forwarded),
        )
        if is_forwarded:
            self.alerts.append({"external_id": event_id})

    def tell_twice(self) -> None:
        """Write two meta-alerts of one pattern."""
        for _ in range(2):
            self.audit(str(uuid4()), "Log_only", "mutt")

    def sql(self, statement: str, *parameters: Any) -> None:
        """Execute a statement."""
        with psycopg.connect(self.database_url) as connection:
            connection.execute(statement.encode(), parameters)

    def quarantine(self, mark: str) -> None:
        """Put a rejected record into quarantine."""
        self.client.lpush(keys.QUARANTINE, json.dumps({"_mutt": {}, "raw": json.dumps({"message": mark})}))


BREAKS: dict[str, Break] = {
    "acknowledged, but neither audited nor visible": lambda books: books.ledger.note(
        [{"correlation_id": str(uuid4()), "message": "LOG: gone"}], 0
    ),
    "audited more than once": lambda books: books.audit(books.ids["LOG"], "Log_only"),
    "audited, but never acknowledged": lambda books: books.audit(str(uuid4()), "Log_only"),
    "owed to Moogsoft, but neither delivered nor visible": lambda books: books.alerts.clear(),
    "delivered, but not owed": lambda books: books.alerts.append({"external_id": str(uuid4())}),
    "judged wrongly": lambda books: books.sql("UPDATE event_audit_log SET handling = 'Suppress' WHERE NOT forwarded"),
    "meta-alerts beside the one": lambda books: books.tell_twice(),
    "rejected, but not in quarantine": lambda books: books.ledger.note([], 0, ["bad-2"]),
}


@pytest.fixture
def books(database_url: str, redis_url: str) -> Books:
    """Make books that are well."""
    return Books(database_url, redis.Redis.from_url(redis_url))


def test_books_that_are_well_have_no_fault(books: Books) -> None:
    assert faults(books.ledger, books.client, books.database_url, books.alerts) == []


@pytest.mark.parametrize("claim", BREAKS)
def test_whatever_the_promise_does_not_allow_is_found(books: Books, claim: str) -> None:
    BREAKS[claim](books)
    found = claims(books.ledger, books.client, books.database_url, books.alerts)
    assert {name for name, ids in found.items() if ids} == {claim}


def test_every_claim_has_been_broken_once(books: Books) -> None:
    assert set(claims(books.ledger, books.client, books.database_url, books.alerts)) == set(BREAKS)


def test_a_rules_version_that_is_not_on_record_judges_nothing(books: Books) -> None:
    books.sql("UPDATE event_audit_log SET rule_version = 4 WHERE handling = 'Email_only'")
    (fault,) = faults(books.ledger, books.client, books.database_url, books.alerts)
    assert "judged wrongly" in fault


def test_what_a_sender_must_never_be_told_is_a_fault(books: Books) -> None:
    books.ledger.complain("status 500")
    assert faults(books.ledger, books.client, books.database_url, books.alerts) == ["a sender was told: status 500"]
