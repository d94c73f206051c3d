"""Alertmanager with a webhook: alerts in batches over its API, until the webhook has each of them."""

import json
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks import machine
from benchmarks.measuring import Figure, NotHere
from benchmarks.peers_loss import STILL, Loss, wait_still
from benchmarks.peers_post import Poster
from benchmarks.peers_webhook import Webhook
from benchmarks.workload import events
from scripts.devtools.embedded import free_port
from tests.harness.programs import Program, find

BATCH = 100
CONFIGURATION = """
route:
  receiver: hook
  group_by: [{group_by}]
  group_wait: {group_wait}
  group_interval: 5s
  repeat_interval: 4h
receivers:
  - name: hook
    webhook_configs:
      - url: {url}
        send_resolved: false
"""


@dataclass
class Alertmanager:
    """One way to run it: how it groups, and how long a new group waits for more."""

    webhook: Webhook
    name: str
    group_by: str = "'...'"
    group_wait: str = "0s"

    def speed(self, count: int) -> Figure:
        """Send alerts until the webhook has all of them."""
        self.webhook.forget()
        made = bodies(count)
        with self._folder() as folder, self._running(folder) as (url, process):
            before, begun = machine.cpu_seconds([process]), time.perf_counter()
            with Poster(url, made, {}) as poster:
                machine.wait_until(lambda: self.webhook.came() >= count, "the delivery of all alerts")
                seconds, used = time.perf_counter() - begun, machine.cpu_seconds([process]) - before
            assert len(poster.acknowledged) == len(made)
        return Figure(count / seconds, used / count * 1e6)

    def loss(self, count: int) -> Loss:
        """Kill it in the middle, start it again, and count what it had acknowledged and the webhook never got."""
        self.webhook.forget()
        with self._folder() as folder:
            with self._running(folder) as (url, process), Poster(url, bodies(count), {}) as poster:
                machine.wait_until(lambda: poster.ended or self.webhook.came() >= count // 4, "a quarter of the alerts")
                process.kill()
            with self._running(folder):  # as whoever supervises it does
                came = wait_still(self.webhook.came, STILL, "the end of what it had kept")
        taken = len(poster.acknowledged) * BATCH
        return Loss(taken, max(0, taken - came), self.webhook.again())

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="mutt-benchmark-", ignore_cleanup_errors=True) as name:
            yield Path(name)

    @contextmanager
    def _running(self, folder: Path) -> Iterator[tuple[str, psutil.Process]]:
        (program, prefix), port = installed(), free_port()
        log = Path(tempfile.gettempdir()) / f"mutt-benchmark-{self.name}.log"
        text = CONFIGURATION.format(url=self.webhook.url, group_by=self.group_by, group_wait=self.group_wait)
        (folder / "alertmanager.yml").write_text(text, encoding="utf-8")
        command = [
            *prefix,
            str(program.path),
            f"--config.file={folder / 'alertmanager.yml'}",
            f"--storage.path={folder}",
        ]
        command += [f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=", "--log.level=warn"]
        with machine.processes([command], program.environment, log) as (process,):
            machine.wait_listening(port, f"Alertmanager (log: {log})", [process])
            yield f"http://127.0.0.1:{port}/api/v2/alerts", process


def bodies(count: int) -> Sequence[bytes]:
    """Return the benchmarks' events as alerts in arrays; the number is a label, so that each is an alert of its own."""
    alerts = []
    for number, event in enumerate(map(json.loads, events(count))):
        labels = {"alertname": event["message"].partition(":")[0].strip("%"), "hostname": event["hostname"]}
        labels |= {"severity": str(event["syslog_severity"]), "sequence": str(number)}
        alerts.append({"labels": labels, "annotations": {"message": event["message"]}, "startsAt": event["timestamp"]})
    return [json.dumps(alerts[first : first + BATCH]).encode() for first in range(0, count, BATCH)]


def installed() -> tuple[Program, Sequence[str]]:
    """Return Alertmanager and what its command begins with; raises NotHere.

    Debian's looks for its templates in /usr/share: unpacked, it is given a /usr/share of its own with them in it.
    """
    program = find("prometheus-alertmanager") or find("alertmanager")
    if program is None:
        raise NotHere("Alertmanager is not installed: bash .ci/programs unpacks Debian's into .tools/")
    if not program.is_unpacked:
        return program, ()
    share = program.companion("/usr/share")
    mount = f'mount -t overlay overlay -o "lowerdir={share}:/usr/share" /usr/share'
    tried = subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True, text=True, check=False)
    if tried.returncode:
        raise NotHere(f"Alertmanager is unpacked only, and cannot be given its templates: {tried.stderr.strip()}")
    return program, ("unshare", "-rm", "sh", "-c", f'{mount} && exec "$@"', "sh")
