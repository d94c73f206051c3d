"""A real S3 server: SeaweedFS out of its wheel, with one pair of keys, which it demands."""

import os
import subprocess
import sysconfig
from pathlib import Path

from scripts.devtools.embedded import free_port
from scripts.devtools.privileges import die_with_parent
from tests.harness.processes import fetch
from tests.harness.waiting import wait_for

HOST = "127.0.0.1"
ACCESS_KEY = "test-access-key"
SECRET_KEY = "test-secret-key"  # of a server on the loopback that lives as long as the tests
PORTS = (
    *("master.port", "volume.port", "filer.port"),
    *("master.port.grpc", "volume.port.grpc", "filer.port.grpc", "s3.port.grpc"),
)
# Of one machine, heard by nobody else, and gone at once.
OFF = (
    *("s3.port.iceberg=0", "s3.port.lance=0", "webdav=false", "admin.ui=false", "master.telemetry=false"),
    *("admin.port=0", "admin.port.grpc=0", "volume.preStopSeconds=0"),
)


class S3Server:
    """The server; `kill` and `start` again keep what it acknowledged."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._others = [free_port() for _ in PORTS]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The endpoint."""
        return f"http://{HOST}:{self.port}"

    def start(self) -> None:
        """Start it (again) and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [
            str(Path(sysconfig.get_path("scripts")) / "weed"),
            "mini",
            f"-dir={self.folder}",
            f"-ip={HOST}",
            f"-ip.bind={HOST}",
            f"-s3.port={self.port}",
            *(f"-{name}={port}" for name, port in zip(PORTS, self._others, strict=True)),
            *(f"-{each}" for each in OFF),
        ]
        keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
        with (self.folder / "server.log").open("ab") as output:
            self._process = subprocess.Popen(
                command,
                env={"PATH": os.defpath, "HOME": str(self.folder), **keys},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=die_with_parent(),  # noqa: PLW1509  # one system call, no lock
            )
        wait_for(lambda: fetch(self.url)[0] in {200, 403}, f"S3 at {self.url}")

    def kill(self) -> None:
        """Kill it as kill -9 does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
