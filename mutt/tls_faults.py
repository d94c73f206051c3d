"""What a failed TLS handshake means, in words for an operator: the cause, the setting, and what would be right."""

from typing import NamedTuple


class Server(NamedTuple):
    """A server that MUTT speaks TLS to, and the variables that say how; `without` is the setting that does without."""

    what: str
    at: str
    name_variable: str
    ca_variable: str
    without: str | None = None


NO_TLS = "does not support SSL"  # libpq's words, for servers that have none of their own

# How OpenSSL, Python and libpq word a fault, and what it means; the first that fits is it.
_MEANINGS = (
    (("certificate has expired",), "the certificate of {what} at {at} has expired: renew it at the server"),
    (
        ("certificate is not yet valid",),
        "the certificate of {what} at {at} is not valid yet: check the clocks of both machines, and when it begins",
    ),
    (
        ("Hostname mismatch", "IP address mismatch", "is not valid for", "does not match host name"),
        "the certificate of {what} at {at} is for another name: set {name_variable} to one that it holds, or renew it",
    ),
    (
        ("CERTIFICATE_VERIFY_FAILED", "certificate verify failed"),
        "the certificate of {what} at {at} is signed by nobody trusted here: name its authority in {ca_variable}",
    ),
    (
        ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "record layer failure", NO_TLS),
        "{what} at {at} does not speak TLS there: give the server a certificate or name its TLS port{without}",
    ),
    (
        ("CERTIFICATE_REQUIRED", "certificate required", "requires a valid client certificate"),
        "{what} at {at} asks for a certificate of its clients, and MUTT has none: let the server ask for none",
    ),
    (("SSL", "TLS"), "the TLS handshake with {what} at {at} failed: {error}"),
)


def explain(error: str, server: Server) -> str | None:
    """Return what an error's text means for the operator; None where it does not speak of TLS."""
    known = server._asdict() | {"error": error}
    known["without"] = f", or, in a network that you trust, set {server.without}" if server.without else ""
    return next((words.format(**known) for signs, words in _MEANINGS if any(sign in error for sign in signs)), None)
