"""The API under what nobody would send on purpose: made up from its own description, and by hand."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.harness.credentials import WEBUI_API_KEY
from tests.harness.processes import StartService
from tests.service.web_api import RULE, Api, error_of

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,"
    "response_headers_conformance"
)
STRICT = f"{CHECKS},negative_data_rejection"
# What a request may be refused with that breaks a schema; a version is looked at before the fields.
REFUSALS = """\
[checks]
negative_data_rejection.expected-statuses = [400, 401, 403, 404, 409, 412, 413]
"""
# By the operations' tags; any text is a file of one host, so of files nothing is too strange to be taken.
PARTS = (
    (STRICT, "rules"),
    (STRICT, "history", "dead-letters", "metrics", "slo"),
    (STRICT, "dev-hosts", "teams", "config", "audit"),
    (CHECKS, "files"),
)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("part", PARTS, ids=[part[1] for part in PARTS])
def test_whatever_is_sent_is_answered_as_the_description_says(
    start_service: StartService, tmp_path: Path, part: tuple[str, ...]
) -> None:
    checks, *tags = part
    service = start_service("webui")
    headers = {"X-API-KEY": WEBUI_API_KEY}
    document = requests.get(f"{service.url}/api/v2/openapi.json", headers=headers, timeout=60).json()
    for methods in document["paths"].values():
        for operation in methods.values():
            del operation["responses"]["default"]
    described = tmp_path / "openapi.json"
    described.write_text(json.dumps(document))
    (tmp_path / "schemathesis.toml").write_text(REFUSALS)
    command = ["run", str(described), "--url", service.url, "--header", f"X-API-KEY: {WEBUI_API_KEY}"]
    command += ["--checks", checks, "--phases", "coverage,fuzzing", "--max-examples", "2", "--seed", "5"]
    command += ["--no-color", "--generation-database", "none"]
    command += [each for tag in tags for each in ("--include-tag", tag)]
    done = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", *command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-4000:]


@pytest.fixture
def api(start_service: StartService) -> Api:
    """Run a web UI."""
    return Api(start_service("webui"))


HOSTILE: tuple[tuple[str, str, Any, str], ...] = (
    ("POST", "/rules", b"", "empty"),
    ("POST", "/rules", b'{"priority": 1', "not JSON"),
    ("POST", "/rules", b'{"name": "\xff"}', "not JSON"),
    ("POST", "/rules", b"[" * 100_000, "not JSON"),
    ("POST", "/rules", b"[]", "JSON object"),
    ("POST", "/rules", RULE | {"name": "a\0b"}, "name"),
    ("POST", "/rules", RULE | {"team": "NETO"}, "team"),
    ("POST", "/rules", RULE | {"priority": 2**70}, "priority"),
    ("POST", "/rules", RULE | {"priority": 1.5}, "priority"),
    ("POST", "/rules", RULE | {"priority": True}, "priority"),
    ("POST", "/rules", RULE | {"team_assignment": ["NETO"]}, "team_assignment"),
    ("POST", "/rules", RULE | {"reason": False}, "reason"),
    ("POST", "/rules", RULE | {"reason": "a\0b"}, "reason"),
    ("POST", "/teams?reason=a%00b", {"hostname": "a", "team_assignment": "b"}, "reason"),
    ("PUT", "/config/moog_rate_limit", {"value": 2**70}, "value"),
    ("PUT", "/config/moog_rate_limit", {"value": [1]}, "value"),
    ("PUT", "/config/slo_window_hours", {"value": 1e300}, "value"),
    ("PUT", "/config/moog_rate_limit", {"value": 1, "version": True}, "version"),
    ("GET", "/rules/99999999999999999999", None, "id"),
    ("GET", "/rules/one", None, "id"),
    ("GET", "/rules?offset=99999999999999999999", None, "offset"),
    ("GET", "/audit-logs?hostname=a%00b", None, "hostname"),
    ("GET", "/audit-logs?q=a%00b", None, "q"),
    ("GET", "/audit-logs?event_id=17", None, "event_id"),
    ("GET", "/audit-logs?page=99999999999999999999", None, "page"),
    ("GET", "/audit-logs?cursor=%00", None, "cursor"),
    ("GET", "/config-audit?changed_by=%00", None, "changed_by"),
    ("GET", "/events/%00", None, "id"),
    ("POST", "/rules/dry-run", {"rule": RULE, "hours": 2**70}, "hours"),
    ("POST", "/rules/dry-run", {"rule": RULE, "hour": 1}, "hour"),
    ("POST", "/rules/explain", {"event": {}, "evnt": 1}, "evnt"),
    ("POST", "/rules/1/revert", {"version": 1, "to": "before"}, "to"),
    ("POST", "/config-audit/1/revert", {"to": ["before"]}, "to"),
    ("GET", "/dead-letters/nowhere", None, "queue"),
    ("POST", "/dead-letters/moog/replay", {"filter": {}, "start": 2**70}, "start"),
    ("POST", "/dead-letters/moog/replay", {"letters": [{"event_id": "a", "sha256": "b", "index": 2**70}]}, "index"),
    ("POST", "/dead-letters/moog/replay", {"filter": {}, "before": "soon"}, "before"),
    ("POST", "/dead-letters/moog/delete", {"filter": {}, "all": True}, "all"),
    ("POST", "/dead-letters/moog/edit", {"filter": {}, "set": []}, "set"),
)


def test_what_is_wrong_is_named_and_never_a_500(api: Api) -> None:
    for method, path, body, named in HOSTILE:
        sent = {"data": body} if isinstance(body, bytes) else {"body": body}
        said = error_of(api.call(method, path, **sent), 400)
        assert named in said["error"] or named in said.get("details", {}), (path, said)


def test_ranges_of_time_at_the_ends_of_all_time_are_empty_and_no_failure(api: Api) -> None:
    for query in ("end_date=9999-12-31", "start_date=9999-12-31", "end_date=0001-01-01&q=x", "start_date=0001-01-01"):
        assert api.get(f"/audit-logs?{query}").json()["logs"] == [], query
        if "q=" not in query:
            assert api.get(f"/config-audit?{query}").json()["changes"] == [], query


def test_every_operation_is_there_under_the_old_path_too(api: Api) -> None:
    for path, methods in api.get("/openapi.json").json()["paths"].items():
        place = path.replace("{id}", "0").replace("{", "").replace("}", "")
        for method in methods:
            new = api.call(method.upper(), place, {})
            old = api.call(method.upper(), place.replace("/api/v2/", "/api/v1/"), {})
            assert (old.status_code, old.status_code not in {404, 405} or "nothing at" not in old.text) == (
                new.status_code,
                True,
            ), (method, path)
            assert ("X-API-Deprecated" in old.headers) == (not path.endswith("/slo"))
            assert "X-API-Deprecated" not in new.headers
