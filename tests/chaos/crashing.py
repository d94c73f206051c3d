"""A nursery whose children die by SIGKILL at a named step: `crashing.py TREE DESCRIPTOR`, started by crash_stage.

Nothing in MUTT knows of this. What reaches beyond the process is wrapped from outside, at the lowest level that a
library has: what is sent to Redis, statements, copies and commits of PostgreSQL, requests over HTTP, and what changes
a folder. Each such effect is looked up in the register (points.py) by what it is and by who in MUTT asked for it; one
that is not registered ends the process with UNREGISTERED, however it was reached.
"""

import json
import sys
from collections.abc import Callable, Mapping
from importlib import import_module

from tests.chaos.crash_outside import wrap_files, wrap_http
from tests.chaos.crash_redis import wrap_redis
from tests.chaos.crash_sql import wrap_postgresql
from tests.chaos.killer import Killer
from tests.harness import nursery

MODULES = (
    *(f"services.{name}_service" for name in ("ingestor", "alerter", "moog_forwarder", "remediation", "web_ui")),
    *(f"scripts.{name}" for name in ("archive_old_events", "create_monthly_partitions", "migrate")),
    "scripts.init_dynamic_config",
)


def hurry() -> None:
    """Let what is done every few seconds be done soon: time is no part of these proofs."""
    vars(import_module("services.runtime.figures"))["EVERY"] = 0.2
    vars(import_module("services.web_ui.unrecorded"))["EVERY_SECONDS"] = 0.1


def become(environment: Mapping[str, str]) -> None:
    """Run a file of MUTT's with its effects wrapped, and with a known bug put in where one is asked for."""
    killer = Killer(
        environment.get("MUTT_CRASH_POINT", ""), environment.get("MUTT_CRASH_TRACE", ""), environment["MUTT_CRASH_NAME"]
    )
    hurry()
    if bug := environment.get("MUTT_CRASH_BUG"):
        module, _, name = bug.partition(":")
        put_in: Callable[[], None] = getattr(import_module(module), name)
        put_in()
    wrap_redis(killer)
    wrap_postgresql(killer)
    wrap_http(killer)
    wrap_files(killer)
    nursery.run(environment["MUTT_CRASH_ENTRY"], *json.loads(environment.get("MUTT_CRASH_ARGUMENTS", "[]")))


if __name__ == "__main__":
    for each in MODULES:
        import_module(each)
    nursery.serve(int(sys.argv[2]), become)
