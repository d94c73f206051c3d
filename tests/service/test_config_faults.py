"""The dynamic configuration under faults: bad values by hand, announcements that nobody heard, and muttdev config."""

import subprocess
from urllib.parse import urlsplit

import pytest
import redis
from typer.testing import CliRunner

from mutt import keys
from mutt.dynamic_keys import ALL
from scripts.devtools import configuration
from scripts.devtools.instance import UserError
from tests.harness.credentials import WEBUI_API_KEY
from tests.harness.processes import ServiceProcess, StartService
from tests.harness.programs import program
from tests.harness.waiting import wait_for
from tests.service.browser import Browser
from tests.service.ingest_api import event, post
from tests.service.web_api import Api, changes

REFUSED = "a dynamic value is refused, the last good one stays"
WORKERS: tuple[tuple[str, dict[str, str]], ...] = (
    ("ingestor", {}),
    ("alerter", {"INGEST_QUEUE_NAME": "mutt:other"}),  # what the ingestor takes has to stay in its queue
    ("moog-forwarder", {}),
    ("remediation", {"REMEDIATION_SCAN_INTERVAL": "0.2", "REMEDIATION_LEASE_SECONDS": "1"}),
)


def by_hand(url: str, *command: str) -> None:
    """Do what an operator types."""
    parts = urlsplit(url)
    found = program("redis-cli")
    environment = {**found.environment, "REDISCLI_AUTH": parts.password or ""}
    subprocess.run(
        [str(found.path), "-h", str(parts.hostname), "-p", str(parts.port), *command],
        env=environment, check=True, capture_output=True, timeout=60,
    )  # fmt: skip


def refusals(service: ServiceProcess, key: str) -> int:
    return sum(REFUSED in line and f"{key}=" in line for line in service.log().splitlines())


def test_a_bad_value_by_hand_is_refused_by_every_service_once_and_the_last_good_one_stays(
    redis_url: str, start_service: StartService
) -> None:
    # None of it is announced: services find it when their values are five seconds old.
    by_hand(redis_url, "SET", keys.config("max_ingest_queue_size"), "1")
    services = {name: start_service(name, wait=False, DYNAMIC_CONFIG_ENABLED="true", **more) for name, more in WORKERS}
    console = start_service("webui", DYNAMIC_CONFIG_ENABLED="true")
    for service in services.values():
        service.wait_healthy()
    ingestor = services["ingestor"]
    assert post(ingestor, event()).status_code == 200
    wait_for(lambda: post(ingestor, event()).json().get("queue_limit") == 1, "the good value")

    by_hand(redis_url, "SET", keys.config("max_ingest_queue_size"), "0")
    for service in services.values():
        wait_refusal(service, "max_ingest_queue_size")
    # Each announcement has all values read again.
    by_hand(redis_url, "SET", keys.config("slo_window_hours"), "never")
    by_hand(redis_url, "PUBLISH", keys.CONFIG_UPDATES, "slo_window_hours")
    for service in services.values():
        wait_refusal(service, "slo_window_hours")
        assert refusals(service, "max_ingest_queue_size") == 1
        assert service.metric("mutt_config_refused") == 2
    assert post(ingestor, event()).json()["queue_limit"] == 1

    page = Browser(console).sign_in().open("/configuration")
    assert page.count("stored value refused") == 2
    shown = Api(console).get("/config/max_ingest_queue_size").json()
    assert "a whole number from 1 to 1000000000 is needed" in shown["warning"]
    assert "keep the last good one" in shown["warning"]


def wait_refusal(service: ServiceProcess, key: str) -> None:
    wait_for(lambda: refusals(service, key) == 1, f"a refusal of {key} by {service.service.name}")


@pytest.fixture
def console(start_service: StartService, monkeypatch: pytest.MonkeyPatch) -> ServiceProcess:
    service = start_service("webui", DYNAMIC_CONFIG_ENABLED="true", MOOG_RATE_LIMIT="70")
    monkeypatch.setenv("WEBUI_API_KEY", WEBUI_API_KEY)
    return service


def muttdev(console: ServiceProcess, *arguments: str) -> str:
    """Return what muttdev config prints."""
    done = CliRunner().invoke(configuration.app, [*arguments, "--url", console.url], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_muttdev_config_shows_and_changes_keys_by_the_way_that_is_recorded(
    console: ServiceProcess, redis_url: str, database_url: str
) -> None:
    key = "moog_rate_limit"
    assert muttdev(console, "get", key) == "70\n"
    assert muttdev(console, "set", key, "90", "--reason", "a storm").startswith(f"{key} is 90 now, from redis")
    assert muttdev(console, "set", "slo_ingest_success_target", "0.9").endswith("0.9 now, from redis\n")
    assert muttdev(console, "set", "alerter_shed_mode", "defer").endswith("defer now, from redis\n")
    listed = muttdev(console, "list")
    assert len(listed.splitlines()) > len(ALL)
    (line,) = (line for line in listed.splitlines() if key in line)
    assert "90" in line
    assert "1 to 100000" in line
    with redis.Redis.from_url(redis_url) as client:
        assert client.get(keys.config(key)) == b"90"
    assert muttdev(console, "unset", key, "--reason", "over").startswith(f"{key} is 70 now, from environment")
    made = [row for row in changes(database_url) if row["record_id"] == key]
    assert [(row["changed_by"], row["operation"], row["reason"]) for row in made] == [
        ("default", "CREATE", "a storm"),
        ("default", "DELETE", "over"),
    ]


@pytest.mark.parametrize("key", ["a-secret\nkey", "a-secret-kéy\u2028"])
def test_a_key_that_no_header_holds_is_not_shown(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("WEBUI_API_KEY", key)
    with pytest.raises(UserError, match="WEBUI_API_KEY") as refusal:
        CliRunner().invoke(configuration.app, ["list", "--url", "http://127.0.0.1:9"], catch_exceptions=False)
    assert "a-secret" not in str(refusal.value)


def test_muttdev_config_says_what_would_be_possible_and_that_nobody_answers(console: ServiceProcess) -> None:
    for arguments, words in (
        (("set", "moog_rate_limit", "0"), "a whole number from 1 to 100000 is needed"),
        (("set", "moog_rate_limit", "lots"), "a whole number from 1 to 100000 is needed"),
        (("set", "alerter_shed_mode", "drop"), "dlq or defer is needed"),
        (("get", "no such/key"), "there is no|404"),
        (("unset", "moog_rate_limit"), "is not set in Redis"),
    ):
        with pytest.raises(UserError, match=words):
            muttdev(console, *arguments)
    console.kill()
    with pytest.raises(UserError, match=r"does not answer: .* muttdev\.py status"):
        muttdev(console, "list")
