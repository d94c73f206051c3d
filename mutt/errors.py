"""Errors grouped by what the caller has to do about them."""

from collections.abc import Mapping


class MuttError(Exception):
    """The root of every error that MUTT raises on purpose."""


class SettingsError(MuttError):
    """A setting is missing or impossible: refuse to start, the message names the variable."""


class EntryError(MuttError):
    """Bytes are not a queue entry: a dead letter at once, since no retry changes them."""


class RuleError(MuttError):
    """A rule is invalid; `details` maps each field to what is wrong with it and what is allowed."""

    def __init__(self, details: Mapping[str, str]) -> None:
        self.details = dict(details)
        super().__init__("; ".join(f"{field}: {problem}" for field, problem in self.details.items()))


class TransientError(MuttError):
    """A dependency is away: try again later, no event is at fault."""


class PermanentError(MuttError):
    """The event is at fault: trying again cannot help."""


class MisconfiguredError(MuttError):
    """A setting, key or certificate is at fault: a person has to act, no event is at fault."""


class UntrustedServerError(TransientError):
    """A server could not show over TLS that it is the right one; the message names the cause, the setting, the remedy.

    Transient, since the remedy may lie at the server: a renewed certificate is taken without a restart.
    """
