"""The commands of docs/senders.md about the two doors, run as they are written."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.harness.credentials import INGEST_API_KEY
from tests.harness.programs import program
from tests.service.doors import open_doors

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "senders.md"
SECTIONS = {"Splunk HTTP Event Collector": ("sw1", "link down"), "OTLP": ("app1", "payment failed")}


def test_the_examples_of_the_page_are_taken_and_answered_as_it_says(tmp_path: Path) -> None:
    page, curl = PAGE.read_text(encoding="utf-8"), program("curl")
    with open_doors(tmp_path) as doors:
        environment = {
            **curl.environment,
            "PATH": f"{curl.path.parent}:{curl.environment['PATH']}",
            "MUTT_URL": doors.ingestor.url,
            "MUTT_API_KEY": INGEST_API_KEY,
            "no_proxy": "*",
        }
        for title, (host, message) in SECTIONS.items():
            section = page.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]
            [(command, answer)] = re.findall(r"```sh\n(.+?)```\n+```json\n(.+?)```", section, re.DOTALL)
            done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout) == json.loads(answer), title
            [found] = doors.events()
            assert (found.hostname, found.message, found.severity) == (host, message, 3)


@pytest.mark.parametrize("title", ["Fluent Bit", "Vector", "Logstash", "Telegraf", "OpenTelemetry Collector"])
def test_each_recorded_sender_has_a_section(title: str) -> None:
    assert f"\n## {title}\n" in PAGE.read_text(encoding="utf-8")
