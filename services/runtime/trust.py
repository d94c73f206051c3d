"""Whom MUTT trusts as a TLS client: the authorities of a file, or those of the system; host names always count."""

import os
import ssl

from mutt.errors import SettingsError


def authorities(path: str | None, variable: str) -> ssl.SSLContext:
    """Return a context that verifies certificate and host name; raises SettingsError when the file is of no use."""
    try:
        context = ssl.create_default_context(cafile=path)
    except ssl.SSLError as error:
        raise SettingsError(
            f"{variable}={path!r} holds no certificate ({error.reason}): {_remedy(variable)}"
        ) from error
    except OSError as error:
        raise SettingsError(f"{variable}={path!r} cannot be read ({error.strerror}): {_remedy(variable)}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def lend_system_store() -> None:
    """Show an OpenSSL that is not Python's own, as libpq brings one, where this system keeps its authorities."""
    known = ssl.get_default_verify_paths()
    found = {known.openssl_cafile_env: known.cafile, known.openssl_capath_env: known.capath}
    for variable, path in found.items():
        if path is not None:
            os.environ.setdefault(variable, path)


def _remedy(variable: str) -> str:
    return (
        "name a file of the certificate authority in PEM form that this user may read, "
        f"or leave {variable} empty for the authorities of the system"
    )
