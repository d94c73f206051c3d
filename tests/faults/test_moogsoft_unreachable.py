"""A Moogsoft whose name nobody knows, or whose certificate nobody trusts: alerts wait, and none is given up."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness.processes import StartService
from tests.harness.waiting import wait_for
from tests.service.moog_stage import QUICK, TLS_FOLDER, Moogsoft, Stage

NOBODY = "https://moogsoft.invalid/events"
PROBES = 3


@pytest.fixture
def moogsoft() -> Iterator[Moogsoft]:
    server = Moogsoft(tls=True)
    yield server
    server.close()


@pytest.mark.parametrize(
    ("url", "words"), [(NOBODY, "moogsoft.invalid"), (None, "name its authority in MOOG_CA_CERT_PATH")]
)
def test_alerts_wait_while_moogsoft_cannot_be_found_or_trusted(
    redis_url: str, moogsoft: Moogsoft, start_service: StartService, url: str | None, words: str
) -> None:
    stage = Stage(redis_url)
    ids = stage.send(*(f"alert {number}" for number in range(20)))
    quick: dict[str, Any] = {**QUICK, "MOOG_CIRCUIT_OPEN_SECONDS": "1"}
    lost = start_service("moog-forwarder", wait=False, **quick, MOOG_WEBHOOK_URL=url or moogsoft.url)
    told = lost.wait_health(503)
    assert '"failing":["circuit"]' in told
    assert words in told

    def failed() -> float:
        return lost.metric("mutt_moog_requests_total", status="fail", reason="connection") or 0

    begun = failed()
    wait_for(lambda: failed() >= begun + PROBES, "probes that fail")
    assert stage.dead() == []
    assert lost.terminate() == 0
    trusted = str(TLS_FOLDER / "certificate.pem")
    start_service("moog-forwarder", **quick, MOOG_CA_CERT_PATH=trusted, MOOG_WEBHOOK_URL=moogsoft.url)
    moogsoft.wait_delivered(len(ids))
    assert {alert["external_id"] for request in moogsoft.requests for alert in request.alerts} == set(ids)
    wait_for(stage.is_empty, "the end of all alerts")
