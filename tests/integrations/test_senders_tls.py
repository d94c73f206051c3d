"""The senders over TLS, and before something that is not MUTT."""

import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import requests

from scripts.devtools.services import HOST
from tests.harness.processes import ServiceProcess, find_service
from tests.harness.programs import program
from tests.harness.tls_servers import NAME, Authorities
from tests.harness.waiting import wait_for
from tests.integrations.stage import INTEGRATIONS, Running, Stage, write_settings

TRAP = "localhost\nUDP: [10.0.0.1]:1->[127.0.0.1]:162\n.1.3.6.1.6.3.1.1.4.1.0 .1.3.6.1.6.3.1.1.5.1\n"


@pytest.fixture
def authorities(tmp_path: Path) -> Authorities:
    folder = tmp_path / "authorities"
    folder.mkdir()
    return Authorities(folder)


@pytest.fixture
def tls_url(stage: Stage, authorities: Authorities, tmp_path: Path) -> Iterator[str]:
    """Run another ingestor on the stage's Redis, over TLS."""
    certificate, key = authorities.issue("ingestor")
    own = {"MUTT_TLS_CERT_PATH": str(certificate), "MUTT_TLS_KEY_PATH": str(key), "POD_NAME": "over-tls"}
    shared = {name: value for name, value in stage.ingestor.environment.items() if "PORT_INGESTOR" not in name}
    service = ServiceProcess(find_service("ingestor"), shared | own, tmp_path / "ingestor.log")
    service.start(wait=False)
    url = f"https://{NAME}:{service.ports['http']}"

    def is_healthy() -> bool:
        try:
            return requests.get(f"{url}/health", verify=str(authorities.trusted), timeout=30).ok
        except requests.ConnectionError:
            return False

    try:
        wait_for(is_healthy, "health over TLS")
        yield url
    finally:
        service.close()


@pytest.fixture
def drain(tmp_path: Path, end: Callable[[Running], Running]) -> Callable[[Path, str], Running]:
    """Hand over a trap whose host is the test's, and end."""

    def run(settings: Path, host: str) -> Running:
        spool = tmp_path / "spool"
        spool.mkdir()
        name = f"{time.time_ns():020}-{uuid.uuid4()}.trap"
        (spool / name).write_text(TRAP.replace("localhost", host), encoding="utf-8")
        command = [sys.executable, "-IS", str(INTEGRATIONS / "snmptrapd" / "mutt-trap"), "--drain", "--once"]
        command += ["--spool", str(spool), "--settings", str(settings)]
        return end(Running(command, os.environ, tmp_path / "drain.log", tmp_path))

    return run


def test_a_certificate_of_a_stranger_is_refused_until_the_right_authority_is_named(
    stage: Stage, tls_url: str, authorities: Authorities, host: str, drain: Callable[[Path, str], Running]
) -> None:
    settings = write_settings(authorities.folder / "sender.env", tls_url, MUTT_CA_FILE="/nowhere/ca.pem")
    running = drain(settings, host)
    wait_for(lambda: "MUTT_CA_FILE /nowhere/ca.pem: " in running.log(), "the file's name")
    write_settings(settings, tls_url, MUTT_CA_FILE=str(authorities.other))
    wait_for(lambda: "certificate verify failed" in running.log(), "the refusal")
    write_settings(settings, tls_url, MUTT_CA_FILE=str(authorities.trusted))
    assert running.process.wait(60) == 0, running.log()
    assert len(stage.wait_rows(host, 1)) == 1


def test_curl_verifies_the_certificate_too(stage: Stage, tls_url: str, authorities: Authorities, host: str) -> None:
    curl = program("curl")
    path = f"{curl.path.parent}:{os.environ['PATH']}"
    needed = {name: value for name, value in curl.environment.items() if name == "LD_LIBRARY_PATH"}
    for authority, status in ((authorities.other, 75), (authorities.trusted, 0)):
        more = {"MUTT_CA_FILE": str(authority), "MUTT_PATIENCE": "1"}
        settings = write_settings(authorities.folder / "curl.env", tls_url, **more)
        command = ["sh", str(INTEGRATIONS / "curl" / "mutt-post"), "--settings", str(settings)]
        done = subprocess.run(
            [*command, "--event", "3", "over TLS", host],
            env={**needed, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == status, done.stderr
    assert json.loads(done.stdout)["status"] == "queued"
    assert len(stage.wait_rows(host, 1)) == 1


class Stranger(BaseHTTPRequestHandler):
    """A web server that knows nothing of MUTT's paths."""

    status = 400

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_error(self.status, "of a stranger")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize("status", [200, 400])
def test_a_status_that_is_not_mutts_costs_no_event(
    stage: Stage, host: str, settings_file: Path, drain: Callable[[Path, str], Running], status: int
) -> None:
    with HTTPServer((HOST, 0), type("Answers", (Stranger,), {"status": status})) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        write_settings(settings_file, f"http://{HOST}:{server.server_port}")
        running = drain(settings_file, host)
        wait_for(lambda: f"takes nothing now ({status}" in running.log(), "the refusal")
        write_settings(settings_file, stage.url)
        assert running.process.wait(60) == 0, running.log()
        server.shutdown()
    assert len(stage.wait_rows(host, 1)) == 1
