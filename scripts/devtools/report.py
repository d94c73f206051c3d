"""What the commands show: the table of services, what to try first, the JSON of `status`."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from scripts.devtools.instance import NAMES, STAND_IN, VAULT, Instance
from scripts.devtools.services import SERVICES
from scripts.devtools.supervisor import HEALTHY, STARTING, STOPPED, UNHEALTHY

if TYPE_CHECKING:
    from scripts.devtools.checks import Check

STYLES = {HEALTHY: "green", STARTING: "yellow", STOPPED: "red", UNHEALTHY: "red"}
MARKS = {HEALTHY: "●", STARTING: "◐", STOPPED: "○", UNHEALTHY: "✗"}


def stopped_document(instance: Instance | None) -> dict[str, Any]:
    """Return the document of `status` for an instance that does not run."""
    known = instance.state().get("services", {}) if instance else {}
    services = {}
    for name in instance.names if instance else NAMES:
        ports = instance.ports(name) if instance else {}
        restarts = known.get(name, {}).get("restarts", 0)
        services[name] = {"pid": None, "state": STOPPED, "restarts": restarts, "ports": ports, "detail": ""}
    return {"phase": STOPPED, "services": services}


async def status_document(instance: Instance) -> dict[str, Any]:
    """Return the document of `status`: what the supervisor knows, and a look at each service's health now."""
    state = instance.state()
    services: dict[str, dict[str, Any]] = state.get("services") or stopped_document(instance)["services"]
    looked = {name: check for name, check in all_checks(instance).items() if is_up(instance, name, services[name])}
    problems = await asyncio.gather(*(check() for check in looked.values()))
    for name, problem in zip(looked, problems, strict=True):
        service = services[name]
        service["detail"] = problem
        if not problem:
            service["state"] = HEALTHY
        elif service["state"] != STARTING:
            service["state"] = UNHEALTHY
    return {"phase": state.get("phase", STARTING), "services": services}


def is_up(instance: Instance, name: str, service: dict[str, Any]) -> bool:
    """Return whether a look at its health makes sense."""
    return bool(service["pid"]) or instance.is_external(name)


def all_checks(instance: Instance) -> "dict[str, Check]":
    """Return the health check of every service and server."""
    from scripts.devtools import checks  # with the clients of the servers

    found = {name: checks.http_check(instance.health_url(name)) for name in (*SERVICES, STAND_IN)}
    found["redis"] = checks.redis_check(instance.redis_url)
    found["postgres"] = checks.postgres_check(instance.database_url)
    if instance.options.vault:
        found[VAULT] = checks.http_check(instance.health_url(VAULT))
    return found


def all_healthy(document: dict[str, Any]) -> bool:
    """Return whether every service is healthy."""
    return all(service["state"] == HEALTHY for service in document["services"].values())


def status_table(document: dict[str, Any], instance: Instance | None) -> Table:
    """Return the table that `status` and `up` show."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title, justify in (("service", "left"), ("state", "left"), ("pid", "right"), ("restarts", "right")):
        table.add_column(title, justify=justify)  # type: ignore[arg-type]
    table.add_column("address")
    table.add_column("detail", overflow="fold")
    for name, service in document["services"].items():
        state = service["state"]
        mark = Text(f"{MARKS.get(state, '◌')} {state}", STYLES.get(state, "yellow"))
        address = addresses(instance, name) if instance else ""
        pid = str(service["pid"] or "-")
        table.add_row(name, mark, pid, str(service["restarts"]), address, escape(service["detail"][:200]))
    return table


def addresses(instance: Instance, name: str) -> str:
    """Return where a service or server listens, for a reader."""
    if instance.is_external(name):
        return "given by URL"
    if name in {"redis", "postgres"}:
        return f"127.0.0.1:{instance.port(name)}"
    if name == VAULT:
        return instance.http_url(name)
    return "\n".join(
        f"{instance.http_url(name, use)}{'' if use in {'http', 'port'} else f'/{use}'}" for use in instance.ports(name)
    )


def show_welcome(console: Console, instance: Instance, command: Callable[[str], str]) -> None:
    """Show the keys and what to try first; `command` makes the line that calls a command of muttdev."""
    values = instance.environment()
    console.print()
    for title, name in (("ingest key", "INGEST_API_KEY"), ("web key", "WEBUI_API_KEY")):
        console.print(f"{title:<12}{values[name]}", highlight=False)
    console.print(f"{'data':<12}{instance.folder}", highlight=False)
    console.print(f'{"variables":<12}eval "$({command("env")})"', highlight=False)
    console.print("\nTry it: an event that pages, then where it went.\n")
    console.print(curl_line(values), highlight=False, soft_wrap=True)
    console.print(f"curl -s {values['MOOG_URL']}/alerts", highlight=False, soft_wrap=True)
    console.print(f"\nMore traffic: {command('send')}     Stop: {command('down')}", highlight=False)


def curl_line(values: dict[str, str]) -> str:
    """Return a command line that posts one event which matches a sample rule."""
    return (
        f"curl -s {values['INGEST_URL']}/api/v2/ingest -H 'X-API-KEY: {values['INGEST_API_KEY']}' -d '"
        '{"timestamp":"\'$(date -u +%FT%TZ)\'","hostname":"core-1.net.example","syslog_severity":3,'
        '"message":"%LINK-3-UPDOWN: Interface TenGigabitEthernet1/0/1, changed state to down"}\''
    )
