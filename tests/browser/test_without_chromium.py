"""Where there is no Chromium, the browser tests say what is missing and how to get it."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_a_browser_test_without_chromium_names_it() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "tests/browser/test_every_page.py",
            "-k",
            "stands_before",
        ],
        cwd=ROOT,
        env={**os.environ, "CHROMIUM": "/nowhere/chromium", "CI": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert " 1 skipped" in done.stdout
    assert "apt-get install chromium" in done.stdout
