import json
import subprocess
import sys

from services.logging_utils import escape_controls

SCRIPT = """
import logging
from mutt.settings import LogSettings
from services.logging_utils import configure, get_logger
configure(LogSettings(level="INFO", json_enabled={json}), "mutt-test")
get_logger("here").warning("a rule\\x1b[2J stalls", host="r1\\n2026 forged line")
logging.getLogger("library").error("from %s", "elsewhere")
get_logger("here").debug("secret text of an event")
"""


def printed(*, json_enabled: bool) -> list[str]:
    script = SCRIPT.format(json=json_enabled)
    result = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert result.stdout == ""
    return result.stderr.splitlines()


def test_plain_lines_hold_level_words_and_service_and_no_control_characters() -> None:
    first, second = printed(json_enabled=False)
    assert "[warning" in first
    assert r"a rule\x1b[2J stalls" in first
    assert r"r1\n2026 forged line" in first.replace(r"\\n", r"\n")
    assert "service=mutt-test" in first
    assert "from elsewhere" in second


def test_json_lines_can_be_read_by_machines() -> None:
    first, second = (json.loads(line) for line in printed(json_enabled=True))
    assert (first["level"], first["service"], first["event"]) == ("warning", "mutt-test", r"a rule\x1b[2J stalls")
    assert first["host"] == r"r1\n2026 forged line"
    assert second["event"] == "from elsewhere"


def test_text_that_changes_direction_is_written_out() -> None:
    assert escape_controls("a\u202eb\x00c\x9bd") == r"a\u202eb\x00c\x9bd"
