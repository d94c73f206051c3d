"""What the register of steps is made of."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """One effect at one place.

    `site` is the function that asks for it, `via` are callers or the service that tell it from the same effect on
    another path. `paths` are the workloads that have to come to it.
    """

    name: str
    effect: str
    site: str
    paths: tuple[str, ...]
    via: tuple[str, ...] = ()
