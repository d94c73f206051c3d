"""What can go wrong, by what the caller has to do about it."""

from mutt.errors import MuttError


class ArchiveError(MuttError):
    """The database or the archive could not do it now; what is half done goes on with the next run."""


class MonthError(ArchiveError):
    """It is about one month alone, which stays as it is; the others go on."""


class DamagedError(MuttError):
    """A file of the archive does not hold what was written into it."""


class BusyError(MuttError):
    """Another run is at work."""
