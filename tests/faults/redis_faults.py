"""The faults of Redis, and what is promised for each."""

import contextlib
import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis.exceptions import RedisError

from scripts.devtools.embedded import RedisServer
from scripts.devtools.privileges import EmbeddedServerError
from tests.chaos.blows import pass_time
from tests.faults.stage import Stage
from tests.faults.strikes import BETWEEN, again
from tests.faults.table import fault
from tests.harness.waiting import wait_for

HELD = "503; what is queued stays; health says Redis"
NOTHING = "nothing lost, nothing doubled"
# A look at its clients after each key, and a pause: seconds for what takes no time else.
SLOW_TO_LOAD = ("key-load-delay 2000", "loading-process-events-interval-bytes 1024")
NOBODY = ("127.0.0.1", "9")


@contextmanager
def _starting(server: RedisServer) -> Iterator[None]:
    """Start a server beside the body: it answers no command until it has read its file."""
    thread = threading.Thread(target=lambda: _succeeds(server.start), daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()


@contextmanager
def _no_room(server: RedisServer) -> Iterator[None]:
    """Let no file of the server grow."""
    assert server.process is not None
    pid = server.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        if server.process.poll() is None:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


@contextmanager
def _configured(stage: Stage, **settings: object) -> Iterator["redis.Redis"]:
    """Set what the server lets itself be told, and put it back."""
    with stage.redis() as client:
        before: list[Any] = [client.config_get(name.replace("_", "-")) for name in settings]
        for name, value in settings.items():
            client.config_set(name.replace("_", "-"), value)  # type: ignore[arg-type]
        try:
            yield client
        finally:
            for found in before:
                for name, value in found.items():
                    client.config_set(name, value)


@fault("redis", "slow: each reply comes 0.1 to 0.2 s late", "slower and no worse")
@contextmanager
def _slow(stage: Stage) -> Iterator[None]:
    stage.redis_proxy.slow(0.1)
    try:
        yield
    finally:
        stage.redis_proxy.mend()


@fault("redis", "cut: each 20th reply ends in its middle, and its connection with it", NOTHING, brief=True)
@contextmanager
def _cut(stage: Stage) -> Iterator[None]:
    stage.redis_proxy.halve(20, end=True)
    try:
        yield
    finally:
        stage.redis_proxy.mend()


@fault("redis", "half an answer: of each 40th reply half comes, then silence", NOTHING, brief=True)
@contextmanager
def _half(stage: Stage) -> Iterator[None]:
    stage.redis_proxy.halve(40)
    try:
        yield
    finally:
        stage.redis_proxy.mend()


@fault("redis", "refused: no connection is accepted", HELD)
@contextmanager
def _refused(stage: Stage) -> Iterator[None]:
    stage.redis_proxy.cut()
    try:
        yield
    finally:
        stage.redis_proxy.mend()


@fault("redis", "hung: connections stay open, nothing is answered", HELD)
@contextmanager
def _hung(stage: Stage) -> Iterator[None]:
    stage.redis_server.pause()
    try:
        yield
    finally:
        stage.redis_server.resume()


@fault("redis", "reset: all connections, again and again", NOTHING, brief=True)
@contextmanager
def _reset(stage: Stage) -> Iterator[None]:
    with again(stage.redis_proxy.reset):
        yield


@fault("redis", "full: `OOM command not allowed`", HELD)
@contextmanager
def _full(stage: Stage) -> Iterator[None]:
    with _configured(stage, maxmemory="1mb"):
        yield


@fault("redis", "read-only: the server becomes a replica (`READONLY`)", HELD)
@contextmanager
def _read_only(stage: Stage) -> Iterator[None]:
    with stage.redis() as client:
        client.replicaof(*NOBODY)
        try:
            yield
        finally:
            client.replicaof("NO", "ONE")


@fault("redis", "loading: the server reads its file after a restart (`LOADING`)", HELD)
@contextmanager
def _loading(stage: Stage) -> Iterator[None]:
    server = stage.redis_server
    server.kill()
    server.settings = SLOW_TO_LOAD
    try:
        with _starting(server):
            yield
            server.kill()
    finally:
        server.settings = ()
        server.start()


@fault("redis", "scripts forgotten, again and again (`NOSCRIPT`)", "nobody notices")
@contextmanager
def _forgotten(stage: Stage) -> Iterator[None]:
    with stage.redis() as client, again(client.script_flush):
        yield


@fault("redis", "no more clients (`max number of clients reached`)", HELD)
@contextmanager
def _no_clients(stage: Stage) -> Iterator[None]:
    with _configured(stage, maxclients=1) as client:
        client.client_kill_filter(_type="normal", skipme=True)
        yield


@fault("redis", "clients killed, again and again, blocked claims among them", NOTHING, brief=True)
@contextmanager
def _killed(stage: Stage) -> Iterator[None]:
    with stage.redis() as client, again(lambda: client.client_kill_filter(_type="normal", skipme=True)):
        yield


@fault("redis", "busy: somebody's script does not end (`BUSY`)", HELD)
@contextmanager
def _busy(stage: Stage) -> Iterator[None]:
    def run_for_ever() -> None:
        with stage.redis() as client, contextlib.suppress(RedisError):
            client.eval("while true do end", 0)

    with _configured(stage, lua_time_limit=500) as client:
        thread = threading.Thread(target=run_for_ever, daemon=True)
        thread.start()
        try:
            yield
        finally:
            wait_for(lambda: _succeeds(client.script_kill), "the end of the script")
            thread.join()


@fault("redis", "its disk is full, `appendfsync everysec` (`MISCONF`)", HELD)
@contextmanager
def _full_disk(stage: Stage) -> Iterator[None]:
    with _configured(stage, appendfsync="everysec"), _no_room(stage.redis_server):
        yield


@fault("redis", "its disk is full, `appendfsync always`: it ends, and is started when there is room", HELD)
@contextmanager
def _full_disk_always(stage: Stage) -> Iterator[None]:
    server = stage.redis_server
    with _no_room(server):
        assert server.process is not None
        server.process.wait()
        yield
    server.start()


@fault("redis", "killed and started again, again and again", NOTHING, brief=True)
@contextmanager
def _restarted(stage: Stage) -> Iterator[None]:
    # Not beside the body: a server dies with the thread that started it.
    for _ in range(3):
        stage.redis_server.kill()
        stage.redis_server.start()
        pass_time(BETWEEN)
    yield


def _succeeds(command: Callable[[], object]) -> bool:
    try:
        command()
    except (RedisError, EmbeddedServerError):
        return False
    return True
