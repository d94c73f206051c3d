#!/usr/bin/env python3
"""Make the README's pictures: `.venv/bin/python scripts/make_screenshots.py`.

It starts an instance of its own beside whatever runs, lets events flow, lets Moogsoft refuse some alerts after a rule
was changed, and takes pictures of the console in Chromium (CHROMIUM names another one than that of the PATH).
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

TREE = Path(__file__).resolve().parent.parent
PICTURES = TREE / "docs" / "images"
MUTTDEV = (sys.executable, str(TREE / "scripts" / "muttdev.py"))
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync", "--no-first-run")
OFFSET = 21_000  # of the instance's ports
SIZE = {"width": 1440, "height": 900}
PATIENCE = 60.0  # seconds for dead letters to appear


def main() -> None:
    """Make the pictures and say where they are."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("Chromium is needed: apt-get install chromium, or set CHROMIUM to the path of one")
    PICTURES.mkdir(exist_ok=True)
    with instance() as at, sync_playwright() as playwright:
        rule = tell_a_story(at)
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        page = signed_in(browser, at, "dark")
        page.goto("/")
        page.get_by_role("heading", level=1).wait_for()
        take(page, "dashboard")
        page = signed_in(browser, at, "light")
        page.goto(f"/rules/{rule}")
        page.get_by_label("Text or pattern").fill("changed state to")
        page.get_by_text("events caught").wait_for()
        page.locator('[data-report] [data-state="done"]').wait_for()
        take(page, "rule-editor")
        browser.close()


@contextmanager
def instance() -> Iterator[dict[str, str]]:
    """Run a MUTT for the pictures; yields its addresses and keys."""
    folder = tempfile.mkdtemp(prefix="mutt-pictures-")
    where = ("--data-dir", folder)
    try:
        run("up", "--detach", "--port-offset", str(OFFSET), *where)
        lines = run("env", *where).splitlines()
        yield dict(line.removeprefix("export ").split("=", 1) for line in lines if "=" in line) | {"FOLDER": folder}
    finally:
        run("down", *where)
        shutil.rmtree(folder, ignore_errors=True)


def tell_a_story(at: dict[str, str]) -> int:
    """Let events flow, change a rule, and let Moogsoft refuse what follows; returns the rule's id."""
    run("send", "--count", "600", "--rate", "60", "--batch", "5", "--data-dir", at["FOLDER"])
    rules = ask(at, "GET", "/api/v2/rules")["rules"]
    rule = next(each for each in rules if each["prod_handling"] == "Page_and_ticket")
    ask(at, "PUT", f"/api/v2/rules/{rule['id']}", {"team_assignment": "CORE-DC3", "reason": "CHG-118"})
    send(f"{at['MOOG_URL']}/behave", {}, {"status": 422, "times": 3})
    run("send", "--count", "200", "--rate", "40", "--data-dir", at["FOLDER"], accept_failure=True)
    deadline = time.monotonic() + PATIENCE
    while not any(ask(at, "GET", "/api/v2/dead-letters").values()) and time.monotonic() < deadline:
        time.sleep(0.5)
    return int(rule["id"])


def signed_in(browser: Browser, at: dict[str, str], theme: Any) -> Page:
    """Return a page of a browser of its own, signed in."""
    context = browser.new_context(base_url=at["WEBUI_URL"], viewport=SIZE, color_scheme=theme)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto("/sign-in")
    page.get_by_label("Key").fill(at["WEBUI_API_KEY"])
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/")
    return page


def take(page: Page, name: str) -> None:
    """Take a picture of what the window shows."""
    path = PICTURES / f"{name}.png"
    page.screenshot(path=path)
    print(path.relative_to(TREE))


def ask(at: dict[str, str], method: str, path: str, body: Any = None) -> dict[str, Any]:
    """Ask the web UI's API."""
    return send(at["WEBUI_URL"] + path, {"X-API-KEY": at["WEBUI_API_KEY"]}, body, method)


def send(url: str, headers: dict[str, str], body: Any, method: str = "POST") -> dict[str, Any]:
    """Send a request and return the JSON of its reply, {} where it has none."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310  (our own instance)
    with urllib.request.urlopen(request, timeout=15) as reply:  # noqa: S310
        text = reply.read()
    try:
        found: dict[str, Any] = json.loads(text)
    except ValueError:
        return {}
    return found


def run(*arguments: str, accept_failure: bool = False) -> str:
    """Run a command of muttdev and return what it says."""
    done = subprocess.run([*MUTTDEV, *arguments], check=not accept_failure, stdout=subprocess.PIPE, text=True)
    return done.stdout


if __name__ == "__main__":
    main()
