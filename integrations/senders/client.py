"""Records to MUTT, until MUTT has them: what is retried, what is cut into pieces, and what is put aside."""

from __future__ import annotations

import gzip
import http.client
import json
import random
import ssl
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from integrations.senders.settings import Settings, SettingsError

BODY_MOST = 4 * 1024 * 1024  # bytes; MUTT takes 16 MiB
RECORDS_MOST = 5_000
GZIP_FROM = 1_024  # bytes; below, packing gains nothing
FIRST_PAUSE, GROWN_PAUSE = 0.5, 10.0  # seconds, where MUTT asks for none
OK, BAD_REQUEST, TOO_LARGE = 200, 400, 413
SERVERS_FAULT = 500  # and above: the settings are well


class Answer(NamedTuple):
    """What came back; status 0 when nothing did."""

    status: int
    text: str
    retry_after: float | None = None


class Client:
    """One kept connection to MUTT."""

    def __init__(self, read: Callable[[], Settings]) -> None:
        self._read = read
        self.settings = read()
        self._connection: http.client.HTTPConnection | None = None

    def reload(self) -> None:
        """Read the settings again: a key may have been changed. Keeps the old ones while the file is no good."""
        try:
            self.settings = self._read()
        except SettingsError as error:
            say(str(error))
        self._close()

    def post(self, body: bytes) -> Answer:
        """Send one body of records, one a line."""
        headers = {"Content-Type": "application/x-ndjson", "X-API-KEY": self.settings.api_key}
        if self.settings.gzip and len(body) >= GZIP_FROM:
            body = gzip.compress(body, 3)
            headers["Content-Encoding"] = "gzip"
        reused = self._connection is not None
        answer = self._try(body, headers)
        if reused and answer.status == 0:
            # MUTT, or what is between, had closed the idle connection: no reason to wait. Should it have the records
            # all the same, it knows them again by their correlation ids.
            answer = self._try(body, headers)
        return answer

    def _try(self, body: bytes, headers: dict[str, str]) -> Answer:
        try:
            return self._exchange(body, headers)
        except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: a name that can be no host's
            self._close()
            return Answer(0, str(error) or type(error).__name__)

    def _exchange(self, body: bytes, headers: dict[str, str]) -> Answer:
        if self._connection is None:
            self._connection = self._connect()
        path = urlsplit(self.settings.url).path
        self._connection.request("POST", path, body, headers)
        response = self._connection.getresponse()
        text = response.read(1 << 20).decode("utf-8", "replace")
        retry_after = _seconds(response.getheader("Retry-After"))
        if response.will_close or not response.isclosed():
            self._close()
        return Answer(response.status, text, retry_after)

    def _connect(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.settings.url)
        host, timeout = parts.hostname or "", self.settings.timeout
        if parts.scheme == "http":
            return http.client.HTTPConnection(host, parts.port, timeout=timeout)
        try:
            context = ssl.create_default_context(cafile=self.settings.ca_file)
        except OSError as error:
            raise OSError(f"MUTT_CA_FILE {self.settings.ca_file}: {error}") from error
        return http.client.HTTPSConnection(host, parts.port, timeout=timeout, context=context)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Delivery:
    """Hands records over; `wait(seconds)` pauses, `put_aside(record, why)` keeps what MUTT cannot read."""

    def __init__(
        self, client: Client, put_aside: Callable[[bytes, str], None], wait: Callable[[float], None] = time.sleep
    ) -> None:
        self._client = client
        self._put_aside = put_aside
        self._wait = wait
        self._told = ""

    def deliver(self, records: Sequence[bytes]) -> None:
        """Return once MUTT has every record, or has named it as one that it will never take."""
        waiting = list(reversed(list(bodies(records))))
        pause = FIRST_PAUSE
        while waiting:
            batch = waiting[-1]
            answer = self._client.post(b"\n".join(batch) + b"\n")
            if took(answer):
                waiting.pop()
                pause = FIRST_PAUSE
                self._took(answer)
            elif blames_records(answer) and len(batch) > 1:
                # One of them spoils the rest: halves, down to the one.
                middle = len(batch) // 2
                waiting[-1:] = [batch[middle:], batch[:middle]]
            elif blames_records(answer):
                waiting.pop()
                self._put_aside(batch[0], f"{answer.status} {answer.text[:300]}")
            else:
                self._refused(answer)
                asked = answer.retry_after or pause * random.uniform(0.7, 1.3)
                self._wait(min(asked, self._client.settings.longest_pause))
                pause = min(2 * pause, GROWN_PAUSE)

    def _took(self, answer: Answer) -> None:
        if self._told:
            say("MUTT takes events again")
            self._told = ""
        try:
            reply = json.loads(answer.text)
        except ValueError:
            return
        if isinstance(reply, dict) and reply.get("rejected"):
            say(f"MUTT keeps {reply['rejected']} records in its quarantine: {str(reply.get('errors'))[:500]}")

    def _refused(self, answer: Answer) -> None:
        """Say why MUTT takes nothing, once for each reason, and read the settings again where they may be at fault."""
        reason = f"{answer.status or 'no answer'}: {answer.text[:200]}"
        if answer.status < SERVERS_FAULT:
            self._client.reload()
        kind = str(answer.status or answer.text)
        if self._told != kind:
            say(f"MUTT takes nothing now ({reason}); trying again until it does")
            self._told = kind


def took(answer: Answer) -> bool:
    """Say whether MUTT has the records. A 200 that is not in its words comes from something that will lose them."""
    return answer.status == OK and answer.text.startswith('{"status":"queued"')


def blames_records(answer: Answer) -> bool:
    """Say whether sending these records again cannot help.

    A 400 that is not in MUTT's words comes from something between, which would spoil every record alike.
    """
    return answer.status == TOO_LARGE or (answer.status == BAD_REQUEST and answer.text.startswith('{"status":"error"'))


def bodies(records: Sequence[bytes]) -> Sequence[list[bytes]]:
    """Cut records into what one request may carry."""
    cut: list[list[bytes]] = []
    size = BODY_MOST
    for record in records:
        if not cut or size + len(record) >= BODY_MOST or len(cut[-1]) >= RECORDS_MOST:
            cut.append([])
            size = 0
        cut[-1].append(record)
        size += len(record) + 1
    return cut


def say(text: str) -> None:
    """Tell the operator, on one line of standard error."""
    line = "".join(character if character.isprintable() else "?" for character in text)
    sys.stderr.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {line}\n")
    sys.stderr.flush()


def _seconds(text: str | None) -> float | None:
    try:
        return max(0.0, float(text or ""))
    except ValueError:
        return None
