"""The API held to its own description: each exchange is checked against it and kept, by operation and status."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import jsonschema_rs
import requests

from tests.harness.credentials import WEBUI_API_KEY
from tests.harness.processes import ServiceProcess

API = "/api/v2"
JSON = "application/json"
LONGEST_LIST = 2  # entries of a list that an example keeps


class Reply(NamedTuple):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def ok(self) -> bool:
        """Whether the request did what it was for."""
        return self.status < 400

    @property
    def type(self) -> str:
        """Return the content's type."""
        return self.headers["Content-Type"].split(";")[0]

    def value(self) -> Any:
        """Return the content: what JSON says, else the text."""
        return json.loads(self.text) if self.type == JSON else self.text


class Exchange(NamedTuple):
    """A request that was sent, ready to be sent again, and what came back."""

    parameters: dict[str, Any]
    type: str
    data: bytes | None
    reply: Reply


class Contract:
    """Sends requests by their operation, such as `PUT /rules/{id}`, and checks the replies."""

    def __init__(self, service: ServiceProcess) -> None:
        self.service = service
        self.document: dict[str, Any] = requests.get(
            f"{service.url}{API}/openapi.json", headers={"X-API-KEY": WEBUI_API_KEY}, timeout=60
        ).json()
        self.operations: dict[str, dict[str, Any]] = {
            f"{method.upper()} {path.removeprefix(API)}": told
            for path, methods in self.document["paths"].items()
            for method, told in methods.items()
        }
        self.seen: dict[tuple[str, int], Exchange] = {}

    @property
    def promised(self) -> set[tuple[str, int]]:
        """What the description says that there can be; what it calls `default` is no promise."""
        return {
            (name, int(status))
            for name, told in self.operations.items()
            for status in told["responses"]
            if status != "default"
        }

    def ask(
        self,
        operation: str,
        status: int,
        body: Any = None,
        /,
        *,
        data: str | bytes | None = None,
        kind: str = JSON,
        caller: str | None = WEBUI_API_KEY,
        headers: dict[str, str] | None = None,
        **parameters: Any,
    ) -> Any:
        """Send a request, check its reply and keep both; returns the reply's JSON, or its text."""
        raw = data.encode() if isinstance(data, str) else json.dumps(body).encode() if body is not None else data
        reply = self.send(operation, raw, kind=kind, caller=caller, headers=headers, **parameters)
        assert reply.status == status, (operation, reply.status, reply.text)
        if reply.ok and body is not None:
            self._check(self.operations[operation]["requestBody"]["content"][kind]["schema"], body, operation)
        return self.take(operation, Exchange(parameters, kind, raw, reply))

    def send(
        self,
        operation: str,
        raw: bytes | None,
        /,
        *,
        kind: str = JSON,
        caller: str | None = WEBUI_API_KEY,
        headers: dict[str, str] | None = None,
        **parameters: Any,
    ) -> Reply:
        """Send a request; parameters are put where the description says that they belong."""
        method, path = operation.split(" ")
        sent = {"X-API-KEY": caller} if caller is not None else {}
        sent |= {"Content-Type": kind} if raw is not None else {}
        query = {}
        places = {each["name"]: each["in"] for each in self.operations[operation].get("parameters", ())}
        for name, value in parameters.items():
            if f"{{{name}}}" in path:
                path = path.replace(f"{{{name}}}", str(value))
            elif name == "if_match":
                sent["If-Match"] = str(value)
            else:
                assert places[name] == "query", (operation, name)
                query[name] = value
        url = f"{self.service.url}{API}{path}"
        got = requests.request(method, url, data=raw, params=query, headers=sent | (headers or {}), timeout=40)
        return Reply(got.status_code, got.headers, got.content.decode())

    def take(self, operation: str, exchange: Exchange) -> Any:
        """Check a reply against the description and keep the first of its kind."""
        reply = exchange.reply
        told = self.operations[operation]["responses"]
        assert str(reply.status) in told, (operation, reply.status, reply.text)
        response = told[str(reply.status)]
        assert reply.type in response["content"], (operation, reply.status, reply.type)
        missing = set(response["headers"]) - {name for name in response["headers"] if name in reply.headers}
        assert not missing, (operation, reply.status, missing)
        found = reply.value()
        self._check(response["content"][reply.type]["schema"], found, operation)
        if not reply.ok:
            assert found["correlation_id"] == reply.headers["X-Correlation-ID"]
        self.seen.setdefault((operation, reply.status), exchange)
        return found

    def examples(self) -> dict[str, Any]:
        """Return one exchange for each reply, as services/web_ui/api_examples.json keeps them."""
        found: dict[str, Any] = {}
        for (operation, status), exchange in sorted(self.seen.items()):
            method, path = operation.split(" ")
            kept = found.setdefault(f"{method} {API}{path}", {"request": {}, "replies": {}})
            reply = exchange.reply
            kept["replies"][str(status)] = {"type": reply.type, "body": short(reply.value())}
            if reply.ok:
                named = {"If-Match" if name == "if_match" else name: each for name, each in exchange.parameters.items()}
                kept["request"] = {"parameters": named}
                if exchange.data is not None:
                    body = json.loads(exchange.data) if exchange.type == JSON else exchange.data.decode()
                    kept["request"] |= {"type": exchange.type, "body": body}
        return found

    def _check(self, schema: dict[str, Any], found: Any, what: str) -> None:
        check(self.document, schema, found, what)


def check(document: dict[str, Any], schema: dict[str, Any], found: Any, what: str) -> None:
    """Assert that a value is as a schema of the document says."""
    whole = {**schema, "components": document["components"]}
    errors = list(jsonschema_rs.Draft202012Validator(whole, validate_formats=True).iter_errors(found))
    assert not errors, (what, [f"{error.instance_path}: {error.message}" for error in errors])


def short(value: Any) -> Any:
    """Return a value with its lists cut."""
    if isinstance(value, list):
        return [short(each) for each in value[:LONGEST_LIST]]
    return {name: short(each) for name, each in value.items()} if isinstance(value, dict) else value
