"""The commands that prove what MUTT promises: each becomes a module of tests/chaos, in the tests' environment."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from scripts.devtools.instance import UserError
from scripts.devtools.services import TREE

PASSES_ON = {"allow_extra_args": True, "ignore_unknown_options": True}

Seed = Annotated[int | None, typer.Option(help="Repeats a run's choices; a fresh one, told, when left out.")]
Keep = Annotated[Path | None, typer.Option(help="Folder that the logs are left in when the verdict is bad.")]


def chaos(
    context: typer.Context,
    *,
    points: Annotated[
        bool, typer.Option("--points", help="Kill -9 at every step of every path, before and after it. 15-30 minutes.")
    ] = False,
    failovers: Annotated[
        int | None, typer.Option(help="Kill Redis's primary N times under Sentinel. About 10 s each.", min=1)
    ] = None,
    overload: Annotated[
        bool, typer.Option("--overload", help="Send 10 times what the pipeline drains. 5 minutes and its recovery.")
    ] = False,
    minutes: Annotated[float | None, typer.Option(help="How long: 30, or 5 with --overload.", min=0.05)] = None,
    seed: Seed = None,
    keep: Keep = None,
) -> NoReturn:
    """Prove that nothing is lost and nothing doubled, under load and faults.

    Without --points, --failovers and --overload: services, Redis and PostgreSQL
    are killed, stalled, cut off, restarted and upgraded at random from a seed,
    rules and configuration change and dead letters move, while senders of every
    kind send; then the ledger that they kept is compared with all that MUTT has.

    It runs on the loopback, in a folder of its own, touches no instance of
    yours, and needs 2 GB of memory. It tells how far it is and ends with a
    verdict and figures; the exit status is 0 when every promise held. Ctrl-C
    ends it with the verdict so far. Further arguments go to the proof, as in
    chaos --points --list.
    """
    if sum((points, failovers is not None, overload)) > 1:
        raise UserError("--points, --failovers and --overload are proofs of their own: give one of them")
    if (points or failovers is not None) and minutes is not None:
        raise UserError("--minutes is for the run at random and for --overload: the others take what they take")
    if points:
        become("tests.chaos.crash_points", context.args, seed=seed, keep=keep)
    if failovers is not None:
        become("tests.chaos.failover", context.args, kills=failovers, seed=seed, keep=keep)
    module = "tests.chaos.overload" if overload else "tests.chaos.random_blows"
    become(module, context.args, minutes=minutes, seed=seed, keep=keep)


def soak(
    context: typer.Context,
    *,
    hours: Annotated[float | None, typer.Option(help="How long; 1 when nothing is given.", min=0.01)] = None,
    minutes: Annotated[float | None, typer.Option(help="How long, for a short one.", min=0.5)] = None,
    seed: Seed = None,
    keep: Keep = None,
) -> NoReturn:
    """Prove that nothing grows under a steady load.

    Memory, file handles, threads, connections, Redis's keys and the logs are
    measured all along; the table at the end says by how much each grew an hour,
    and how sure that is. The exit status is 0 when nothing grows. Ctrl-C ends
    it with the verdict so far.
    """
    if hours is not None and minutes is not None:
        raise UserError("--hours and --minutes say the same thing: give one of them")
    wished = hours * 60 if hours is not None else minutes
    become("tests.chaos.soak", context.args, minutes=wished, seed=seed, keep=keep)


def become(module: str, arguments: Sequence[str], **options: object) -> NoReturn:
    """Run a module of the tree in place of this process, so that it hears Ctrl-C itself.

    An option that is None or False is left out, True is the option alone, and of a list each value has its own.
    """
    os.chdir(TREE)
    if not (TREE / (module.replace(".", "/") + ".py")).exists():
        raise UserError(f"{TREE} holds no {module}: it is part of a checkout, a release has none of it")
    given = []
    for key, value in options.items():
        option = "--" + key.replace("_", "-")
        if value is True:
            given.append(option)
        elif value is not None and value is not False:
            values = value if isinstance(value, list) else [value]
            given += [part for each in values for part in (option, str(each))]
    os.execv(sys.executable, [sys.executable, "-m", module, *given, *arguments])  # noqa: S606
