"""A browser without scripts, as the console's pages meet it in tests."""

import html
import re

import requests

from tests.harness.credentials import WEBUI_API_KEY
from tests.harness.processes import ServiceProcess


class Browser(requests.Session):
    """Keeps cookies, follows nothing by itself, and knows the page's CSRF token."""

    def __init__(self, service: ServiceProcess) -> None:
        super().__init__()
        self.service = service
        self.csrf = ""

    def open(self, path: str, status: int = 200) -> str:
        """Return a page's text once its status is right, and keep its token."""
        return self._keep(self.get(self.service.url + path, allow_redirects=False, timeout=60), status)

    def submit(self, path: str, fields: dict[str, str], status: int = 303) -> requests.Response:
        """Send a form with the token of the page last seen."""
        sent = {"csrf": self.csrf, **fields}
        reply = self.post(self.service.url + path, data=sent, allow_redirects=False, timeout=60)
        self._keep(reply, status)
        return reply

    def sign_in(self, key: str = WEBUI_API_KEY) -> "Browser":
        """Sign in and open the dashboard."""
        self.open("/sign-in")
        self.submit("/sign-in", {"key": key})
        self.open("/")
        return self

    def _keep(self, reply: requests.Response, status: int) -> str:
        assert reply.status_code == status, reply.text
        self.csrf = (hidden(reply.text, "csrf") or [self.csrf])[0]
        return reply.text


def hidden(page: str, name: str) -> list[str]:
    """Return the values of a page's hidden fields of one name."""
    found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', page)
    return [html.unescape(value) for field, value in found if html.unescape(field) == name]
