"""Pages of events that come newest first: by the minute, and folded by signature over the whole time."""

FOLDED_MAX = 500_000  # signatures told apart; past them a count says "at least"


class PageTally:
    """Holds the signatures of one minute, a number each of the whole time's, and a count each minute."""

    def __init__(self) -> None:
        self.minutes: dict[str, int] = {}
        self._minute = ""
        self._within: set[int] = set()
        self._all: set[int] = set()

    def add(self, minute: str, signature: str) -> None:
        """Count a page; `minute` is that of its event, as 2026-11-24T22:41."""
        if minute != self._minute:
            self._minute, self._within = minute, set()
        short = hash(signature)
        if short not in self._within:
            self._within.add(short)
            self.minutes[minute] = self.minutes.get(minute, 0) + 1
        if len(self._all) < FOLDED_MAX:
            self._all.add(short)

    @property
    def folded(self) -> int:
        """How many pages are left when those of one signature count as one, FOLDED_MAX at most."""
        return len(self._all)

    def worst(self) -> tuple[str | None, int]:
        """Return the minute with the most pages, the latest of equals, and how many."""
        at = max(self.minutes, key=lambda minute: (self.minutes[minute], minute), default=None)
        return at, 0 if at is None else self.minutes[at]
