"""Messages with their variable parts masked, so that the same complaint counts as one."""

import hashlib
import re
from typing import NamedTuple

# Characters read and kept. A message differs from its like in its first kilobytes or is not told apart.
MESSAGE_MAX = 4096
TEMPLATE_MAX = 240

# Names followed by nothing but a number; with a slot and a port (`Gi0/1`, `xe-0/0/3.100`) any letters will do.
_INTERFACES = (
    "eth|en[ospx]|em|wlan|wlp|bond|team|br|tun|tap|veth|docker|virbr|vlan|vl|lo|loopback|ae|irb|reth|fxp|vme|st|"
    "ge-|xe-|et-|fe-|so-|po|port-channel|bundle-ether|bvi|be|ethernet|fastethernet|gigabitethernet|"
    "tengigabitethernet|tengige|hundredgige|fortygige|gi|te|fa|hu|fo|twe|mgmt|management|serial|se|tunnel|tu|nve|"
    "ethertrunk|eth-trunk|port"
)

# Hexadecimal identifiers share the mask of numbers, since some of them happen to hold no letter.
# One alternation, tried from left to right: the longer reading of a text comes first. Every repetition is bounded
# or cannot fail after it began, so the time is linear in the message.
_VARIABLE = re.compile(
    r"""
      (?P<str>"[^"]{0,1000}"|(?<!\w)'[^']{0,1000}'(?!\w))
    | (?P<uuid>\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b)
    | (?P<mac>(?<![\w:])(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}(?![\w:]) | \b[0-9a-f]{4}\.[0-9a-f]{4}\.[0-9a-f]{4}\b)
    | (?P<ip>(?<![\w:.])
        (?: (?:[0-9a-f]{1,4}:){6} (?: [0-9a-f]{1,4}:[0-9a-f]{1,4} | \d{1,3}(?:\.\d{1,3}){3} )
          | (?:[0-9a-f]{1,4}(?::[0-9a-f]{1,4}){0,6})? :: (?:[0-9a-f]{1,4}:){0,6}
            (?: \d{1,3}(?:\.\d{1,3}){3} | [0-9a-f]{1,4} )
          | [0-9a-f]{1,4}(?::[0-9a-f]{1,4}){0,6} ::
          | \d{1,3}(?:\.\d{1,3}){3}
        ) (?:%\w{1,15})? (?![\w:]) )
    | (?P<if>\b
        (?: [a-z][a-z-]{0,30}\d{1,4}(?:/\d{1,4}){1,4}
          | (?:INTERFACES)[ ]?\d{1,5}(?:/\d{1,4}){0,4}(?:s\d{1,3}(?:f\d{1,3})?)?
        ) (?:[.:]\d{1,5}){0,2} \b)
    | (?P<num>\b0x[0-9a-f]+\b
        | \b(?=[a-f]{0,64}\d)(?=\d{0,64}[a-f])[0-9a-f]{4,}\b
        | \b[a-f]{8,}\b
        | (?:(?<![\w)\]])[-+])?\d+(?:[.,]\d+)*)
    """.replace("INTERFACES", _INTERFACES),
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_SPACES = re.compile(r"\s+")


class Pattern(NamedTuple):
    """What messages of one kind share; `hash` is 16 hexadecimal digits of the template's."""

    hash: str
    template: str


def template(message: str) -> str:
    """Return `message` with numbers, addresses, identifiers, quoted texts and interfaces masked, at most 240 long.

    Runs of white space count as one blank. Masked before it is cut, so that a longer number moves nothing.
    """
    masked = _VARIABLE.sub(_mask, message[:MESSAGE_MAX])
    return _SPACES.sub(" ", masked).strip()[:TEMPLATE_MAX]


def pattern_of(message: str) -> Pattern:
    """Return the pattern under which an unmatched message is counted."""
    text = template(message)
    digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest()
    return Pattern(digest, text)


def _mask(found: re.Match[str]) -> str:
    # <num> inside a template of its own would be read as text: the names are fixed and hold no digit.
    return f"<{found.lastgroup}>"
