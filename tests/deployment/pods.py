"""A pod of the manifests as processes of this machine: same command, environment, secrets, user without rights.

What a container has and a process has not is put in its place: `/opt/mutt` is a tree as the Dockerfile lays it out,
addresses and ports are those of the test's servers, and instead of a root file system that is read-only the process may
write no byte to any file, unless the pod mounts something to write to (`writes`).
"""

import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scripts.devtools.embedded import HOST, free_port
from scripts.devtools.privileges import as_postgres_user, postgres_user
from scripts.devtools.services import SERVICES
from tests.deployment.kustomize import Manifest
from tests.deployment.manifests import ROOT, SECRETS, Pod, configuration
from tests.harness.processes import fetch
from tests.harness.waiting import wait_for

PYTHON, TREE = "/opt/mutt/venv/bin/python", "/opt/mutt"
PATIENCE = 60.0  # seconds; below what the startup probe gives


def lay_out_image(folder: Path) -> Path:
    """Copy into `folder` what the Dockerfile copies into the image, and take the right to write away."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    for source, target in re.findall(r"^COPY (?!--)(\S+) (\S+)$", text, re.MULTILINE):
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, folder / target)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o444)
    return folder


def image_environment() -> dict[str, str]:
    """Return the ENV of the Dockerfile."""
    (block,) = re.findall(r"^ENV ((?:.*\\\n)*.*)$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    return dict(re.findall(r"(\w+)=(\S+)", block))


@dataclass
class Place:
    """Where pods run: the image's tree, all secrets by name, and what stands for the addresses of a cluster."""

    image: Path
    secrets: Mapping[str, str]
    addresses: Mapping[str, str]
    folder: Path
    ports: dict[int, int] = field(default_factory=dict)

    def port(self, number: int) -> int:
        """Return the port of this machine that stands for a port of a container."""
        return self.ports.setdefault(number, free_port())


class Run:
    """A container of a pod as a process."""

    def __init__(self, pod: Pod, container: Manifest, place: Place, overlay: str, *, writes: bool = False) -> None:
        self.pod, self.container, self.place = pod, container, place
        self.name = f"{pod.name}/{container['name']}"
        self._said: list[bytes] = []
        secrets = self._project_secrets()
        arguments = [self._local(each, secrets) for each in container["command"]]
        environment = {
            **image_environment(),
            # In the image the virtual environment knows the tree, here it knows the checkout: the tree goes first.
            "PYTHONPATH": str(place.image),
            **{name: self._local(value, secrets) for name, value in configuration(overlay, pod, container).items()},
            **place.addresses,
            **self._port_variables(),
            "MUTT_BIND_HOST": HOST,
        }
        passed = [place.image, place.folder, Path(sys.prefix), Path(sys.base_prefix)]
        command = as_postgres_user(arguments, passed, death_signal=signal.SIGKILL)
        options = command.options
        if not writes and not any(each["mountPath"] == "/tmp" for each in container["volumeMounts"]):  # noqa: S108
            options["preexec_fn"] = _without_writing(options["preexec_fn"])
        self.process = subprocess.Popen(
            command.arguments,
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            **options,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def log(self) -> str:
        """Return what it has said."""
        return b"".join(self._said).decode(errors="replace")

    def probe(self, probe: str) -> None:
        """Ask what kubelet would, until it is told 200."""
        url = self.address(self.container[probe]["httpGet"]["path"], probe)

        def answers() -> bool:
            assert self.process.poll() is None, f"{self.name} ended with {self.process.returncode}:\n{self.log()}"
            return fetch(url)[0] == 200

        try:
            wait_for(answers, f"{probe} of {self.name} at {url}", PATIENCE)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{fetch(url)[1]}\n{self.log()[-4000:]}") from None

    def address(self, path: str, probe: str = "readinessProbe") -> str:
        """Return the address of a path at the port of a probe."""
        return f"http://{HOST}:{self.port(self.container[probe]['httpGet']['port'])}{path}"

    def port(self, name: str) -> int:
        """Return the port of this machine that stands for a named port of the container."""
        number = next(each["containerPort"] for each in self.container["ports"] if each["name"] == name)
        return self.place.port(number)

    def end(self, timeout: float) -> int:
        """Return the exit status that it ends with by itself; fails when that takes too long."""
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} did not end in {timeout:g} s:\n{self.log()[-4000:]}") from None
        self._reader.join(5)
        return status

    def close(self) -> None:
        """End it at the end of a test."""
        self.process.kill()
        self.process.wait()
        self._reader.join(5)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def _read(self) -> None:
        if self.process.stdout is not None:
            for line in self.process.stdout:
                self._said.append(line)

    def _local(self, text: str, secrets: Path) -> str:
        return text.replace(PYTHON, sys.executable).replace(TREE, str(self.place.image)).replace(SECRETS, str(secrets))

    def _port_variables(self) -> dict[str, str]:
        service = SERVICES.get(self.pod.name)
        return {} if service is None else {name: str(self.place.port(port)) for name, port in service.ports.values()}

    def _project_secrets(self) -> Path:
        """Write the secrets that the pod's volume names as kubelet would: root's, and readable for the pod's group."""
        volume = self.pod.volume("secrets")["secret"]
        folder = self.place.folder / self.name.replace("/", "-")
        folder.mkdir(mode=0o755)
        user = postgres_user()
        for item in volume["items"]:
            path = folder / item["path"]
            path.write_text(self.place.secrets[item["key"]], encoding="utf-8")
            if user is not None:
                shutil.chown(path, 0, user[1])
            path.chmod(volume["defaultMode"])
        return folder


def _without_writing(before: Callable[[], None] | None) -> Callable[[], None]:
    def limit() -> None:
        if before is not None:
            before()
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    return limit
