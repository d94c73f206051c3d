"""The console as a browser's user meets it, for the tests."""

import hashlib
import json
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Locator, Request

from tests.harness.processes import ServiceProcess

ROLES = ("viewer", "operator", "editor", "admin")
# WCAG 2.2 at level AA, and what it builds on.
RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa")
PATIENCE = 45_000  # milliseconds; on a busy machine a page may take a while
# Failures of the network are told by the tests that cause them; a page's own faults are not.
HARMLESS = "Failed to load resource"
TELL_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) => {
  console.error(`CSP: ${event.violatedDirective} forbids ${event.blockedURI} ${event.sample}`);
});
"""

ENVIRONMENT: dict[str, Any] = {
    "WEBUI_API_KEYS": json.dumps(
        {f"noc-{role}": {"sha256": hashlib.sha256(f"{role}-key".encode()).hexdigest(), "role": role} for role in ROLES}
    ),
    "DYNAMIC_CONFIG_ENABLED": "true",
}

_AXE: str = Axe().axe_script
_RUN_AXE = """(tags) => axe.run({
  resultTypes: ["violations"],
  preload: false,
  runOnly: { type: "tag", values: tags },
}).then(({ violations }) => violations)"""

# What is wider than the panel around it, which hides the rest and cannot be scrolled.
_CUT = """() => [...document.querySelectorAll(".panel")]
  .filter((panel) => panel.scrollWidth > panel.clientWidth)
  .filter((panel) => ["hidden", "clip"].includes(getComputedStyle(panel).overflowX))
  .map((panel) => `${panel.className}: ${panel.scrollWidth} px in ${panel.clientWidth}`)
"""


class Console:
    """One browser, and the page that is open in it."""

    def __init__(
        self,
        browser: Browser,
        service: ServiceProcess,
        theme: str = "light",
        width: int = 1440,
        *,
        scripts: bool = True,
    ) -> None:
        self.service = service
        self.context = browser.new_context(
            base_url=service.url,
            java_script_enabled=scripts,
            color_scheme="dark" if theme == "dark" else "light",
            # Colours on their way to another theme's would be judged as they pass.
            reduced_motion="reduce",
            viewport={"width": width, "height": 900},
            timezone_id="Europe/Berlin",
        )
        self.context.set_default_timeout(PATIENCE)
        self.context.add_init_script(TELL_VIOLATIONS)
        self.page = self.context.new_page()
        self.problems: list[str] = []
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.problems.append(f"{self.page.url}: {error}"))
        self.page.on("request", self._see)

    def sign_in(self, role: str) -> None:
        """Sign in with a role's key."""
        self.page.goto("/sign-in?next=/help")
        self.page.get_by_label("Key").fill(f"{role}-key")
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url("**/help")

    def visit(self, path: str, status: int = 200) -> None:
        """Open a page of the console."""
        reply = self.page.goto(path)
        assert reply is not None
        assert reply.status == status, f"{path} answered {reply.status}: {self.text()[:300]}"

    def text(self) -> str:
        """Return what a reader sees."""
        return self.page.inner_text("body")

    def button(self, name: str) -> Locator:
        """Return the button of these words."""
        return self.page.get_by_role("button", name=name, exact=True)

    def expire_session(self) -> None:
        """Let the session end, as after eight hours."""
        self.context.clear_cookies(name="mutt_session")

    def check_accessibility(self) -> None:
        """Fail with what axe finds on the page."""
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(_AXE)
        violations: list[dict[str, Any]] = self.page.evaluate(_RUN_AXE, RULES)
        told = [
            f"{violation['id']}: {violation['help']}: {node['target']} {node['html'][:200]} {node['failureSummary']}"
            for violation in violations
            for node in violation["nodes"]
        ]
        assert told == [], f"{self.page.url}: axe finds {len(told)}:\n" + "\n".join(told)

    def check_looks(self) -> None:
        """Check the page as it stands: wide and dark, on a phone and light, and that nothing is cut off in between."""
        self.page.emulate_media(color_scheme="dark")
        self._check_at(1440)
        self.page.emulate_media(color_scheme="light")
        self._check_at(360)
        self.page.set_viewport_size({"width": 1200, "height": 900})
        self.check_width()

    def _check_at(self, width: int) -> None:
        self.page.set_viewport_size({"width": width, "height": 900})
        self.check_accessibility()
        self.check_width()

    def check_width(self) -> None:
        """Fail where the page scrolls sideways, or a panel cuts off what is in it."""
        wide, room = self.page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert wide <= room, f"{self.page.url} is {wide} px wide in {room}"
        cut = self.page.evaluate(_CUT)
        assert cut == [], f"{self.page.url}: cut off at {room} px: {cut}"

    def close(self) -> list[str]:
        """Close the browser and return what went wrong in it."""
        self.context.close()
        return self.problems

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and HARMLESS not in message.text:
            self.problems.append(f"{self.page.url}: {message.text}")

    def _see(self, request: Request) -> None:
        if not request.url.startswith(self.service.url) and not request.url.startswith(("data:", "blob:")):
            self.problems.append(f"{self.page.url} asks another server: {request.url}")
