"""TLS on the services' own ports: HTTPS ingest by curl, a renewed certificate, and what a fault says."""

import asyncio
import json
import os
import signal
import ssl
import subprocess
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import redis
import requests
from cryptography import x509
from prometheus_client import CollectorRegistry

from mutt import keys
from mutt.errors import SettingsError
from mutt.server_settings import OwnTlsSettings
from mutt.variables import read
from scripts.devtools.services import HOST
from services.runtime.certificates import presented
from services.runtime.health import Health
from services.runtime.instruments import CommonInstruments
from services.runtime.own_certificate import own_certificate
from services.web_ui.testimony import _ask
from tests.harness.credentials import INGEST_API_KEY
from tests.harness.documents import Shell, blocks
from tests.harness.processes import ServiceProcess, StartService
from tests.harness.programs import program
from tests.harness.tls_servers import NAME, Authorities
from tests.harness.waiting import eventually, wait_for
from tests.service.ingest_api import event, queued

TLS_PAGE = Path(__file__).resolve().parents[2] / "docs" / "operations" / "tls.md"
ENDS = "mutt_tls_certificate_expiry_timestamp_seconds"


def address(service: ServiceProcess, path: str) -> str:
    return f"https://{NAME}:{service.ports['http']}{path}"


def certificate_of(pair: tuple[Path, Path]) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pair[0].read_bytes())


def variables(pair: tuple[Path, Path]) -> dict[str, str]:
    return {"MUTT_TLS_CERT_PATH": str(pair[0]), "MUTT_TLS_KEY_PATH": str(pair[1])}


@pytest.fixture
def pair(authorities: Authorities) -> tuple[Path, Path]:
    return authorities.issue("own")


@pytest.fixture
def ingestor(start_service: StartService, authorities: Authorities, pair: tuple[Path, Path]) -> ServiceProcess:
    service = start_service("ingestor", wait=False, **variables(pair))
    wait_for(lambda: is_healthy(service, authorities), "health over TLS")
    return service


def is_healthy(service: ServiceProcess, authorities: Authorities) -> bool:
    try:
        return get(service, authorities, "/health").ok
    except requests.ConnectionError:
        return False


def get(service: ServiceProcess, authorities: Authorities, path: str) -> requests.Response:
    return requests.get(address(service, path), verify=str(authorities.trusted), timeout=30)


def curl(service: ServiceProcess, body: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    found = program("curl")
    command = [str(found.path), "-sS", "-H", f"X-API-KEY: {INGEST_API_KEY}", "--data-binary", f"@{body}", *options]
    return subprocess.run(
        [*command, address(service, "/api/v2/ingest")],
        env=found.environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_events_are_taken_over_https_and_nobody_is_taken_for_the_ingestor(
    ingestor: ServiceProcess, authorities: Authorities, redis_url: str, tmp_path: Path
) -> None:
    body = tmp_path / "body"
    # Far more than one record of TLS, and than one read of the protocol.
    body.write_text(json.dumps([event(message=f"message {n} " + "ü" * 200) for n in range(3000)]))
    done = curl(ingestor, body, "--cacert", str(authorities.trusted))
    assert json.loads(done.stdout)["accepted"] == 3000, done
    assert queued(redis_url)[-1].fields["message"].startswith("message 2999 ü")
    with requests.Session() as sender:
        for _ in range(3):
            reply = sender.post(
                address(ingestor, "/api/v2/ingest"),
                json=event(),
                headers={"X-API-KEY": INGEST_API_KEY},
                verify=str(authorities.trusted),
                timeout=60,
            )
            assert reply.json()["status"] == "queued"
    refused = curl(ingestor, body, "--cacert", str(authorities.other))
    assert "certificate" in refused.stderr
    assert len(queued(redis_url)) == 3003
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://{HOST}:{ingestor.ports['http']}/health", timeout=10)


def test_nothing_older_than_tls_1_2_is_spoken(pair: tuple[Path, Path]) -> None:
    ends = CommonInstruments(CollectorRegistry()).certificate_ends
    own = own_certificate(read(OwnTlsSettings, variables(pair)), ends)
    assert own
    assert own.context.minimum_version is ssl.TLSVersion.TLSv1_2


async def test_a_renewed_certificate_is_shown_without_a_restart_and_a_half_renewed_one_is_not(
    ingestor: ServiceProcess, authorities: Authorities, pair: tuple[Path, Path]
) -> None:
    at = (HOST, ingestor.ports["http"])
    first = certificate_of(pair)
    assert await presented(at) == first
    fresh = authorities.issue("fresh")
    pair[0].write_bytes(fresh[0].read_bytes())  # with the key of the one before
    ingestor.signal(signal.SIGHUP)
    await eventually(lambda: "the new certificate is refused, the one in use stays" in ingestor.log(), "a refusal")
    assert await presented(at) == first
    health = await asyncio.to_thread(get, ingestor, authorities, "/health")
    assert health.ok
    assert "MUTT_TLS_CERT_PATH" in health.json()["notes"]["certificate"]
    pair[1].write_bytes(fresh[1].read_bytes())

    async def is_shown() -> Any:
        return await presented(at) == certificate_of(fresh)

    await eventually(is_shown, "the renewed certificate")
    page = (await asyncio.to_thread(get, ingestor, authorities, "/metrics")).text
    ends = certificate_of(fresh).not_valid_after_utc.timestamp()
    assert [float(line.split()[1]) for line in page.splitlines() if line.startswith(f'{ENDS}{{peer="own"}}')] == [ends]


async def test_a_certificate_that_is_read_in_part_stops_no_later_renewal(
    authorities: Authorities, pair: tuple[Path, Path]
) -> None:
    instruments = CommonInstruments(CollectorRegistry())
    own = own_certificate(read(OwnTlsSettings, variables(pair)), instruments.certificate_ends)
    assert own
    health, hangup = Health("test", instruments), asyncio.Event()
    keeping = asyncio.create_task(own.keep_fresh(hangup, health))
    first = own.fingerprint
    # OpenSSL takes its own form of a certificate, which others cannot read.
    pair[0].write_bytes(pair[0].read_bytes().replace(b" CERTIFICATE-", b" TRUSTED CERTIFICATE-"))
    hangup.set()
    refusal = str(await eventually(lambda: health.notes.get("certificate"), "a refusal"))
    assert "MUTT_TLS_CERT_PATH" in refusal
    assert own.fingerprint == first
    fresh = authorities.issue("fresh")
    for old, new in zip(pair, fresh, strict=True):
        old.write_bytes(new.read_bytes())
    hangup.set()
    await eventually(lambda: own.fingerprint != first, "the renewed certificate")
    assert "certificate" not in health.notes
    # What was in the way may leave no trace in the file, as a right to read it, or a handle that was lacking.
    moment = 1_700_000_000
    good = pair[0].read_bytes()
    for content in (good.replace(b"A", b"B"), good):
        pair[0].write_bytes(content)
        os.utime(pair[0], (moment, moment))
        hangup.set()
        await eventually(lambda: ("certificate" in health.notes) is (content is not good), "a look")  # noqa: B023
    keeping.cancel()


def test_the_commands_of_the_page_on_tls_work_as_they_stand(
    ingestor: ServiceProcess, authorities: Authorities, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    renewed = authorities.issue("renewed")
    environment = {
        **program("curl").environment,
        **variables(pair),
        "CA": str(authorities.trusted),
        "INGESTOR": f"{NAME}:{ingestor.ports['http']}",
        "RENEWED_CERT": str(renewed[0]),
        "RENEWED_KEY": str(renewed[1]),
    }
    with Shell(tmp_path, environment) as shell:
        (ends,) = blocks(TLS_PAGE, "When certificates end")
        expected = certificate_of(pair).not_valid_after_utc.timestamp()
        assert float(shell.run(ends).split()[-1]) == expected
        health, renewal = blocks(TLS_PAGE, "On the ports 8080 and 8090")
        assert json.loads(shell.run(health))["status"] == "healthy"
        shell.run(renewal)


async def test_the_console_asks_an_ingestor_by_its_certificate_where_only_its_address_is_known(
    ingestor: ServiceProcess, pair: tuple[Path, Path], redis_url: str
) -> None:
    name = ingestor.environment["POD_NAME"]
    with redis.Redis.from_url(redis_url) as client:

        def reported() -> object:
            found = client.get(keys.figures("ingestor", name))
            return found and json.loads(found).get("health")

        health = str(await eventually(reported, "a report with an address"))
    async with aiohttp.ClientSession() as session:

        async def is_heard() -> Any:
            return (await _ask(session, "ingestor", name, health)).kind == "ok"

        await eventually(is_heard, "health by the certificate")
        other = health[:-64] + "0" * 64
        heard = await _ask(session, "ingestor", name, other)
    assert heard.state == "silent"
    address = health.partition("#")[0]
    assert heard.words == f"no answer from {address}: it shows another certificate than the one reported"
    assert await presented((HOST, ingestor.ports["http"])) == certificate_of(pair)


def test_the_web_ui_serves_https_and_warns_of_a_key_that_everybody_may_open(
    start_service: StartService, authorities: Authorities, pair: tuple[Path, Path]
) -> None:
    pair[1].chmod(0o644)
    console = start_service("webui", wait=False, **variables(pair))
    wait_for(lambda: is_healthy(console, authorities), "health over TLS")
    assert get(console, authorities, "/sign-in").ok
    assert "chmod o-rwx" in console.log()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ("certificate", "MUTT_TLS_CERT_PATH='{certificate}' cannot be read: No such file"),
        ("key", "are no certificate and its private key in PEM form"),
        ("form", "MUTT_TLS_CERT_PATH='{certificate}' holds no certificate in PEM form"),
        ("half", "MUTT_TLS_KEY_PATH is not set: TLS needs both"),
    ],
)
def test_a_certificate_that_is_of_no_use_is_refused_at_the_start(
    pair: tuple[Path, Path], spoil: str, words: str
) -> None:
    here = variables(pair)
    if spoil == "certificate":
        pair[0].unlink()
    elif spoil == "key":
        pair[1].write_text("no key")
    elif spoil == "form":
        pair[0].write_bytes(pair[0].read_bytes().replace(b" CERTIFICATE-", b" TRUSTED CERTIFICATE-"))
    else:
        here["MUTT_TLS_KEY_PATH"] = ""
    ends = CommonInstruments(CollectorRegistry()).certificate_ends
    with pytest.raises(SettingsError) as refusal:
        own_certificate(read(OwnTlsSettings, here), ends)
    assert words.format(certificate=pair[0]) in str(refusal.value)
