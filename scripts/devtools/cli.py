"""The commands of muttdev: arguments, messages and exit statuses; the work is in the modules beside it.

A command imports what it alone needs: the clients of the servers take most of the time of one that asks no server.
"""

import asyncio
import contextlib
import errno
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NoReturn

import psutil
import typer
from rich.console import Console

from mutt.errors import MuttError
from scripts.devtools import benching, configuration, proving, report, running, traffic
from scripts.devtools.instance import DEFAULT_FOLDER, NAMES, VAULT, Instance, UserError
from scripts.devtools.privileges import EmbeddedServerError
from scripts.devtools.services import TREE

EXIT_FAILED, EXIT_UNHEALTHY, EXIT_INTERRUPTED = 1, 3, 130
ALONE = ("-n", "--numprocesses", "--pdb", "-s", "--collect-only", "--co")  # pytest options that choose themselves
MEMORY_OF_A_WORKER = 2 << 30  # bytes: one that runs tests starts servers, services and a browser of its own
LOGS = ("muttdev", *NAMES, VAULT)
DATA = ("redis", "postgres", "moogsoft.ndjson", "state.json", "logs")
DISK_ERRORS = {errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EPERM, errno.EDQUOT, errno.ENOTDIR, errno.ENOENT}

app = typer.Typer(
    help="MUTT on one machine: all five services, Redis, PostgreSQL and a stand-in for Moogsoft.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
app.add_typer(configuration.app, name="config")
WIDTH = None if sys.stdout.isatty() else 160  # columns; a pipe has none, and 80 would cut addresses
console = Console(width=WIDTH)
errors = Console(stderr=True, soft_wrap=True)

DataDir = Annotated[Path, typer.Option("--data-dir", help="Folder of the instance's data, logs and secrets.")]


@app.command()
def up(
    *,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when all is healthy.")] = False,
    data_dir: DataDir = DEFAULT_FOLDER,
    port_offset: Annotated[
        int | None, typer.Option(help="Added to every port, for instances side by side.", min=0, max=57000)
    ] = None,
    samples: Annotated[
        bool | None, typer.Option("--samples/--no-samples", help="Load sample rules into an empty database.")
    ] = None,
    redis_url: Annotated[str | None, typer.Option(help="Use this Redis instead of an embedded one.")] = None,
    database_url: Annotated[str | None, typer.Option(help="Use this PostgreSQL database instead.")] = None,
    vault: Annotated[
        bool | None, typer.Option("--vault/--no-vault", help="Take the secrets from a Vault, as production does.")
    ] = None,
) -> None:
    """Start everything, wait until it is healthy, and keep it running. Options are remembered in the folder."""
    wishes = {
        "port_offset": port_offset,
        "samples": samples,
        "redis_url": redis_url,
        "database_url": database_url,
        "vault": vault,
    }
    is_new = not data_dir.exists()
    claimed = Instance.claim(data_dir, **wishes)
    if claimed is None:
        _say_running(Instance.find(data_dir), wishes)
        return
    instance, lock = claimed
    # `up` that is stopped from outside stops in order too; SIGINT is ignored where a script started it with `&`.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    with lock:
        try:
            supervisor = running.start(instance, lock, detached=detach)
        except UserError:
            if is_new:  # under the lock: another `up` that waits for it must not lose what it makes
                instance.forget()
            raise
    healthy = False
    try:
        _wait(instance, supervisor)
        healthy = True
        _show_status(instance)
        report.show_welcome(console, instance, lambda command: command_line(instance, command))
        if not detach:
            _follow(instance, supervisor)
    except KeyboardInterrupt:
        errors.print("stopping: ingestor, workers, servers")
        supervisor.terminate()
        supervisor.wait()
        errors.print("stopped")
        raise typer.Exit(0 if healthy else EXIT_INTERRUPTED) from None
    except running.StartError as error:
        if not detach or supervisor.poll() is not None:
            raise
        stop = command_line(instance, "down")
        raise UserError(f"{error}\nWhat runs is left running, to be looked at; {stop} stops it.") from error


@app.command()
def down(data_dir: DataDir = DEFAULT_FOLDER) -> None:
    """Stop everything in order; the data stays."""
    instance = Instance.find(data_dir)
    if instance.running:
        errors.print("stopping: ingestor, workers, servers")
    stopped = running.stop(instance, errors.print)
    errors.print("stopped" if stopped else f"nothing runs in {instance.folder}: nothing to stop")


@app.command()
def status(
    data_dir: DataDir = DEFAULT_FOLDER,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON document.")] = False,
) -> None:
    """Show every service; the exit status is 0 when all are healthy, 3 otherwise."""
    instance, problem = None, ""
    try:
        instance = Instance.find(data_dir)
    except UserError as error:
        problem = str(error)
    if instance is not None and instance.running:
        document = asyncio.run(report.status_document(instance))
    else:
        document = report.stopped_document(instance)
        problem = problem or f"it does not run: start it with {command_line(instance, 'up')}"
    if as_json:
        print(json.dumps(document, indent=2))
    else:
        console.print(report.status_table(document, instance))
    if problem:
        errors.print(problem, style="yellow", markup=False)
    raise typer.Exit(0 if report.all_healthy(document) else EXIT_UNHEALTHY)


@app.command()
def env(data_dir: DataDir = DEFAULT_FOLDER) -> None:
    """Print addresses and keys as NAME=value lines for a shell: eval "$(muttdev.py env)"."""
    for name, value in Instance.find(data_dir).environment().items():
        print(f"{name}={shlex.quote(value)}")


@app.command()
def logs(
    service: Annotated[str | None, typer.Argument(help=f"One of {', '.join(LOGS)}; all when left out.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines come, until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", help="Last lines shown of each log.", min=0)] = 50,
    data_dir: DataDir = DEFAULT_FOLDER,
) -> None:
    """Show the logs of one service or of all."""
    from scripts.devtools import consoles

    instance = Instance.find(data_dir)
    if service is not None and service not in LOGS:
        raise UserError(f"there is no service {service!r}: choose one of {', '.join(LOGS)}")
    chosen = [service] if service else list(LOGS)
    with contextlib.suppress(KeyboardInterrupt):
        consoles.show_logs({name: instance.logs / f"{name}.log" for name in chosen}, lines, follow=follow)


@app.command()
def send(
    *,
    count: Annotated[int, typer.Option(help="Events in all.", min=1, max=10_000_000)] = 100,
    rate: Annotated[float, typer.Option(help="Events a second; 0 means as fast as they are taken.", min=0)] = 0,
    batch: Annotated[int, typer.Option(help="Events a request; 1 posts single events.", min=1, max=50_000)] = 1,
    mix: Annotated[
        str, typer.Option(help=f"Weights of the kinds of events ({', '.join(traffic.KINDS)}).")
    ] = traffic.DEFAULT_MIX,
    host: Annotated[str | None, typer.Option(help="Send all in the name of this host.")] = None,
    data_dir: DataDir = DEFAULT_FOLDER,
) -> None:
    """Post realistic syslog and trap events and report what came of them; 1 when not all of it came through."""
    from scripts.devtools import sender

    instance = _running_instance(data_dir)
    order = sender.Order(count, rate, batch, traffic.parse_mix(mix), host)
    outcome = asyncio.run(sender.run(instance, order, console))
    console.print(sender.outcome_table(outcome))
    raise typer.Exit(0 if outcome.complete else EXIT_FAILED)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def psql(context: typer.Context, data_dir: DataDir = DEFAULT_FOLDER) -> None:
    """Open psql on the database; further arguments go to it: psql -c 'SELECT 1'."""
    from scripts.devtools import consoles

    raise typer.Exit(consoles.psql(_running_instance(data_dir), context.args))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def redis(context: typer.Context, data_dir: DataDir = DEFAULT_FOLDER) -> None:
    """Run one Redis command (redis LLEN mutt:ingest_queue), or read commands from the keyboard."""
    from scripts.devtools import consoles

    raise typer.Exit(consoles.redis(_running_instance(data_dir), context.args))


@app.command()
def migrate(data_dir: DataDir = DEFAULT_FOLDER) -> None:
    """Bring the database to the schema of this checkout; safe to repeat, safe while the services run."""
    from scripts.migrate import migrate as migrate_database

    steps = migrate_database(_running_instance(data_dir).database_url)
    console.print("\n".join(f"applied {step}" for step in steps) or "nothing to do: the schema is current")


@app.command()
def reset(
    data_dir: DataDir = DEFAULT_FOLDER,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete the instance's data (events, rules, queues, logs); keys and options stay."""
    instance = Instance.find(data_dir)
    lock = instance.lock(patience=0.5)
    if lock is None:
        raise UserError(f"it runs: stop it first with {command_line(instance, 'down')}")
    with lock:
        if not yes:
            typer.confirm(f"Delete all data in {instance.folder}?", abort=True)
        for name in DATA:
            path = instance.folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        instance.logs.mkdir(mode=0o700)
    left = [name for name in ("redis", "postgres") if instance.is_external(name)]
    console.print("deleted" + (f"; what was given by URL is untouched: {', '.join(left)}" if left else ""))


@app.command(name="doctor")
def doctor_command(data_dir: DataDir = DEFAULT_FOLDER) -> None:
    """Look for what is wrong, here and in the instance, and say what to do; 1 when something is."""
    from mutt.findings import exit_status
    from scripts.devtools import doctor

    findings = doctor.examine(data_dir)
    console.print(doctor.table(findings))
    raise typer.Exit(exit_status(findings))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def test(context: typer.Context) -> NoReturn:
    """Run the tests; all arguments go to pytest (test -k circuit). With CI=true a skip is a failure."""
    arguments = context.args
    if not any(argument.startswith(ALONE) for argument in arguments):
        arguments = ["-n", str(_test_workers()), "--dist", "worksteal", *arguments]
    os.chdir(TREE)
    os.execv(sys.executable, [sys.executable, "-m", "pytest", *arguments])  # noqa: S606


app.command(context_settings=proving.PASSES_ON)(proving.chaos)
app.command(context_settings=proving.PASSES_ON)(proving.soak)
app.command(context_settings=proving.PASSES_ON)(benching.bench)


def _test_workers() -> int:
    """Return how many may run tests at once: more than half of a test's time it waits, and no processor works."""
    room = psutil.virtual_memory().total // MEMORY_OF_A_WORKER
    return max(2, min(6, room, max(4, (os.cpu_count() or 4) // 2)))


@app.command(hidden=True)
def supervise(
    data_dir: DataDir, lock_handle: Annotated[int, typer.Option(help="File handle of the lock, inherited.")]
) -> None:
    """Run the programs of an instance until SIGTERM: what `up` starts."""
    from scripts.devtools.stack import Stack

    os.set_inheritable(lock_handle, False)
    raise typer.Exit(asyncio.run(Stack(Instance.find(data_dir)).run()))


def command_line(instance: Instance | None, command: str) -> str:
    """Return how the user calls a command for this instance, with `--data-dir` where it is needed."""
    folder = instance.folder if instance else DEFAULT_FOLDER
    script = os.path.relpath(TREE / "scripts" / "muttdev.py")
    script = str(TREE / "scripts" / "muttdev.py") if script.startswith("../..") else script
    where = "" if folder == DEFAULT_FOLDER else f" --data-dir {shlex.quote(str(folder))}"
    return f"python3 {shlex.quote(script)} {command}{where}"


def main() -> NoReturn:
    """Run a command; what a user can meet is one message that says what to do, never a traceback."""
    try:
        app(prog_name="muttdev.py")
    except (UserError, EmbeddedServerError, MuttError) as error:
        _fail(str(error))
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        _fail(
            f"{error.strerror}: {error.filename or 'the data folder'}. Free space or make it writable for this "
            "user, or give --data-dir a folder elsewhere"
        )
    except Exception as error:
        if not _is_of_a_server(error):
            raise
        _fail(f"{' '.join(str(error).split())}. Is it healthy? See: muttdev.py status")
    sys.exit(0)


def _is_of_a_server(error: Exception) -> bool:
    import psycopg
    from redis.exceptions import RedisError

    return isinstance(error, (psycopg.OperationalError, RedisError))


def _fail(message: str) -> NoReturn:
    errors.print(f"muttdev: {message}", style="red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(EXIT_FAILED)


def _running_instance(folder: Path) -> Instance:
    instance = Instance.find(folder)
    if not instance.running:
        raise UserError(f"it does not run: start it with {command_line(instance, 'up')}")
    return instance


def _say_running(instance: Instance, wishes: dict[str, Any]) -> None:
    have = asdict(instance.options)
    other = [name for name, value in wishes.items() if value is not None and value != have[name]]
    if other:
        options = ", ".join("--" + name.replace("_", "-") for name in other)
        raise UserError(
            f"it runs already, with another {options}: first stop it ({command_line(instance, 'down')}), "
            "or use another --data-dir beside it"
        )
    console.print(f"it runs already in {instance.folder}")
    _show_status(instance)


def _show_status(instance: Instance) -> None:
    console.print(report.status_table(asyncio.run(report.status_document(instance)), instance))


def _wait(instance: Instance, supervisor: "subprocess.Popen[bytes]") -> None:
    with errors.status("starting") as line:
        shown = ""

        def show(states: dict[str, str]) -> None:
            nonlocal shown
            waiting = [
                name if state in {"starting", "stopped"} else f"{name} ({state})"
                for name, state in states.items()
                if state not in {"healthy", "external"}
            ]
            text = f"waiting for {', '.join(waiting)}" if waiting else "starting"
            if text != shown:
                shown = text
                line.update(text)

        running.wait_until_healthy(instance, supervisor, show)


def _follow(instance: Instance, supervisor: "subprocess.Popen[bytes]") -> None:
    """Show what the supervisor says until Ctrl-C, or until it ends by itself."""
    errors.print("\nCtrl-C stops it all.")
    position = instance.own_log.stat().st_size
    while supervisor.poll() is None:
        with instance.own_log.open(encoding="utf-8", errors="replace") as log:
            log.seek(position)
            for text in log:
                errors.print(text.rstrip(), markup=False)
            position = log.tell()
        time.sleep(0.2)
    raise UserError(f"the supervisor ended with {supervisor.returncode}; see {instance.own_log}")
