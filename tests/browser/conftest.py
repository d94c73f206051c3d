"""A real browser in front of a real console: what it refuses, what breaks in it, and what axe finds fails the test."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.browser.console import ENVIRONMENT, PATIENCE, Console
from tests.harness import programs
from tests.harness.processes import StartService

# The shell draws the same pages for two thirds of the CPU of the whole browser.
SHELL = programs.find("chromium-headless-shell")
CHROMIUM = (
    os.environ.get("CHROMIUM")
    or (SHELL and str(SHELL.path))
    or shutil.which("chromium")
    or shutil.which("chromium-browser")
)
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)

OpenConsole = Callable[..., Console]
expect.set_options(timeout=PATIENCE)


# One a module: while it is open, an event loop runs in this thread, and other tests' coroutines need one of their own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start Chromium."""
    if CHROMIUM is None or not Path(CHROMIUM).exists():
        pytest.skip(
            "the browser tests need Chromium: apt-get install chromium, or set CHROMIUM to the path of a Chromium"
        )
    with sync_playwright() as playwright:
        environment: dict[str, str | float | bool] | None = {**SHELL.environment} if SHELL else None
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=list(FLAGS), env=environment)
        yield browser
        browser.close()


@pytest.fixture
def open_console(browser: Browser, start_service: StartService) -> Iterator[OpenConsole]:
    """Give `open_console("editor")`: a browser of its own, signed in with that role, at the test's one web UI."""
    opened: list[Console] = []

    def opener(role: str | None = "admin", theme: str = "light", width: int = 1440, *, scripts: bool = True) -> Console:
        service = opened[0].service if opened else start_service("webui", **ENVIRONMENT)
        console = Console(browser, service, theme, width, scripts=scripts)
        opened.append(console)
        if role is not None:
            console.sign_in(role)
        return console

    yield opener
    problems = [problem for console in opened for problem in console.close()]
    assert problems == []
