"""A sender's share of what senders compete for: whose it is, and how much of it one may have."""

from ipaddress import IPv6Address, ip_address

IPV6_SITE = 64  # bits that one network has; a sender chooses the others as it likes
QUEUE_PART = 8  # an eighth of the queue is kept from a sender at its share, two eighths from one at twice of it
MEMORY_PART = 32  # likewise of Redis's memory: less, since not only the queue fills it


def sender_of(address: str) -> str:
    """Return whose share an address uses: an IPv4 address its own, an IPv6 address its /64's."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address  # a Unix socket has none
    if not isinstance(found, IPv6Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    bits = 128 - IPV6_SITE
    return f"{IPv6Address(int(found) >> bits << bits)}/{IPV6_SITE}"


def limit(cap: int, taken: float, share: float, senders: int, part: int = QUEUE_PART) -> int:
    """Return how full something with a cap may be for one more of a sender that had `taken` lately, beside its share.

    All of it for a sender that is alone or had nothing yet, one part less at its share, and two parts at twice of that
    and more: what is left stays free for the others, however hard one of them tries.
    """
    if senders <= 1 or share <= 0:
        return cap
    return cap - int(cap * min(2.0, taken / share) / part)


def has_room(depth: int, events: int, most: int) -> bool:
    """Say whether one of several senders' batch goes into what it may fill up to `most`.

    One that is larger than what is left waits for the first half to be free, so that each finds room some time.
    """
    return depth + events <= most or depth * 2 < most


def is_pressed(used: int, cap: int, part: int = QUEUE_PART) -> bool:
    """Say whether so much of something is used that the least of all limits is reached."""
    return used * part >= cap * (part - 2)


def may_hold(held: int, held_by_all: int, most: int, senders: int) -> bool:
    """Say whether a sender may hold so many bytes: as much as is still free, and all of it where it is alone."""
    free = most - held_by_all
    return free >= 0 and (senders <= 1 or held <= free)
