"""Each operation of the API gives each reply that its description lists, and gives it as it is described."""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from redis import Redis
from requests.structures import CaseInsensitiveDict

from scripts.devtools.embedded import PostgresServer, RedisServer
from services.web_ui.bodies import BODY_MAX
from services.web_ui.description import EXAMPLES
from services.web_ui.imports import DOCUMENT_MAX
from tests.harness.credentials import WEBUI_API_KEY
from tests.harness.processes import StartService
from tests.service.browser import Browser
from tests.service.web_contract import API, Contract, Exchange, Reply
from tests.service.web_contract_steps import STEPS, counted

ROLES = ("viewer", "operator", "editor", "admin")
NAMED = json.dumps(
    {f"the-{role}": {"sha256": hashlib.sha256(f"key-{role}".encode()).hexdigest(), "role": role} for role in ROLES}
)
# What stands in paths where no such thing has to be.
ANY = {"id": 4711, "hostname": "nobody", "key": "moog_rate_limit", "queue": "moog", "operation": "none", "run": "none"}
ANY |= {"event_id": "unreadable"}
RECORD = "RECORD_API_EXAMPLES"


@pytest.fixture
def contract(start_service: StartService) -> Contract:
    """Run a web UI with a key of each role."""
    return Contract(start_service("webui", WEBUI_API_KEYS=NAMED))


def in_path(operation: str) -> dict[str, Any]:
    return {name: value for name, value in ANY.items() if f"{{{name}}}" in operation}


def with_status(contract: Contract, status: int) -> list[str]:
    return [operation for operation, each in contract.promised if each == status]


@pytest.mark.timeout(240)
def test_every_reply_that_is_described_is_given_as_it_is_described(
    own_redis: RedisServer, own_postgres: PostgresServer, own_database_url: str, contract: Contract
) -> None:
    redis = Redis.from_url(own_redis.url)
    counted(redis)
    slow = ThreadPoolExecutor(64)
    late = {name: slow.submit(half_a_body, contract, name) for name in with_status(contract, 408)}
    for step in STEPS:
        step(contract, own_database_url, redis)
    refuse_callers(contract)
    for operation in with_status(contract, 413):
        most = DOCUMENT_MAX if operation.endswith("/import") else BODY_MAX
        contract.ask(operation, 413, data=b" " * (most + 1), **in_path(operation))
    for name, reply in late.items():
        contract.take(name, Exchange({}, "", None, reply.result()))
    stop_servers(contract, own_redis, own_postgres)
    assert contract.promised - set(contract.seen) == set()
    if RECORD in os.environ:
        Path(EXAMPLES).write_text(json.dumps(contract.examples(), ensure_ascii=False, indent=1) + "\n")


def refuse_callers(contract: Contract) -> None:
    """Ask without a key, with one that may not, and with a session that does not prove itself."""
    browser = Browser(contract.service).sign_in()
    cookie = {"Cookie": "; ".join(f"{each.name}={each.value}" for each in browser.cookies)}
    for operation in contract.operations:
        contract.ask(operation, 401, caller=None, **in_path(operation))
    for operation in with_status(contract, 403):
        below = ROLES.index(contract.operations[operation]["x-role"]) - 1
        if below >= 0:
            contract.ask(operation, 403, caller=f"key-{ROLES[below]}", **in_path(operation))
        else:
            contract.ask(operation, 403, caller=None, headers=cookie, **in_path(operation))


def half_a_body(contract: Contract, operation: str) -> Reply:
    """Return what a sender hears that promises a body and sends half of it."""
    method, path = operation.split(" ")
    for name, value in ANY.items():
        path = path.replace(f"{{{name}}}", str(value))
    line = HTTPConnection(urlsplit(contract.service.url).netloc, timeout=60)
    line.putrequest(method, f"{API}{path}")
    for name, value in (("X-API-KEY", WEBUI_API_KEY), ("Content-Type", "application/json"), ("Content-Length", "9")):
        line.putheader(name, value)
    line.endheaders(b"{")
    reply = line.getresponse()
    with closing(line):
        return Reply(reply.status, CaseInsensitiveDict(reply.getheaders()), reply.read().decode())


def stop_servers(contract: Contract, redis: RedisServer, postgres: PostgresServer) -> None:
    """Send what was answered well once more, without PostgreSQL, and then without Redis too."""
    wanted = with_status(contract, 503)
    succeeded = {name: each for (name, status), each in contract.seen.items() if status < 300}

    def repeat(name: str) -> tuple[str, Exchange]:
        was = succeeded[name]
        return name, was._replace(reply=contract.send(name, was.data, kind=was.type, **was.parameters))

    for server in (postgres, redis):
        server.kill()
        contract.service.wait_health(503)
        with ThreadPoolExecutor(16) as pool:
            for name, exchange in pool.map(repeat, wanted):
                if exchange.reply.status == 503:
                    contract.take(name, exchange)
        wanted = [name for name in wanted if (name, 503) not in contract.seen]
    for server in (postgres, redis):
        server.start()


def test_each_role_may_do_what_is_described_and_no_more(contract: Contract) -> None:
    wrong = []
    for operation, told in contract.operations.items():
        for place, role in enumerate((None, *ROLES)):
            key = None if role is None else f"key-{role}"
            status = contract.send(operation, b"{}", caller=key, **in_path(operation)).status
            may = place > ROLES.index(told["x-role"])
            expected = 401 if role is None else None if may else 403
            if (expected or status) != status or (may and status in {401, 403}) or status >= 500:
                wrong.append((operation, role, status))
    assert wrong == []
