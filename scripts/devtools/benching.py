"""The command that measures: which module of benchmarks/ it becomes, in the tests' environment."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from scripts.devtools.instance import UserError
from scripts.devtools.proving import become


class AppendFsync(StrEnum):
    """Redis's append-only file."""

    OFF = "off"
    EVERYSEC = "everysec"
    ALWAYS = "always"


def bench(
    context: typer.Context,
    *,
    quick: Annotated[bool, typer.Option("--quick", help="A tenth of the events, one run.")] = False,
    only: Annotated[list[str] | None, typer.Option(help="This row alone; more than once: these.")] = None,
    runs: Annotated[int | None, typer.Option(help="Rounds: 3, or 1 with --quick.", min=1)] = None,
    json: Annotated[Path | None, typer.Option(help="Write the figures into this file too.")] = None,
    write: Annotated[bool, typer.Option("--write", help="Write the tables in the documents anew.")] = False,
    appendfsync: Annotated[AppendFsync | None, typer.Option(help="Redis's append-only file: off as it comes.")] = None,
    compare: Annotated[
        str | None, typer.Option(metavar="REV", help="This commit beside what is checked out; 1 when it got slower.")
    ] = None,
    growth: Annotated[bool, typer.Option("--growth", help="The curves instead, or those that are named.")] = False,
    latency: Annotated[bool, typer.Option("--latency", help="Latencies instead.")] = False,
    peers: Annotated[bool, typer.Option("--peers", help="rsyslog and Alertmanager instead, where they are.")] = False,
) -> NoReturn:
    """Measure MUTT beside the plain stack and what is possible at all.

    Each row runs both in turn, on servers of its own, and prints medians with
    the least and the most, CPU an event, and whether its floor is reached. It
    takes less than 25 minutes on two cores that have nothing else to do, 4 with
    --quick. The exit status is 0 when every row could be measured. Further
    arguments go to what is run: bench --growth rules size.
    """
    if sum((compare is not None, growth, latency, peers)) > 1:
        raise UserError("--compare, --growth, --latency and --peers are measurements of their own: give one of them")
    if (only or json) and (growth or latency or peers):
        raise UserError("--only and --json are for the table and --compare; --growth takes names of curves behind it")
    if write and compare is not None:
        raise UserError("--compare writes no tables: --json FILE keeps what it found")
    common: dict[str, object] = {"quick": quick, "runs": runs, "appendfsync": appendfsync and appendfsync.value}
    for module, chosen in (("growth", growth), ("latency", latency), ("peers", peers)):
        if chosen:
            become(f"benchmarks.{module}", context.args, write=write, **common)
    tables: dict[str, object] = {"only": only, "file": json and json.absolute(), **common}
    if compare is not None:
        become("benchmarks.compare", [compare, *context.args], **tables)
    become("benchmarks.table", context.args, write=write, **tables)
