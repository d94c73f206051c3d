from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Connection

from mutt.server_settings import RedisSettings
from services import redis_connector
from services.redis_packing import MANY, pack
from services.runtime.secrets import EnvironmentSecrets

Arguments = list[bytes | str | int]


def packed_by_the_client(arguments: Arguments) -> bytes:
    return b"".join(Connection().pack_command(*arguments))


@given(st.lists(st.binary() | st.text() | st.integers() | st.binary(min_size=5990, max_size=6010), min_size=1))
def test_a_command_is_packed_as_the_client_packs_it(arguments: Arguments) -> None:
    encode: Any = Connection().encoder.encode
    assert pack(list(map(encode, ["EVALSHA", *arguments]))) == packed_by_the_client(["EVALSHA", *arguments])


@pytest.mark.parametrize("more", [1, MANY, 8 * MANY])
def test_a_services_connection_packs_as_the_client_does(more: int) -> None:
    client = redis_connector.connect(RedisSettings(tls_enabled=False), EnvironmentSecrets({}))
    arguments: Arguments = ["SCRIPT EXISTS" if more == 1 else "EVALSHA", "ü", b"\xff", *range(more)]
    connection: Any = client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
    assert b"".join(connection.pack_command(*arguments)) == packed_by_the_client(arguments)
