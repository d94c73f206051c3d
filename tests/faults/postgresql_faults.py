"""The faults of PostgreSQL, and what is promised for each."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from typing import LiteralString

import psycopg
from psycopg import sql

from tests.chaos.blows import pass_time
from tests.faults.stage import Stage
from tests.faults.standby import operator
from tests.faults.strikes import BETWEEN, again
from tests.faults.table import fault
from tests.harness.servers import PASSWORD, USER
from tests.harness.waiting import wait_for

NOTHING = "nothing lost, nothing doubled"
NO_WAIT = "alerts go on; audit rows wait in Redis; health says PostgreSQL"
NO_ROWS = "alerts go on; audit rows wait in Redis; health says so"
SLOWER = "slower and no worse"
END_OF_COPY = b"\xff\xffc\x00\x00\x00\x04"  # the trailer of the binary format, and CopyDone
# Waits for a server process that is writing rows, and strikes it.
IN_A_COPY = sql.SQL(
    "DO $$ BEGIN FOR look IN 1..500 LOOP PERFORM {}(pid) FROM pg_stat_activity"
    " WHERE application_name = 'mutt' AND state = 'active' AND query LIKE 'COPY event%'; EXIT WHEN FOUND;"
    " PERFORM pg_sleep(0.001); PERFORM pg_stat_clear_snapshot(); END LOOP; END $$"
)
HANG_UP = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'mutt'"


def _do(stage: Stage, *statements: LiteralString | sql.Composed) -> None:
    with operator(stage) as connection:
        for statement in statements:
            connection.execute(statement)


def month() -> sql.Identifier:
    """Return the table that holds the rows of this month."""
    return sql.Identifier(f"event_audit_log_{datetime.now(UTC):%Y_%m}")


@contextmanager
def _configured(stage: Stage, name: LiteralString, value: LiteralString) -> Iterator[None]:
    """Set what the server takes while it runs, and put it back."""
    setting = sql.Identifier(name)
    with operator(stage) as connection:
        connection.execute(sql.SQL("ALTER SYSTEM SET {} = {}").format(setting, sql.Literal(value)))
        connection.execute("SELECT pg_reload_conf()")
    yield
    with operator(stage) as connection:
        connection.execute(sql.SQL("ALTER SYSTEM RESET {}").format(setting))
        connection.execute("SELECT pg_reload_conf()")


def _by_proxy(name: str, promised: str, begin: Callable[[Stage], object], *, brief: bool = False) -> None:
    """Register what the proxy does until it is mended."""

    @contextmanager
    def strike(stage: Stage) -> Iterator[None]:
        begin(stage)
        yield
        stage.postgres_proxy.mend()

    fault("postgresql", name, promised, brief=brief)(strike)


def _repeated(name: str, promised: str, blow: Callable[[Stage], object]) -> None:
    """Register what happens again and again."""

    @contextmanager
    def strike(stage: Stage) -> Iterator[None]:
        with again(lambda: blow(stage)):
            yield

    fault("postgresql", name, promised, brief=True)(strike)


def _restarted(name: str, end: Callable[[Stage], object]) -> None:
    """Register a restart, done twice; by this thread, with which the server would end."""

    @contextmanager
    def strike(stage: Stage) -> Iterator[None]:
        for _ in range(2):
            end(stage)
            stage.postgres.start()
            pass_time(BETWEEN)
        yield

    fault("postgresql", name, NOTHING, brief=True)(strike)


_by_proxy("slow: each reply comes 0.03 to 0.06 s late", SLOWER, lambda stage: stage.postgres_proxy.slow(0.03))
_by_proxy("refused: no connection is accepted", NO_WAIT, lambda stage: stage.postgres_proxy.cut())
_by_proxy("hung: connections stay open, nothing is answered", NO_WAIT, lambda stage: stage.postgres_proxy.hang())
_by_proxy(
    "cut: each 10th reply ends in its middle, and its connection with it",
    NOTHING,
    lambda stage: stage.postgres_proxy.halve(10, end=True),
    brief=True,
)
_by_proxy(
    "half an answer: of each 20th reply half comes, then silence",
    NOTHING,
    lambda stage: stage.postgres_proxy.halve(20),
    brief=True,
)
_repeated("reset: all connections, again and again", NOTHING, lambda stage: stage.postgres_proxy.reset())
_repeated(
    "a commit is done and its reply lost, again and again",
    NOTHING,
    lambda stage: stage.postgres_proxy.lose_reply(b"COMMIT"),
)
_repeated(
    "rows are copied and the reply lost before the commit, again and again",
    NOTHING,
    lambda stage: stage.postgres_proxy.lose_reply(END_OF_COPY),
)
_restarted("killed (`kill -9`) and started again, twice", lambda stage: stage.postgres.kill())
_restarted("restarted in order (`fast`), twice", lambda stage: stage.postgres.stop())
_repeated(
    "connections ended by an administrator, again and again (`57P01`)",
    NOTHING,
    lambda stage: _do(stage, IN_A_COPY.format(sql.SQL("pg_terminate_backend"))),
)
_repeated(
    "statements cancelled, again and again (`57014`), as a statement timeout does",
    NOTHING,
    lambda stage: _do(stage, IN_A_COPY.format(sql.SQL("pg_cancel_backend"))),
)


@fault("postgresql", "read-only (`25006`)", NO_ROWS)
@contextmanager
def _read_only(stage: Stage) -> Iterator[None]:
    with _configured(stage, "default_transaction_read_only", "on"):
        yield


@fault("postgresql", "no more connections (`53300`)", NO_WAIT)
@contextmanager
def _no_connections(stage: Stage) -> Iterator[None]:
    _do(stage, "ALTER ROLE mutt_user CONNECTION LIMIT 0", HANG_UP)
    yield
    _do(stage, "ALTER ROLE mutt_user CONNECTION LIMIT -1")


@fault("postgresql", "the password is another one (`28P01`)", NO_WAIT)
@contextmanager
def _password(stage: Stage) -> Iterator[None]:
    _do(stage, "ALTER ROLE mutt_user PASSWORD 'another'", HANG_UP)
    yield
    with operator(stage) as connection:
        connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(USER), sql.Literal(PASSWORD)))


@fault("postgresql", "somebody holds a lock on the month", NO_ROWS)
@contextmanager
def _locked(stage: Stage) -> Iterator[None]:
    with operator(stage) as connection, connection.transaction():
        connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(month()))
        yield


@fault("postgresql", "the month is detached under the load, again and again", NOTHING, brief=True)
@contextmanager
def _detached(stage: Stage) -> Iterator[None]:
    detach = sql.SQL("ALTER TABLE event_audit_log DETACH PARTITION {}").format(month())

    def blow() -> None:
        with operator(stage) as connection, suppress(psycopg.Error):  # not attached again yet
            connection.execute("SET lock_timeout = '1s'")
            connection.execute(detach)

    with again(blow):
        yield


@fault("postgresql", "the month is half detached (`DETACH … CONCURRENTLY` was interrupted)", NO_ROWS)
@contextmanager
def _half_detached(stage: Stage) -> Iterator[None]:
    detach = sql.SQL("ALTER TABLE event_audit_log DETACH PARTITION {} {}")
    with operator(stage) as reader, operator(stage) as connection:
        with reader.transaction():
            reader.execute("SELECT 1 FROM event_audit_log LIMIT 1")
            connection.execute("SET statement_timeout = '200ms'")
            with suppress(psycopg.errors.QueryCanceled):
                connection.execute(detach.format(month(), sql.SQL("CONCURRENTLY")))
        yield
        connection.execute("SET statement_timeout = 0")
        connection.execute(detach.format(month(), sql.SQL("FINALIZE")))


@fault("postgresql", "deadlocks (`40P01`)", NOTHING, brief=True)
@contextmanager
def _deadlocks(stage: Stage) -> Iterator[None]:
    def count() -> int:
        with operator(stage) as connection:
            found = connection.execute(
                "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
            ).fetchone()
        return int(found[0]) if found else 0

    def blow() -> None:
        # A writer has locked the parent and waits for the month; who holds that one asks for the parent.
        with operator(stage) as connection, suppress(psycopg.Error), connection.transaction():
            connection.execute("SET deadlock_timeout = '5s'")  # so that it is the writer who finds it
            connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(month()))
            wait_for(lambda: _waits(stage), "a writer that waits", 5)
            connection.execute("LOCK TABLE ONLY event_audit_log IN ACCESS EXCLUSIVE MODE")

    before = count()
    with _configured(stage, "deadlock_timeout", "50ms"), again(blow):
        wait_for(lambda: count() > before, "a deadlock")
        yield


def _waits(stage: Stage) -> bool:
    with operator(stage) as connection:
        query = (
            "SELECT 1 FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND query LIKE 'COPY event%'"
        )
        return connection.execute(query).fetchone() is not None


def _refusing(stage: Stage, condition: LiteralString, state: LiteralString) -> AbstractContextManager[None]:
    """Refuse rows by a trigger."""
    body = sql.SQL("BEGIN IF {} THEN RAISE EXCEPTION USING ERRCODE = {}; END IF; RETURN NULL; END")
    function = sql.SQL("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS {}")
    trigger = sql.SQL("CREATE TRIGGER refuse AFTER INSERT ON event_audit_log FOR EACH ROW EXECUTE FUNCTION refuse()")
    text = body.format(sql.SQL(condition), sql.Literal(state)).as_string()

    @contextmanager
    def refusing() -> Iterator[None]:
        _alone(stage, function.format(sql.Literal(text)), trigger)
        yield
        _alone(stage, sql.SQL("DROP FUNCTION refuse() CASCADE"))

    return refusing()


def _alone(stage: Stage, *statements: sql.SQL | sql.Composed) -> None:
    """Change the table while no writer is in it: what locks its months one by one is a deadlock else."""
    with operator(stage) as connection, connection.transaction():
        connection.execute("LOCK TABLE event_audit_log IN ACCESS EXCLUSIVE MODE")
        for statement in statements:
            connection.execute(statement)


@fault("postgresql", "serialization failures (`40001`) now and then", NOTHING, brief=True)
@contextmanager
def _serialization(stage: Stage) -> Iterator[None]:
    with _refusing(stage, "random() < 0.02", "40001"):
        yield


@fault(
    "postgresql",
    "rows are refused for their own fault (`22023`) beside good ones",
    "three retries, then a dead letter, which is replayed; it costs its batch nothing",
    brief=True,
)
@contextmanager
def _refused_rows(stage: Stage) -> Iterator[None]:
    def refused() -> float:
        return stage.services["alerter"].metric("mutt_alerter_events_processed_total", status="error") or 0

    before = refused()
    with _refusing(stage, "NEW.message LIKE '%ended with 7'", "22023"):
        wait_for(lambda: refused() > before, "a row that is refused")
        yield
