"""What a run tells of its work, and what it did in the end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from scripts.archiving.parts import Part

Progress = Callable[[int], None]


class Listener:
    """Hears how the work goes, and does nothing with it."""

    def says(self, line: str) -> None:
        """Take a line for people."""

    @contextmanager
    def counts(self, what: str, total: int | None) -> Iterator[Progress]:  # noqa: ARG002
        """Return what is told the rows as they are done."""
        yield lambda _rows: None


@dataclass
class Done:
    """What a run did, for its summary."""

    archived: list[Part] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    released: list[str] = field(default_factory=list)
    restored: list[str] = field(default_factory=list)
    expired: list[Part] = field(default_factory=list)
