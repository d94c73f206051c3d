"""mutt-send: rsyslog's omprog on standard input and output, MUTT on the other side.

rsyslog is answered `OK` to a commit only when MUTT has acknowledged every message of the transaction. While MUTT is
away the commit waits: rsyslog's own queue holds what comes meanwhile.
"""

from __future__ import annotations

import argparse
import os
import select
import sys
from collections.abc import Iterator, Sequence

from integrations.senders.client import Client, Delivery, say
from integrations.senders.journal import Journal
from integrations.senders.settings import DEFAULT_FILE, SettingsError, read_settings

BEGIN, COMMIT = b"BEGIN TRANSACTION", b"COMMIT TRANSACTION"
DEFAULT_JOURNAL = "/var/spool/rsyslog/mutt-send"
CHUNK = 1 << 16
EX_CONFIG = 78


class EndOfInputError(Exception):
    """rsyslog has closed the pipe: it ends, or it has given this process up."""


class Lines:
    """Standard input, line by line, with an eye on its end."""

    def __init__(self, descriptor: int = 0) -> None:
        self._descriptor = descriptor

    def __iter__(self) -> Iterator[bytes]:
        pieces: list[bytes] = []
        while data := os.read(self._descriptor, CHUNK):
            first, *more = data.split(b"\n")
            pieces.append(first)
            for piece in more:
                yield b"".join(pieces)
                pieces = [piece]

    def pause(self, seconds: float) -> None:
        """Wait; raises EndOfInputError when rsyslog closes the pipe meanwhile.

        It sends nothing before it has its answer: what can be read now is the end.
        """
        readable, _, _ = select.select([self._descriptor], [], [], seconds)
        if readable:
            raise EndOfInputError


class Program:
    """The protocol: one answer a line, in their order."""

    def __init__(self, journal: Journal, delivery: Delivery) -> None:
        self._journal = journal
        self._delivery = delivery
        self._records: list[bytes] = []

    def run(self, lines: Lines) -> None:
        """Answer until the pipe is closed."""
        self._recover()
        answer("OK")
        for line in lines:
            answer(self._answer_to(line))

    def _answer_to(self, line: bytes) -> str:
        if line == BEGIN:
            return "OK"  # what an aborted transaction left is kept: rsyslog does not send it again
        if line == COMMIT:
            self._delivery.deliver(self._records)
            self._records.clear()
            self._journal.clear()
            self._recover()  # what one left that ended after this process had begun
            return "OK"
        try:
            self._journal.write(line)
        except OSError as error:
            say(f"cannot write the journal: {error}")
            return f"the journal cannot be written: {error}"
        self._records.append(line)
        return "DEFER_COMMIT"

    def _recover(self) -> None:
        left = self._journal.adopt()
        if left:
            say(f"sending {len(left)} messages that an earlier mutt-send had not handed over")
            self._delivery.deliver(left)
        self._journal.forget_adopted()


def answer(text: str) -> None:
    """Write one line to rsyslog."""
    os.write(1, text.encode() + b"\n")


def main(arguments: Sequence[str]) -> int:
    """Run until rsyslog closes the pipe; returns the exit status."""
    parser = argparse.ArgumentParser(prog="mutt-send", description="Hands rsyslog's messages (omprog) to MUTT.")
    parser.add_argument("--settings", default=DEFAULT_FILE, help="file with MUTT_URL and MUTT_API_KEY, mode 0600")
    parser.add_argument("--journal", default=DEFAULT_JOURNAL, help="folder for what was not yet handed over")
    options = parser.parse_args(arguments)
    lines = Lines()
    try:
        client = Client(lambda: read_settings(options.settings))
        journal = Journal(options.journal)
        Program(journal, Delivery(client, journal.put_aside, lines.pause)).run(lines)
    except SettingsError as error:
        say(str(error))
        return EX_CONFIG
    except OSError as error:
        say(f"mutt-send ends: {error}")
        return 1
    except EndOfInputError:
        pass  # what MUTT does not have yet is in the journal
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
