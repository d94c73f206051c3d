"""Signing in to the console: the session, its forms, its end, and what a browser has to hold to."""

import hashlib
import json
import re

import pytest
import requests

from mutt.tries import BURST
from scripts.devtools.embedded import RedisServer
from tests.harness.credentials import WEBUI_API_KEY
from tests.harness.processes import ServiceProcess, StartService
from tests.harness.waiting import wait_for
from tests.service.browser import Browser, hidden
from tests.service.web_api import RULE, changes

KEYS = {
    f"{role}-1": {"sha256": hashlib.sha256(role.encode()).hexdigest(), "role": role}
    for role in ("viewer", "operator", "editor")
}


@pytest.fixture
def service(start_service: StartService) -> ServiceProcess:
    """Run a web UI with a key of each role."""
    return start_service("webui", WEBUI_API_KEYS=json.dumps(KEYS))


def test_every_page_without_a_session_leads_to_the_sign_in_and_back(service: ServiceProcess) -> None:
    browser = Browser(service)
    for path, following in (("/", "/"), ("/?theme=a&b=%26", "/%3Ftheme%3Da%26b%3D%2526")):
        reply = browser.get(service.url + path, allow_redirects=False, timeout=60)
        assert (reply.status_code, reply.headers["Location"]) == (303, f"/sign-in?next={following}")
    page = browser.open("/sign-in?next=/%3Ftheme%3Da")
    assert page.count("<form") == 1
    assert 'method="post"' in page
    assert page.count('type="password"') == 1
    assert len(hidden(page, "csrf")) == 1
    reply = browser.submit("/sign-in", {"key": WEBUI_API_KEY, "next": hidden(page, "next")[0]})
    assert reply.headers["Location"] == "/?theme=a"
    assert "default · admin" in browser.open("/")
    assert browser.get(service.url + "/sign-in", allow_redirects=False, timeout=60).status_code == 303


@pytest.mark.parametrize("away", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:x", "x"])
def test_it_leads_to_this_console_only(service: ServiceProcess, away: str) -> None:
    browser = Browser(service)
    browser.open("/sign-in")
    assert browser.submit("/sign-in", {"key": WEBUI_API_KEY, "next": away}).headers["Location"] == "/"


def test_the_cookie_is_for_this_site_and_no_script_and_lives_eight_hours(start_service: StartService) -> None:
    for insecure in ("true", "false"):
        service = start_service("webui", WEBUI_INSECURE_COOKIES=insecure)
        first = requests.get(service.url + "/sign-in", timeout=60)
        token = hidden(first.text, "csrf")[0]
        reply = requests.post(
            service.url + "/sign-in",
            data={"csrf": token, "key": WEBUI_API_KEY},
            headers={"Cookie": f"mutt_sign_in={token}"},
            allow_redirects=False,
            timeout=60,
        )
        cookie = next(text for text in reply.headers["Set-Cookie"].split(", ") if text.startswith("mutt_session="))
        assert {"HttpOnly", "SameSite=strict", "Path=/", "Max-Age=28800"} <= set(cookie.split("; "))
        assert ("Secure" in cookie.split("; ")) == (insecure == "false")
        assert WEBUI_API_KEY not in cookie


def test_a_wrong_key_and_a_foreign_form_are_refused_with_words(service: ServiceProcess) -> None:
    browser = Browser(service)
    browser.open("/sign-in")
    assert "This key is not known" in browser.submit("/sign-in", {"key": "wrong\u00e4"}, 401).text
    assert "sign in again" in browser.submit("/sign-in", {"key": WEBUI_API_KEY, "csrf": "forged"}, 403).text
    assert "mutt_session" not in browser.cookies


def test_a_stream_of_wrong_keys_is_told_and_counted_and_keeps_no_right_key_out(
    service: ServiceProcess,
) -> None:
    browser = Browser(service)
    browser.open("/sign-in")
    for path in ("/help", "/api/v2/rules") * (BURST // 2):
        browser.get(service.url + path, headers={"X-API-KEY": "wrong"}, allow_redirects=False, timeout=60)
    reply = browser.submit("/sign-in", {"key": "wrong"}, 429)
    assert 0 < int(reply.headers["Retry-After"]) <= 30
    # A program is told what is wrong, however often it asks: 429 would hide that its key is not known.
    for path, status in (("/help", 303), ("/api/v2/rules", 401)):
        reply = requests.get(service.url + path, headers={"X-API-KEY": "wrong"}, allow_redirects=False, timeout=60)
        assert reply.status_code == status
    metrics = requests.get(service.url + "/metrics", timeout=60).text
    assert f"mutt_webui_wrong_keys_total {BURST + 3:.1f}" in metrics
    assert service.log().count("a wrong API key") == 1
    assert "127.0.0.1" in next(line for line in service.log().splitlines() if "a wrong API key" in line)
    browser.submit("/sign-in", {"key": WEBUI_API_KEY})
    assert "Sign out" in browser.open("/help")
    assert requests.get(service.url + "/api/v2/rules", headers={"X-API-KEY": WEBUI_API_KEY}, timeout=60).ok


def test_addresses_are_told_apart_behind_a_trusted_proxy_only(start_service: StartService) -> None:
    for trusted, expected in (("127.0.0.0/8", 401), ("10.0.0.1", 429)):
        service = start_service("webui", TRUSTED_PROXIES=trusted)
        browser = Browser(service)
        browser.open("/sign-in")
        for _ in range(BURST):
            browser.headers["X-Forwarded-For"] = "192.0.2.1"
            browser.submit("/sign-in", {"key": "wrong"}, 401)
        browser.headers["X-Forwarded-For"] = "192.0.2.2"
        browser.submit("/sign-in", {"key": "wrong"}, expected)


def test_a_proxy_that_is_no_address_is_refused_at_the_start(start_service: StartService) -> None:
    service = start_service("webui", wait=False, TRUSTED_PROXIES="proxy.example")
    assert service.process.wait(60) == 78
    assert "TRUSTED_PROXIES" in service.log()


def test_signing_out_is_a_form_of_this_session(service: ServiceProcess) -> None:
    browser = Browser(service).sign_in()
    assert browser.get(service.url + "/sign-out", timeout=60).status_code == 405
    browser.submit("/sign-out", {"csrf": "forged"}, 403)
    browser.open("/")
    assert browser.submit("/sign-out", {}).headers["Location"] == "/sign-in"
    browser.open("/", 303)


def test_signing_out_ends_the_session_at_every_instance_and_no_other(
    start_service: StartService, service: ServiceProcess
) -> None:
    browser, other = Browser(service).sign_in(), Browser(service).sign_in()
    copy = Browser(start_service("webui", WEBUI_API_KEYS=json.dumps(KEYS)))
    copy.cookies.set("mutt_session", browser.cookies["mutt_session"])
    copy.open("/help")
    browser.submit("/sign-out", {})
    copy.open("/help", 303)
    assert copy.get(copy.service.url + "/api/v2/rules", timeout=60).status_code == 401
    assert copy.open("/sign-in").count("<form") == 1
    other.open("/help")


def test_signing_out_holds_where_it_was_done_while_redis_is_away_and_everywhere_afterwards(
    own_redis: RedisServer, start_service: StartService
) -> None:
    one, two = (Browser(start_service("webui")) for _ in range(2))
    one.sign_in()
    cookie = one.cookies["mutt_session"]
    two.cookies.set("mutt_session", cookie)
    page = one.open("/help")
    own_redis.stop()
    one.submit("/sign-out", {"csrf": hidden(page, "csrf")[0]})
    one.cookies.set("mutt_session", cookie)
    one.open("/help", 303)
    two.open("/help")
    own_redis.start()

    def ended() -> bool:
        Browser(one.service).sign_in()  # whoever asks the first instance lets it tell Redis
        return two.get(two.service.url + "/help", allow_redirects=False, timeout=60).status_code == 303

    wait_for(ended, "the other instance to know")


def test_a_session_ends_with_its_key(start_service: StartService) -> None:
    service = start_service("webui", WEBUI_API_KEYS=json.dumps(KEYS))
    browser = Browser(service).sign_in("viewer")
    assert "viewer-1 · viewer" in browser.open("/")
    cookie = browser.cookies["mutt_session"]
    for key, keys in ((WEBUI_API_KEY, {}), ("rotated", KEYS)):
        other = Browser(start_service("webui", WEBUI_API_KEY=key, WEBUI_API_KEYS=json.dumps(keys)))
        other.cookies.set("mutt_session", cookie)
        other.open("/", 303)


def test_the_api_takes_a_session_with_its_token_on_what_changes(service: ServiceProcess) -> None:
    browser = Browser(service).sign_in("editor")
    rules = service.url + "/api/v2/rules"
    assert browser.get(rules, timeout=60).status_code == 200
    assert "X-CSRF-Token" in browser.post(rules, json=RULE, timeout=60).json()["error"]
    token = {"X-CSRF-Token": browser.csrf}
    assert browser.post(rules, json=RULE, headers=token, timeout=60).status_code == 201
    viewer = Browser(service).sign_in("viewer")
    assert viewer.post(rules, json=RULE, headers={"X-CSRF-Token": viewer.csrf}, timeout=60).status_code == 403


def test_a_key_reads_pages_and_sends_no_forms(service: ServiceProcess) -> None:
    key = {"X-API-KEY": WEBUI_API_KEY}
    assert "default · admin" in requests.get(service.url + "/", headers=key, timeout=60).text
    wrong = requests.get(service.url + "/", headers={"X-API-KEY": "wrong"}, allow_redirects=False, timeout=60)
    assert wrong.status_code == 303
    sent = requests.post(service.url + "/preferences", headers=key, data={"csrf": ""}, timeout=60)
    assert sent.status_code == 401


def test_a_form_sent_after_the_session_waits_for_the_sign_in(service: ServiceProcess) -> None:
    browser = Browser(service)
    typed = 'two\r\nlines "quoted" <b>\u202e'
    page = browser.submit("/preferences", {"theme": "dark", "reason": typed}, 401).text
    assert "Nothing typed is lost" in page
    assert hidden(page, "hidden:reason") == [typed]
    fields = {"action": hidden(page, "action")[0], "hidden:reason": typed, "hidden:theme": "dark"}
    wrong = browser.submit("/sign-in", {"key": "wrong", **fields}, 401).text
    assert hidden(wrong, "hidden:reason") == [typed]
    page = browser.submit("/sign-in", {"key": WEBUI_API_KEY, **fields}, 200).text
    assert 'action="/preferences"' in page
    assert hidden(page, "reason") == [typed]
    browser.submit("/preferences", {"theme": hidden(page, "theme")[0], "reason": typed})
    assert 'data-theme="dark"' in browser.open("/")


def test_a_form_of_another_site_does_not_wait(service: ServiceProcess) -> None:
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
        browser = Browser(service)
        browser.headers.update(headers)
        assert browser.submit("/preferences", {"theme": "dark"}).headers["Location"] == "/sign-in?next=/"


def test_pages_forbid_the_browser_what_they_do_not_need(service: ServiceProcess) -> None:
    browser = Browser(service).sign_in()
    page = browser.open("/")
    reply = browser.get(service.url + "/", timeout=60)
    policy = reply.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "frame-ancestors 'none'" in policy
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert reply.headers["Cache-Control"] == "no-store"
    assert not re.search(r"""<style|\sstyle=|\son\w+=["']|<script>""", page)


def test_the_consoles_own_files_are_kept_for_ever_under_an_address_of_their_content(service: ServiceProcess) -> None:
    page = Browser(service).open("/sign-in")
    addresses = re.findall(r'(?:href|src)="(/static/[^"]+)"', page)
    assert addresses
    for address in addresses:
        reply = requests.get(service.url + address, timeout=60)
        assert reply.status_code == 200
        assert "immutable" in reply.headers["Cache-Control"]
    old = re.sub(r"/static/\w+/", "/static/0/", addresses[0])
    assert requests.get(service.url + old, timeout=60).headers["Cache-Control"] == "no-store"
    assert requests.get(service.url + "/static/0/../app.py", timeout=60).status_code == 404


def test_what_is_not_there_is_a_page_for_people_and_json_for_programs(service: ServiceProcess) -> None:
    browser = Browser(service).sign_in()
    assert "Nothing here" in browser.open("/nothing<script>", 404)
    assert "<script>" not in browser.open("/nothing<script>", 404).replace('<script type="module"', "")
    assert browser.get(service.url + "/api/v2/nothing", timeout=60).json()["error"]


def test_reading_pages_changes_nothing(service: ServiceProcess, database_url: str) -> None:
    Browser(service).sign_in("viewer")
    assert changes(database_url) == []
