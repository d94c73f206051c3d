"""The web UI's API as its tests speak to it."""

from typing import Any

import psycopg
import requests
from psycopg.rows import dict_row

from tests.harness.credentials import WEBUI_API_KEY
from tests.harness.processes import ServiceProcess

RULE: dict[str, Any] = {
    "match_string": "link down",
    "match_type": "contains",
    "priority": 500,
    "prod_handling": "Page_and_ticket",
    "dev_handling": "Log_only",
    "team_assignment": "NETO",
}


class Api:
    """Requests to one web UI, with a key unless told otherwise."""

    def __init__(self, service: ServiceProcess, key: str | None = WEBUI_API_KEY) -> None:
        self.service = service
        self.key = key

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> requests.Response:
        """Send a request; `path` begins with a slash, below /api/v2 unless it names another place."""
        place = path if path.startswith("/api/") else f"/api/v2{path}"
        sent = {"X-API-KEY": self.key} if self.key is not None else {}
        return requests.request(
            method, self.service.url + place, json=body, data=data, headers={**sent, **(headers or {})}, timeout=60
        )

    def get(self, path: str, **headers: str) -> requests.Response:
        """GET `path`."""
        return self.call("GET", path, headers=headers)

    def create_rule(self, **changes: Any) -> dict[str, Any]:
        """Create a rule and return it."""
        reply = self.call("POST", "/rules", RULE | changes)
        assert reply.status_code == 201, reply.text
        made: dict[str, Any] = reply.json()
        return made


def error_of(reply: requests.Response, status: int) -> dict[str, Any]:
    """Return an error's body once its shape and status are right."""
    assert reply.status_code == status, reply.text
    body: dict[str, Any] = reply.json()
    versions = {"yours", "stored"} if status == 412 else set()
    assert set(body) - {"details"} == {"error", "correlation_id"} | versions
    assert body["correlation_id"] == reply.headers["X-Correlation-ID"]
    assert reply.headers["X-API-Version"] == "v2.5"
    return body


def changes(database_url: str) -> list[dict[str, Any]]:
    """Return the rows of config_audit_log, oldest first."""
    with psycopg.connect(database_url, row_factory=dict_row) as connection:
        return connection.execute("SELECT * FROM config_audit_log ORDER BY id").fetchall()
