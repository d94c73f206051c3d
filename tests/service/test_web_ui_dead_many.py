"""Dead letters by the thousand: their outcomes, and those that are gone among those that lie deep."""

import hashlib
import json
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis

from tests.harness.processes import StartService
from tests.service.dead_letters import dead_alert, mutt_of
from tests.service.web_api import Api

ALERTS = "mutt:alert_queue"
KEYS = {"noc": {"sha256": hashlib.sha256(b"noc-key").hexdigest(), "role": "operator"}}


@pytest.fixture
def redis(redis_url: str) -> Redis:
    return Redis.from_url(redis_url)


@pytest.fixture
def api(start_service: StartService) -> Api:
    return Api(start_service("webui", WEBUI_API_KEYS=json.dumps(KEYS)), "noc-key")


def test_outcomes_count_every_letter_and_list_a_thousand_at_a_time(api: Api, redis: Redis) -> None:
    redis.lpush("mutt:dlq:moog", *(dead_alert(f"m{n}", 5) for n in range(1050)))
    body: dict[str, Any] = {"filter": {}}
    reply: dict[str, Any] = {"more": True}
    while reply["more"]:
        reply = api.call("POST", "/dead-letters/moog/replay", body).json()
        body |= {name: reply[name] for name in ("operation", "before", "start")}
    path = f"/dead-letters/outcomes/{reply['operation']}"
    first, rest = api.get(path).json(), api.get(f"{path}?start=1000").json()
    assert (len(first["outcomes"]), first["total"], first["next"]) == (1000, 1050, 1000)
    assert (len(rest["outcomes"]), rest["total"], rest["next"]) == (50, 1050, None)
    listed = first["outcomes"] + rest["outcomes"]
    assert len({each["event_id"] for each in listed}) == 1050
    # Some come back deep under what died since.
    moved = redis.lrange(ALERTS, 0, -1)
    redis.lpush("mutt:dlq:moog", *moved[:3], *(dead_alert(f"n{n}") for n in range(4000)))
    told = [each for start in ("", "?start=1000") for each in api.get(path + start).json()["outcomes"]]
    assert [each["state"] for each in told].count("refused") == 3


def test_many_that_are_gone_are_looked_for_together_with_those_that_lie_deep(api: Api, redis: Redis) -> None:
    lying_ones = [dead_alert(f"m{n}", 5) for n in range(9000)]
    redis.rpush("mutt:dlq:moog", *lying_ones)
    names = [{"event_id": str(uuid4()), "sha256": "0" * 64, "index": 100 * n} for n in range(90)]
    deep = [
        {"event_id": mutt_of(each)["event_id"], "sha256": hashlib.sha256(each).hexdigest()}
        for each in (lying_ones[0], lying_ones[4321], lying_ones[8999])
    ]
    reply = api.call("POST", "/dead-letters/moog/replay", {"letters": [*names, *deep]}).json()
    assert [each["status"] for each in reply["outcomes"]] == ["gone"] * 90 + ["moved"] * 3
    assert redis.llen("mutt:dlq:moog") == 8997
