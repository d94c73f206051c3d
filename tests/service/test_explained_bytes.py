"""What an explanation shows as Moogsoft's is what Moogsoft gets, byte for byte."""

import json
from typing import Any

import pytest

from tests.harness.entries import queue_entry
from tests.harness.processes import StartService
from tests.harness.waiting import wait_for
from tests.service.moog_stage import Moogsoft, to
from tests.service.trail import FAST, Trail
from tests.service.web_api import Api


@pytest.mark.parametrize(("profile", "mode"), [("onprem", "single"), ("saas", "events")])
def test_an_explained_event_arrives_as_it_was_shown(
    trail: Trail, moogsoft: Moogsoft, start_service: StartService, profile: str, mode: str
) -> None:
    sending: dict[str, Any] = {"MOOG_PROFILE": profile, "MOOG_BATCH_MODE": mode}
    api = Api(start_service("webui", **sending))
    rule = api.create_rule(match_string="UPDOWN", prod_handling="Page_and_ticket", team_assignment="CORE")
    trail.sql("INSERT INTO device_teams (hostname, team_assignment) VALUES ('core1.example', 'EDGE')")
    message = "%LINK-3-UPDOWN: Interface Gi0/1 \u202e <b>étage</b> \x1b[31m, changed state to down"
    event_id, entry = queue_entry(
        message, "Core1.example", syslog_severity=3, source="syslog", zone={"floor": 1.50, "wing": [None, "é"]}
    )
    start_service("alerter", **FAST)
    start_service("moog-forwarder", **to(moogsoft, **sending))
    shown = api.call("POST", "/rules/explain", {"event": entry.decode()}).json()
    trail.send(entry)
    wait_for(lambda: moogsoft.requests, "the alert at Moogsoft")
    (request,) = moogsoft.requests
    assert shown["moogsoft"].encode() == request.body
    assert (shown["winner"]["id"], shown["team"], shown["team_from"]) == (rule["id"], "EDGE", "the host's own team")
    # The audit keeps the members, not their order.
    trail.wait_rows(1)
    audited = api.call("POST", "/rules/explain", {"event_id": event_id}).json()
    assert json.loads(audited["moogsoft"]) == json.loads(request.body)
