"""The secrets of Vault, on a real one: login, renewal, faults, and what an operator is told of them."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hvac import exceptions as vault_errors

from mutt.errors import MisconfiguredError, MuttError, SettingsError, TransientError
from mutt.server_settings import VaultSettings
from scripts.devtools.vault import MOUNT, NAME, VaultServer
from services.runtime.secrets import open_secrets
from services.runtime.vault import VaultSecrets
from tests.harness.proxy import Proxy
from tests.harness.vault import HELD, SECRET_ID, fill, running_vault, settings_of
from tests.harness.waiting import eventually


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VaultServer]:
    with running_vault(tmp_path_factory.mktemp("vault")) as started:
        yield started


@dataclass
class Filled:
    """A Vault that holds `HELD`, and the settings of a service."""

    server: VaultServer
    settings: VaultSettings

    def write(self, **values: Any) -> None:
        """Replace all secrets."""
        self.server.client.secrets.kv.v2.create_or_update_secret(NAME, values, mount_point=MOUNT)

    def token(self, secrets: VaultSecrets) -> str:
        return str(secrets._client._client.token)

    def revoke(self, token: str) -> None:
        self.server.client.auth.token.revoke(token)


@pytest.fixture
def vault(server: VaultServer, tmp_path: Path) -> Filled:
    return Filled(server, settings_of(fill(server, tmp_path)))


@asynccontextmanager
async def kept_fresh(settings: VaultSettings) -> AsyncIterator[VaultSecrets]:
    """Hold the secrets as a running service does."""
    secrets = VaultSecrets(settings)
    await secrets.read()
    keeping = asyncio.create_task(secrets.keep_fresh())
    try:
        yield secrets
    finally:
        keeping.cancel()


async def test_the_secrets_are_read_by_approle_and_a_document_or_a_line_break_in_one_does_no_harm(
    vault: Filled,
) -> None:
    vault.write(**HELD, MOOG_API_KEY="with a line break\n", WEBUI_API_KEYS={"ann": {"role": "viewer"}}, EMPTY="")
    before = time.time()
    secrets = await open_secrets(vault.settings, {})
    assert {name: secrets.get(name) for name in HELD} == HELD
    assert secrets.get("MOOG_API_KEY") == "with a line break"
    assert secrets.get("WEBUI_API_KEYS") == '{"ann": {"role": "viewer"}}'
    assert secrets.get("EMPTY") is secrets.get("MISSING") is None
    assert (secrets.problem, secrets.read_at >= before) == (None, True)


async def test_version_1_of_kv_and_a_mount_with_a_slash_are_found(vault: Filled) -> None:
    vault.server.client.sys.enable_secrets_engine("kv", path="teams/telemetry", options={"version": "1"})
    vault.server.client.secrets.kv.v1.create_or_update_secret("mutt", HELD, mount_point="teams/telemetry")
    vault.server.client.sys.create_or_update_policy("mutt", 'path "teams/telemetry/mutt" { capabilities = ["read"] }')
    secrets = await open_secrets(replace(vault.settings, secrets_path="teams/telemetry/mutt"), {})
    assert {name: secrets.get(name) for name in HELD} == HELD


async def test_a_mount_that_becomes_one_of_versions_is_read_as_such(vault: Filled) -> None:
    client = vault.server.client
    client.sys.enable_secrets_engine("kv", path="grows", options={"version": "1"})
    client.secrets.kv.v1.create_or_update_secret("mutt", HELD, mount_point="grows")
    client.sys.create_or_update_policy("mutt", 'path "grows/*" { capabilities = ["read"] }')

    def written() -> bool:
        with suppress(vault_errors.InvalidRequest):  # Vault takes a moment for the change
            values = HELD | {"INGEST_API_KEY": "of version 2"}
            client.secrets.kv.v2.create_or_update_secret("mutt", values, mount_point="grows")
            return True
        return False

    async with kept_fresh(replace(vault.settings, secrets_path="grows/mutt", refresh_interval=0.2)) as secrets:
        assert secrets.get("INGEST_API_KEY") == HELD["INGEST_API_KEY"]
        client.sys.tune_mount_configuration("grows", options={"version": "2"})
        await eventually(written, "a secret with versions")
        await eventually(lambda: secrets.get("INGEST_API_KEY") == "of version 2", "the secret that was written then")
        assert secrets.problem is None


async def test_a_token_is_renewed_below_the_threshold_however_long_the_check_interval_is(
    server: VaultServer, tmp_path: Path
) -> None:
    settings = settings_of(fill(server, tmp_path, token_ttl="2s", token_max_ttl="1h"), renew_check_interval=300)
    async with kept_fresh(settings) as secrets:
        token = str(secrets._client._client.token)

        def renewed_twice() -> bool:
            data = server.client.auth.token.lookup(token)["data"]
            return int(data.get("last_renewal_time") or 0) >= int(data["creation_time"]) + 2

        await eventually(renewed_twice, "a renewal past the token's first life")
        assert (secrets.problem, secrets._client._client.token) == (None, token)


async def test_above_the_threshold_a_token_is_left_alone(vault: Filled) -> None:
    secrets = VaultSecrets(replace(vault.settings, token_renew_threshold=60, renew_check_interval=1))
    await secrets.read()
    secrets._client.token_due = 0
    await secrets.read()
    data = vault.server.client.auth.token.lookup(vault.token(secrets))["data"]
    assert data.get("last_renewal_time") is None


async def test_a_token_at_the_end_of_its_longest_life_is_replaced_before(server: VaultServer, tmp_path: Path) -> None:
    settings = settings_of(fill(server, tmp_path, token_ttl="2s", token_max_ttl="3s"))
    async with kept_fresh(settings) as secrets:
        first = str(secrets._client._client.token)
        await eventually(lambda: secrets._client._client.token != first, "another token")
        assert secrets.problem is None


async def test_a_token_that_was_revoked_or_has_ended_is_replaced_at_the_next_reading(vault: Filled) -> None:
    secrets = VaultSecrets(vault.settings)
    await secrets.read()
    first = vault.token(secrets)
    vault.revoke(first)
    vault.write(**HELD | {"INGEST_API_KEY": "another"})
    await secrets.refresh()
    assert (secrets.get("INGEST_API_KEY"), secrets.problem) == ("another", None)
    second = vault.token(secrets)
    assert second != first
    vault.revoke(second)
    secrets._client.token_due = 0  # the look at the token finds it out first
    await secrets.refresh()
    assert (vault.token(secrets) != second, secrets.problem) == (True, None)


async def test_while_vault_is_sealed_what_is_held_holds_and_unsealed_it_is_read_again(vault: Filled) -> None:
    async with kept_fresh(replace(vault.settings, refresh_interval=0.2)) as secrets:
        vault.server.seal()
        await eventually(lambda: secrets.problem, "the problem")
        assert "is sealed, or not ready: unseal it" in str(secrets.problem)
        assert secrets.get("INGEST_API_KEY") == HELD["INGEST_API_KEY"]
        vault.server.unseal()
        await eventually(lambda: secrets.problem is None, "the secrets again")


async def test_a_vault_that_was_lost_and_set_up_anew_is_found_again(tmp_path: Path) -> None:
    with running_vault(tmp_path) as server:
        settings = settings_of(fill(server, tmp_path), refresh_interval=0.2)
        async with kept_fresh(settings) as secrets:
            server.kill()
            await eventually(lambda: secrets.problem, "the problem")
            assert "cannot be reached: " in str(secrets.problem)
            assert "Connection refused" in str(secrets.problem)
            assert secrets.get("INGEST_API_KEY") == HELD["INGEST_API_KEY"]
            server.start()
            fill(server, tmp_path, HELD | {"INGEST_API_KEY": "after the loss"})
            await eventually(lambda: secrets.get("INGEST_API_KEY") == "after the loss", "the new secret")
            assert secrets.problem is None


async def test_a_vault_that_hangs_holds_up_nothing(
    vault: Filled, proxy: Callable[[str], Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.runtime.vault.REPLY_SECONDS", 0.5)
    between = proxy(f"{vault.server.address}/")
    secrets = VaultSecrets(replace(vault.settings, addr=between.url.rstrip("/")))
    await secrets.read()
    between.hang()
    reading = asyncio.create_task(secrets.refresh())
    turns = 0
    while not reading.done():
        await asyncio.sleep(0.01)
        turns += 1
    assert turns > 10, "the loop turned on"
    assert "does not answer in time" in str(secrets.problem)
    assert secrets.get("INGEST_API_KEY") == HELD["INGEST_API_KEY"]
    between.mend()
    await secrets.refresh()
    assert secrets.problem is None


async def test_while_vault_refuses_it_is_asked_again_in_good_time_and_not_without_a_pause(
    vault: Filled, said: Callable[[], str]
) -> None:
    secrets = VaultSecrets(vault.settings)
    await secrets.read()
    vault.server.client.sys.disable_auth_method("approle")  # its tokens end with it
    secrets._client.token_due = 0
    await secrets.refresh()
    await secrets.refresh()
    assert "refuses the AppRole" in str(secrets.problem)
    assert secrets._due() == vault.settings.refresh_interval
    assert said().count("no longer valid") == 1
    vault.server.client.sys.enable_auth_method("approle")


@pytest.fixture
def web_page() -> Iterator[str]:
    """Answer all with a web page and 200, as a proxy does whose Vault is being looked after."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = b"<html>back soon</html>"
            self.send_response(200)
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        do_POST = do_PUT = do_GET  # noqa: N815  (the names are the library's)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("token_due", [0.0, float("inf")])
async def test_a_page_in_place_of_vault_is_told_and_the_secrets_are_read_again_later(
    vault: Filled, web_page: str, token_due: float
) -> None:
    secrets = VaultSecrets(vault.settings)
    await secrets.read()
    secrets._client.token_due = token_due
    secrets._client._client.url = web_page
    await secrets.refresh()
    assert "does not answer as a Vault does" in str(secrets.problem)
    secrets._client._client.url = vault.server.address
    await secrets.refresh()
    assert secrets.problem is None


async def test_many_that_ask_at_once_share_a_reading_and_see_what_was_written_before(vault: Filled) -> None:
    secrets = VaultSecrets(vault.settings)
    await secrets.read()
    under_way = asyncio.create_task(secrets.refresh())
    await eventually(lambda: secrets._begun == 1, "the reading to have begun")
    vault.write(**HELD | {"INGEST_API_KEY": "later"})
    await asyncio.gather(*(secrets.refresh() for _ in range(50)))
    await under_way
    assert secrets.get("INGEST_API_KEY") == "later"
    assert secrets._begun == 2, "the one under way may have read too early for them"


async def test_a_reading_goes_on_when_the_one_who_asked_has_gone(vault: Filled) -> None:
    secrets = VaultSecrets(vault.settings)
    await secrets.read()
    vault.write(**HELD | {"INGEST_API_KEY": "later"})
    asking = asyncio.create_task(secrets.refresh())
    await eventually(lambda: secrets._begun == 1, "the reading to have begun")
    asking.cancel()
    await eventually(lambda: secrets.get("INGEST_API_KEY") == "later", "the secret that was read")


async def test_a_secret_without_which_nothing_works_does_not_vanish(vault: Filled) -> None:
    held = HELD | {"MOOG_API_KEY": "moogsoft-key-in-vault", "REDIS_SENTINEL_PASS": "sentinels-password-in-vault"}
    vault.write(**held)
    secrets = VaultSecrets(vault.settings)
    await secrets.read()
    read_at = secrets.read_at
    vault.write(INGEST_API_KEY_NEXT="written with put")
    await secrets.refresh()
    assert {name: secrets.get(name) for name in held} == held
    assert secrets.get("INGEST_API_KEY_NEXT") == "written with put"
    assert secrets.read_at == read_at
    lost = "INGEST_API_KEY, MOOG_API_KEY, REDIS_PASS_CURRENT, REDIS_SENTINEL_PASS"
    assert f"{lost} cannot be found any more in Vault" in str(secrets.problem)
    assert "vault kv patch" in str(secrets.problem)
    vault.write(**held)
    await secrets.refresh()
    assert (secrets.problem, secrets.get("INGEST_API_KEY_NEXT")) == (None, None)


def _missing(path: Path) -> None:
    path.unlink()


def _empty(path: Path) -> None:
    path.write_text(" \n", encoding="ascii")


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _binary(path: Path) -> None:
    path.write_bytes(b"\xff\xfe")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_missing, "cannot be read (No such file or directory)"),
        (_empty, "is empty: put the AppRole's secret id there"),
        (_folder, "cannot be read (Is a directory)"),
        (_binary, "holds something else than a secret id"),
    ],
)
async def test_a_file_of_the_secret_id_that_is_of_no_use_is_named(
    vault: Filled, spoil: Callable[[Path], None], said: str
) -> None:
    path = Path(vault.settings.secret_id_file)
    spoil(path)
    with pytest.raises(MisconfiguredError) as caught:
        await open_secrets(vault.settings, {})
    assert f"VAULT_SECRET_ID_FILE={str(path)!r} {said}" in str(caught.value)


async def test_a_file_of_the_secret_id_that_others_can_read_is_warned_of_once(
    vault: Filled, said: Callable[[], str]
) -> None:
    path = Path(vault.settings.secret_id_file)
    await open_secrets(vault.settings, {})
    assert "can be read by others" not in said()
    path.chmod(0o640)  # noqa: ASYNC240  (one system call)
    secrets = VaultSecrets(vault.settings)
    await secrets.read()
    vault.revoke(vault.token(secrets))
    await secrets.refresh()
    shown = said()
    assert shown.count("can be read by others than its owner: chmod 0400") == 1
    assert "mode=0640" in shown
    assert SECRET_ID not in shown


async def test_what_vault_refuses_is_said_with_the_remedy(vault: Filled) -> None:
    async def said(settings: VaultSettings) -> str:
        with pytest.raises(TransientError) as caught:
            await open_secrets(settings, {})
        assert SECRET_ID not in str(caught.value)
        return str(caught.value)

    assert "refuses the AppRole" in await said(replace(vault.settings, role_id="nobody"))
    assert "give its policy `read` there" in await said(replace(vault.settings, secrets_path="secret/others"))
    assert "has to be the path of a KV mount" in await said(replace(vault.settings, secrets_path="secret"))
    vault.server.client.secrets.kv.v2.delete_latest_version_of_secret(NAME, mount_point=MOUNT)
    assert "its newest version is deleted" in await said(vault.settings)
    vault.server.client.sys.create_or_update_policy("mutt", 'path "secret/data/else" {}')
    assert "give its policy `read` there" in await said(vault.settings)
    vault.server.client.sys.disable_auth_method("approle")
    assert "auth/approle" in await said(vault.settings)
    vault.server.client.sys.enable_auth_method("approle")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"addr": "vault.example:8200"}, "VAULT_ADDR='vault.example:8200' is not possible"),
        ({"addr": "https://me:word@vault.example"}, "VAULT_ADDR holds a user name or password"),
        ({"role_id": None}, "VAULT_ROLE_ID is not set"),
    ],
)
def test_variables_that_cannot_work_are_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        VaultSettings(**{"addr": "https://vault.example", "role_id": "role"} | changes)
    assert said in str(caught.value)
    assert "word" not in str(caught.value).replace("password", "")


async def test_the_certificate_of_vault_is_verified_with_its_authority(tmp_path: Path) -> None:
    with running_vault(tmp_path, tls=True) as server:
        settings = settings_of(fill(server, tmp_path), cacert=str(server.ca))
        assert (await open_secrets(settings, {})).get("INGEST_API_KEY") == HELD["INGEST_API_KEY"]
        for changes, said in (
            ({"cacert": None}, "certificate of Vault at 127.0.0.1:.* VAULT_CACERT"),
            ({"cacert": str(tmp_path / "secret-id")}, "holds no certificate"),
            ({"cacert": str(tmp_path / "none.pem")}, "VAULT_CACERT=.* cannot be read"),
            ({"addr": f"http://127.0.0.1:{server.port}"}, "Vault at http://127.0.0.1"),
        ):
            with pytest.raises(MuttError, match=said):
                await open_secrets(replace(settings, **changes), {})
