"""Redis behind Sentinel: the services follow a fail-over by themselves, and lose nothing in the durable mode."""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError

from mutt import keys
from mutt.errors import MisconfiguredError, SettingsError
from mutt.server_settings import RedisSettings
from mutt.variables import read
from scripts.devtools.embedded import HOST, RedisServer, free_port
from scripts.devtools.services import redis_environment
from scripts.devtools.vault import MOUNT, vault_binary
from scripts.devtools.vault import NAME as NAME_IN_VAULT
from services import durability, redis_connector
from services.runtime.ending import end
from services.runtime.secrets import EnvironmentSecrets
from services.runtime.sentinels import NoPrimaryError, Primary
from tests.chaos.books import faults
from tests.chaos.load import load
from tests.chaos.stage import SETTINGS, chosen_seed, make_rules, wait_settled
from tests.harness.documents import Shell, blocks, command
from tests.harness.fleet import NAME, SENTINEL_PASSWORD, Fleet
from tests.harness.moogsoft import MoogStandIn
from tests.harness.processes import StartService
from tests.harness.programs import program
from tests.harness.vault import fill, running_vault
from tests.harness.waiting import eventually, wait_for
from tests.service.ingest_api import event, post

PAGES = Path(__file__).resolve().parents[2] / "docs" / "operations"
PAGE, ROTATION = PAGES / "redis.md", PAGES / "rotation.md"
ENOUGH = 150  # acknowledged events of each part of a test


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    made = Fleet(tmp_path_factory.mktemp("fleet"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


def test_all_services_follow_a_fail_over_and_lose_no_acknowledged_event(
    fleet: Fleet, database_url: str, moog_stand_in: MoogStandIn, start_service: StartService, tmp_path: Path
) -> None:
    make_rules(database_url)
    here = {**fleet.environment, "DYNAMIC_CONFIG_ENABLED": "true", "REDIS_WAIT_REPLICAS": "1", "REDIS_TIMEOUT": "2"}
    services = {name: start_service(name, wait=False, **here, **SETTINGS[name]) for name in SETTINGS}
    for service in services.values():
        service.wait_healthy()
    pids = [service.pid for service in services.values()]
    with load(3, chosen_seed(), f"{services['ingestor'].url}/api/v2/ingest") as ledger:
        wait_for(lambda: len(ledger.acknowledged) > ENOUGH, "events before the fail-over")
        fleet.primary.kill()
        wait_for(lambda: fleet.now() == fleet.replica.port, "a promoted replica")
        for name in ("alerter", "moog-forwarder", "remediation"):
            services[name].wait_healthy()
        services["ingestor"].wait_log("of 1 replicas")
        assert "replicas" in services["ingestor"].wait_health(503)
        fleet.bring_back()
        before = len(ledger.acknowledged)
        wait_for(lambda: len(ledger.acknowledged) > before + ENOUGH, "events after the fail-over")
    with redis.Redis.from_url(fleet.replica.url) as client:
        assert client.role()[0] == b"master"
        wait_settled(client, services.values())
        assert not faults(ledger, client, database_url, moog_stand_in.alerts())
        # Only an announcement brings a new rule in before five minutes are over.
        with psycopg.connect(database_url) as connection:
            connection.execute(
                "INSERT INTO alert_rules (match_string, match_type, priority, prod_handling, dev_handling,"
                " team_assignment) VALUES ('new', 'contains', 9, 'Log_only', 'Log_only', 'NETO')"
            )
        assert client.publish(keys.CONFIG_UPDATES, "rules") >= 3
    alerter = services["alerter"]
    wait_for(lambda: alerter.metric("mutt_alerter_cache_rules_count") == 4, "the new rule in the cache")
    assert [service.pid for service in services.values() if service.running] == pids
    alerter.wait_log("the primary of Redis has moved")
    fail_over_by_the_page(fleet, tmp_path)
    wait_for(lambda: fleet.now() == fleet.primary.port, "the old primary again")
    for service in services.values():
        service.wait_healthy()
    wait_for(lambda: post(services["ingestor"], event()).status_code == 200, "events after a planned fail-over")
    assert [service.pid for service in services.values() if service.running] == pids


def fail_over_by_the_page(fleet: Fleet, folder: Path) -> None:
    """Run the commands of the page on Redis as they stand."""
    tool = program("redis-cli")
    command(folder / "bin", "redis-cli", tool.path, LD_LIBRARY_PATH=tool.environment.get("LD_LIBRARY_PATH", ""))
    environment = {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "SENTINEL_HOST": HOST,
        "SENTINEL_PORT": str(fleet.sentinel_ports[0]),
        "REDIS_SENTINEL_MASTER": NAME,
        "REDISCLI_AUTH": SENTINEL_PASSWORD,
    }
    with Shell(folder, environment) as shell:
        where, move = blocks(PAGE, "A planned fail-over")
        assert str(fleet.replica.port) in shell.run(where)
        shell.run(move)


def test_the_password_of_the_sentinels_is_rotated_by_the_documents_commands(
    fleet: Fleet, start_service: StartService, tmp_path: Path
) -> None:
    with running_vault(tmp_path / "vault") as vault:
        held = {"REDIS_SENTINEL_PASS": SENTINEL_PASSWORD, "REDIS_PASS_CURRENT": fleet.replica.password}
        here = fleet.environment | fill(vault, tmp_path, held) | {"SECRETS_REFRESH_INTERVAL": "0.2"}
        del here["REDIS_SENTINEL_PASS"]
        worker = start_service("remediation", wait=False, **here)
        worker.wait_healthy()
        cli = program("redis-cli")
        command(tmp_path / "bin", "redis-cli", cli.path, LD_LIBRARY_PATH=cli.environment.get("LD_LIBRARY_PATH", ""))
        command(tmp_path / "bin", "vault", vault_binary())
        environment = {
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "VAULT_ADDR": vault.address,
            "VAULT_TOKEN": vault.root_token,
            "MUTT_METRICS": worker.metrics_url,
            "SENTINELS": " ".join(f"{HOST}:{port}" for port in fleet.sentinel_ports),
            "REDIS_TLS": "",
        }
        with Shell(tmp_path, environment) as shell, redis.Redis.from_url(fleet.primary.url) as client:
            for block in (*blocks(ROTATION, "Where things are"), *blocks(ROTATION, "The password of the sentinels")):
                shell.run(block)
                client.client_kill_filter(_type="normal", skipme=True)
                worker.wait_healthy()  # over connections that were made since then
        assert fleet.now() is None, "the old password is refused"
        new = vault.client.read(f"{MOUNT}/data/{NAME_IN_VAULT}")["data"]["data"]
        assert worker.terminate() == 0
    for port in fleet.sentinel_ports:  # for the tests that follow
        with redis.Redis(host=HOST, port=port, password=new["REDIS_SENTINEL_PASS"], protocol=2) as client:
            client.acl_setuser("default", enabled=True, passwords=[f"+{SENTINEL_PASSWORD}"])
            client.execute_command("SENTINEL", "CONFIG", "SET", "sentinel-pass", SENTINEL_PASSWORD)


async def test_a_primary_that_nobody_knows_is_named_with_its_setting(fleet: Fleet) -> None:
    environment = {**fleet.environment, "REDIS_TLS_ENABLED": "false", "REDIS_PASS_CURRENT": fleet.primary.password}
    secrets = EnvironmentSecrets(environment)
    client = redis_connector.connect(read(RedisSettings, environment | {"REDIS_SENTINEL_MASTER": "other"}), secrets)
    with pytest.raises(RedisConnectionError, match=r"knows a primary 'other' \(REDIS_SENTINEL_MASTER\)"):
        await client.ping()
    assert redis_connector.address(client) is None
    await client.aclose()
    without = EnvironmentSecrets({**environment, "REDIS_SENTINEL_PASS": "wrong"})
    client = redis_connector.connect(read(RedisSettings, environment), without)
    with pytest.raises(RedisConnectionError, match=rf"{NAME}.*: invalid username-password"):
        await client.ping()
    await client.aclose()


async def test_a_replica_that_is_away_is_waited_for_until_the_sentinels_forget_it(fleet: Fleet) -> None:
    fleet.wait_in_step()
    environment = {**fleet.environment, "REDIS_TLS_ENABLED": "false", "REDIS_PASS_CURRENT": fleet.primary.password}
    settings = read(RedisSettings, environment | {"REDIS_DURABLE": "true"})
    client = redis_connector.connect(settings, EnvironmentSecrets(environment))
    replica = next(server for server in fleet.servers if server.port != fleet.now())

    async def faults() -> list[str]:
        return (await durability.look(client, settings)).faults

    assert await faults() == []
    replica.kill()
    await eventually(faults, "a fault")
    assert await faults() == ["0 of 1 replicas are connected"]
    for port in fleet.sentinel_ports:
        with redis.Redis(host=HOST, port=port, password=SENTINEL_PASSWORD, protocol=2) as sentinel:
            sentinel.sentinel_reset(NAME)
    assert await faults() == []
    replica.start()

    async def is_back() -> bool:
        return (await durability.look(client, settings)).wanted == 1

    await eventually(is_back, "the replica")
    assert await faults() == []
    await client.aclose()


async def test_connections_follow_the_primary_though_its_predecessor_lives_and_takes_writes(fleet: Fleet) -> None:
    fleet.wait_in_step()
    environment = {**fleet.environment, "REDIS_TLS_ENABLED": "false", "REDIS_PASS_CURRENT": fleet.primary.password}
    settings, secrets = read(RedisSettings, environment), EnvironmentSecrets(environment)
    client = redis_connector.connect(settings, secrets)
    waiting = redis_connector.connect(settings, secrets, blocking_seconds=600, beside=client)
    old, new = sorted(fleet.servers, key=lambda server: server.port != fleet.now())
    watching = asyncio.create_task(redis_connector.watch_primary(client))
    with redis.Redis.from_url(old.url) as at_old, redis.Redis.from_url(new.url) as at_new:
        await client.set("before", 1)
        call: Any = waiting.blpop(["late"], 600)
        late = asyncio.create_task(call)
        await eventually(lambda: at_old.info("clients")["blocked_clients"], "a call that waits for its reply")
        # For as long as no sentinel can make it a replica.
        at_old.execute_command("ACL", "SETUSER", "default", "-replicaof", "-slaveof")
        try:
            await asyncio.to_thread(fail_over, fleet)

            async def is_followed() -> bool:
                with contextlib.suppress(redis.RedisError):
                    await client.set("after", 1)
                return bool(at_new.exists("after"))

            await eventually(is_followed, "writes at the new primary")
            assert at_old.role()[0] == b"master"
            at_old.rpush("late", "what the old primary will forget")
            with pytest.raises(RedisConnectionError, match="does not count"):
                await late
        finally:
            at_old.execute_command("ACL", "SETUSER", "default", "+replicaof", "+slaveof")
    await end(watching)
    await client.aclose()
    await waiting.aclose()


def fail_over(fleet: Fleet) -> None:
    """Have a sentinel move the primary, and wait until all have heard of it."""
    before = fleet.now()
    with redis.Redis(host=HOST, port=fleet.sentinel_ports[0], password=SENTINEL_PASSWORD, protocol=2) as sentinel:
        wait_for(lambda: _is_moving(sentinel), "a fail-over that begins")
    wait_for(lambda: fleet.now() != before, "another primary")


def _is_moving(sentinel: redis.Redis) -> bool:
    with contextlib.suppress(redis.ResponseError):  # "no good replica" while the last fail-over is not quite over
        return bool(sentinel.sentinel_failover(NAME))
    return False


async def test_connections_are_left_alone_unless_most_sentinels_and_the_server_itself_agree(fleet: Fleet) -> None:
    async def be_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)
        writer.close()

    async def yes(_: tuple[str, int]) -> bool:
        return True

    async def no(_: tuple[str, int]) -> bool:
        return False

    server = await asyncio.start_server(be_silent, HOST, 0)
    silent = f"{HOST}:{server.sockets[0].getsockname()[1]}"
    one, two, three = (f"{HOST}:{port}" for port in fleet.sentinel_ports)

    async def moves(*sentinels: str, answer: Callable[[tuple[str, int]], Awaitable[bool]]) -> bool:
        environment = {**fleet.environment, "REDIS_TLS_ENABLED": "false", "REDIS_SENTINELS": ",".join(sentinels)}
        primary = Primary(read(RedisSettings, environment), EnvironmentSecrets(environment))
        async with primary.sentinels() as clients:
            await primary.look(clients, answer)
        return primary.has_left((HOST, 9))

    await eventually(lambda: moves(silent, two, three, answer=yes), "two sentinels of three that agree")
    assert not await moves(silent, two, three, answer=no)
    assert not await moves(one, silent, silent, answer=yes)
    assert not await moves(one, silent, answer=yes)
    server.close()
    await server.wait_closed()


async def test_silent_sentinels_are_asked_once_for_all_who_wait() -> None:
    """One behind the other, twenty connections would wait a minute."""
    asked = []

    async def be_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(writer)
        await reader.read(-1)
        writer.close()

    server = await asyncio.start_server(be_silent, HOST, 0)
    sentinel = f"{HOST}:{server.sockets[0].getsockname()[1]}"
    primary = Primary(
        read(RedisSettings, {"REDIS_MODE": "sentinel", "REDIS_SENTINELS": sentinel, "REDIS_TLS_ENABLED": "false"}),
        EnvironmentSecrets({}),
    )
    impatient = asyncio.create_task(primary.find())
    answers = asyncio.gather(*(primary.find() for _ in range(20)), return_exceptions=True)
    await eventually(lambda: asked, "a question")
    impatient.cancel()
    assert all(isinstance(answer, NoPrimaryError) for answer in await answers)
    assert len(asked) == 1
    with pytest.raises(NoPrimaryError):
        await primary.find()
    assert len(asked) == 2
    server.close()
    await server.wait_closed()


async def test_a_connection_to_a_primary_that_became_a_replica_is_made_anew(own_redis: RedisServer) -> None:
    environment = redis_environment(own_redis.url)
    client = redis_connector.connect(read(RedisSettings, environment), EnvironmentSecrets(environment))
    before = await client.client_id()
    with redis.Redis.from_url(own_redis.url) as operator:
        operator.replicaof("127.0.0.1", "9")
        with pytest.raises(ReadOnlyError):
            await client.set("key", "value")
        operator.replicaof("NO", "ONE")
    assert await client.set("key", "value")
    assert await client.client_id() != before
    await client.aclose()


def test_a_cluster_is_refused_by_its_name_with_the_reason() -> None:
    with pytest.raises(SettingsError, match=r"REDIS_MODE=cluster is not possible so far: .* one hash slot"):
        read(RedisSettings, {"REDIS_MODE": "cluster"})


async def test_a_server_that_runs_as_a_cluster_is_refused(tmp_path: Path) -> None:
    # The cluster's own port is else 10,000 above, where the system's outgoing connections have theirs.
    server = RedisServer(tmp_path / "cluster", settings=("cluster-enabled yes", f"cluster-port {free_port()}"))
    server.start()
    environment = redis_environment(server.url)
    client = redis_connector.connect(read(RedisSettings, environment), EnvironmentSecrets(environment))
    try:
        with pytest.raises(MisconfiguredError, match=r"cluster-enabled yes.*single primary"):
            await redis_connector.check_server(client)
    finally:
        await client.aclose()
        server.stop()


@pytest.mark.parametrize(
    ("sentinels", "addresses"),
    [
        ("one.example", [("one.example", 26379)]),
        ("one.example:5000, 10.0.0.2", [("one.example", 5000), ("10.0.0.2", 26379)]),
        ("[::1]:5000,[fe80::2]", [("::1", 5000), ("fe80::2", 26379)]),
    ],
)
def test_sentinels_are_read_with_and_without_a_port(sentinels: str, addresses: list[tuple[str, int]]) -> None:
    settings = read(RedisSettings, {"REDIS_MODE": "sentinel", "REDIS_SENTINELS": sentinels})
    assert settings.sentinel_addresses == addresses


@pytest.mark.parametrize("sentinels", ["one:port", "one:70000", "user@one", "one/0", "::1", ":26379"])
def test_a_sentinel_that_cannot_be_read_is_named(sentinels: str) -> None:
    with pytest.raises(SettingsError, match=r"REDIS_SENTINELS: .* host:port is needed"):
        read(RedisSettings, {"REDIS_MODE": "sentinel", "REDIS_SENTINELS": sentinels})


def test_sentinels_have_to_be_named() -> None:
    with pytest.raises(SettingsError, match="REDIS_SENTINELS is not set"):
        read(RedisSettings, {"REDIS_MODE": "sentinel"})
