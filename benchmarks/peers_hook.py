"""A webhook that counts each alert once by its number: python -m benchmarks.peers_hook PORT.

GET answers how many different ones came, and how often one came that had come before; DELETE forgets them.
"""

import re
import sys

import uvloop

from benchmarks.receiver import HEAD, Answering, listen

NUMBER = re.compile(rb"sequence\D{1,3}(\d+)")  # in a message, or as a label


class Taken:
    """What came."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self.numbers: set[bytes] = set()
        self.again = 0

    def take(self, body: bytes) -> None:
        """Count each alert of a request once: a label stands in several places of it."""
        numbers = set(NUMBER.findall(body))
        self.again += len(numbers & self.numbers)
        self.numbers |= numbers


class Hook(Answering):
    """One connection."""

    def __init__(self, taken: Taken) -> None:
        super().__init__()
        self._taken = taken

    def answer(self, method: bytes, body: bytes) -> bytes:
        """Note what came, or forget it, and tell of it."""
        taken = self._taken
        taken.take(body)
        if method == b"DELETE":
            taken.forget()
        told = b"%d %d" % (len(taken.numbers), taken.again)
        return HEAD + b"%d\r\n\r\n" % len(told) + told


if __name__ == "__main__":
    counted = Taken()
    uvloop.run(listen(int(sys.argv[1]), lambda: Hook(counted)))
