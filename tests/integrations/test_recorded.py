"""Senders that have no package to run here: their documented bytes over a socket to a running ingestor and alerter."""

import secrets
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from tests.harness.waiting import wait_for
from tests.integrations.recorded.wire import NAMES, recorded, send
from tests.integrations.stage import Stage

LINK = "%LINK-3-UPDOWN: Interface Gi0/1 Überlast 漢"
LINES = 'Traceback:\n  first\n\tsecond "quoted"'


@dataclass(frozen=True)
class Case:
    """What becomes of a sender's two events; `digits` of a second, `once` whether a repeated request is known again."""

    digits: int = 6
    source: str | None = "ios"
    once: bool = True
    messages: tuple[str, str] = (LINK, LINES)
    apart: int = 1  # seconds


CASES = {
    "fluent-bit": Case(source=None, once=False),
    "logstash": Case(digits=3),
    "otel-collector": Case(),
    "otel-sdk-json": Case(),
    "rsyslog-omhttp": Case(source="syslog"),
    "splunk-hec-cribl": Case(),
    "splunk-hec-fluent-bit": Case(source=None, once=False),
    "splunk-hec-raw": Case(once=False, messages=(f"<187>{LINK}", '<188>Traceback: "quoted"'), apart=0),
    "splunk-hec-vector": Case(),
    "telegraf": Case(digits=3, once=False),
    "vector": Case(),
}


def now() -> datetime:
    """Return a moment of just now, with six digits behind the second."""
    return datetime.now(UTC).replace(microsecond=123_456) - timedelta(seconds=5)


def answers(stage: Stage, data: bytes, status: int) -> bool:
    """Tell whether a request is answered with a status."""
    return send(stage.url, data)[0] == status


def check(stage: Stage, name: str, host: str, moment: datetime) -> None:
    """Look at the audit rows of the two events."""
    case = CASES[name]
    rows = stage.wait_rows(host, 2)
    first = moment.replace(microsecond=int(f"{moment.microsecond:06d}"[: case.digits].ljust(6, "0")))
    assert [row["message"] for row in rows] == list(case.messages)
    assert [row["syslog_severity"] for row in rows] == [3, 4]
    assert [row["event_timestamp"] for row in rows] == [first, first + timedelta(seconds=case.apart)]
    assert {row["source"] for row in rows} == {case.source}
    assert {row["hostname"] for row in rows} == {host}


def test_every_recorded_sender_is_tried() -> None:
    assert sorted(CASES) == NAMES


@pytest.mark.parametrize("name", CASES)
def test_events_arrive_complete_and_a_repeated_request_is_known_by_its_ids(stage: Stage, name: str, host: str) -> None:
    moment = now()
    data = recorded(name, stage.url, host, moment)

    status, _, body = send(stage.url, data)
    assert status == 200, body
    check(stage, name, host, moment)

    assert send(stage.url, data)[0] == 200
    rows = stage.wait_rows(host, 2 if CASES[name].once else 4)
    assert len(rows) == (2 if CASES[name].once else 4)


def test_what_was_not_taken_while_mutt_was_away_is_complete_when_it_is_sent_again(stage: Stage) -> None:
    moment = now()
    waiting = {
        name: (host, recorded(name, stage.url, host, moment))
        for name in CASES
        for host in (f"host-{secrets.token_hex(4)}.example",)
    }
    with stage.outage():
        for _, data in waiting.values():
            with suppress(ConnectionError):
                send(stage.url, data)
                raise AssertionError("something answered while MUTT was away")
    for name, (host, data) in waiting.items():
        assert send(stage.url, data)[0] == 200, name
        check(stage, name, host, moment)


def test_each_is_told_to_come_back_while_the_queue_is_full(stage: Stage) -> None:
    moment = now()
    waiting = {name: recorded(name, stage.url, f"full-{name}.example", moment) for name in CASES}
    with stage.full_queue():
        for name, data in waiting.items():
            wait_for(partial(answers, stage, data, 503), f"a 503 for {name}")
            _, headers, body = send(stage.url, data)
            assert int(headers["retry-after"]) >= 1
            assert b"full" in body, name
    for name, data in waiting.items():
        wait_for(partial(answers, stage, data, 200), f"room for {name}")
