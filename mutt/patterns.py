"""Messages with their variable parts masked, so that the same complaint counts as one."""

import hashlib
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

# Characters read and kept. A message differs from its like in its first kilobytes or is not told apart.
MESSAGE_MAX = 4096
TEMPLATE_MAX = 240
# Words remembered with their masks, and the longest that is: most words of a log are old acquaintances.
WORDS_REMEMBERED = 8192
WORD_MAX = 64
# And messages, with their digits made alike.
MESSAGES_REMEMBERED = 4096
REMEMBERED_MAX = 512
# A word of letters only is an identifier from this length on, if all of them are hexadecimal digits.
HEX_LETTERS_MIN = 8

# Names followed by nothing but a number; with a slot and a port (`Gi0/1`, `xe-0/0/3.100`) any letters will do.
_INTERFACES = (
    "eth|en[ospx]|em|wlan|wlp|bond|team|br|tun|tap|veth|docker|virbr|vlan|vl|lo|loopback|ae|irb|reth|fxp|vme|st|"
    "ge-|xe-|et-|fe-|so-|po|port-channel|bundle-ether|bvi|be|ethernet|fastethernet|gigabitethernet|"
    "tengigabitethernet|tengige|hundredgige|fortygige|gi|te|fa|hu|fo|twe|mgmt|management|serial|se|tunnel|tu|nve|"
    "ethertrunk|eth-trunk|port"
)

_QUOTED = re.compile(r""""[^"]{0,1000}"|(?<!\w)'[^']{0,1000}'(?!\w)""")
_BLANKS = re.compile(r"(\s+)")
# One alternation, tried from left to right: the longer reading of a text comes first. Hexadecimal identifiers share
# the mask of numbers, since some of them happen to hold no letter. Every repetition is bounded, or begins at a word's
# start only, so the time is linear in the message.
_VARIABLE = re.compile(
    r"""
      (?P<uuid>\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b)
    | (?P<mac>(?<![\w:])(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}(?![\w:]) | \b[0-9a-f]{4}\.[0-9a-f]{4}\.[0-9a-f]{4}\b)
    | (?P<ip>(?<![\w:.])
        (?: (?:[0-9a-f]{1,4}:){6} (?: [0-9a-f]{1,4}:[0-9a-f]{1,4} | \d{1,3}(?:\.\d{1,3}){3} )
          | (?:[0-9a-f]{1,4}(?::[0-9a-f]{1,4}){0,6})? :: (?:[0-9a-f]{1,4}:){0,6}
            (?: \d{1,3}(?:\.\d{1,3}){3} | [0-9a-f]{1,4} )
          | [0-9a-f]{1,4}(?::[0-9a-f]{1,4}){0,6} ::
          | \d{1,3}(?:\.\d{1,3}){3}
        ) (?:%\w{1,15})? (?![\w:]) )
    | (?P<if>\b
        (?: [a-z][a-z-]{0,30}\d{1,4}(?:/\d{1,4}){1,4} | (?:INTERFACES)\d{1,5}(?:s\d{1,3}(?:f\d{1,3})?)? )
        (?:[.:]\d{1,5}){0,2} \b)
    | (?P<num>\b0x[0-9a-f]+\b
        | \b(?=[a-f]{0,64}\d)(?=\d{0,64}[a-f])[0-9a-f]{4,}\b
        | \b[a-f]{8,}\b
        | (?:(?<![\w)\]])[-+])?\d+(?:[.,:/]\d+)*)
    """.replace("INTERFACES", _INTERFACES),
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)


class Pattern(NamedTuple):
    """What messages of one kind share; `hash` is 16 hexadecimal digits of the template's."""

    hash: str
    template: str


def template(message: str) -> str:
    """Return `message` with numbers, addresses, identifiers, quoted texts and interfaces masked, at most 240 long.

    Runs of white space count as one blank. Masked before it is cut, so that a longer number moves nothing.
    """
    text = message[:MESSAGE_MAX]
    if '"' in text or "'" in text:
        text = _QUOTED.sub("<str>", text)
    return " ".join(map(_words.__getitem__, text.split()))[:TEMPLATE_MAX]


def stretches(message: str) -> Iterator[tuple[str, bool]]:
    """Yield all of `message` in stretches, each with whether `template` masks it."""
    start = 0
    for quoted in _QUOTED.finditer(message):
        yield from _stretches(message[start : quoted.start()])
        yield quoted.group(), True
        start = quoted.end()
    yield from _stretches(message[start:])


def pattern_of(message: str) -> Pattern:
    """Return the pattern under which an unmatched message is counted.

    Messages that differ in digits only share it, and so the memory: a template has no digits.
    """
    text = message.encode("utf-8", "surrogatepass")
    if len(text) > REMEMBERED_MAX:
        return _pattern(template(message))
    alike = digits_alike(text)
    return _known.get(alike) or _learnt(alike)


def digits_alike(text: bytes) -> bytes:
    """Return a message's bytes with its digits made alike, so that the same complaint has the same bytes."""
    return text.translate(_ALIKE if b"0x" not in text and b"0X" not in text else _ALIKE_BUT_0)


def _learnt(alike: bytes) -> Pattern:
    if len(_known) >= MESSAGES_REMEMBERED:
        _known.clear()
    pattern = _known[alike] = _pattern(template(alike.decode("utf-8", "surrogatepass")))
    return pattern


@lru_cache(WORDS_REMEMBERED)
def _pattern(text: str) -> Pattern:
    digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest()
    return Pattern(digest, text)


class _Words(dict[str, str]):
    """Words with their masks: a look-up costs no call of a function. When there are too many, all are forgotten."""

    def __missing__(self, word: str) -> str:
        masked = _masked(word)
        if len(word) <= WORD_MAX:
            if len(self) >= WORDS_REMEMBERED:
                self.clear()
            self[word] = masked
        return masked


_words = _Words()
_known: dict[bytes, Pattern] = {}
_ALIKE = bytes.maketrans(b"012345678", b"999999999")
_ALIKE_BUT_0 = bytes.maketrans(b"12345678", b"99999999")  # for messages in which 0x may begin a number


def _masked(word: str) -> str:
    if len(word) < HEX_LETTERS_MIN and word.isalpha():
        return word
    return _VARIABLE.sub(_mask, word)


def _stretches(text: str) -> Iterator[tuple[str, bool]]:
    for word in _BLANKS.split(text):
        start = 0
        for found in _VARIABLE.finditer(word):
            if found.start() > start:
                yield word[start : found.start()], False
            yield found.group(), True
            start = found.end()
        if start < len(word):
            yield word[start:], False


def _mask(found: re.Match[str]) -> str:
    return f"<{found.lastgroup}>"
