"""The certificate that a service shows on its own port; a renewed one is taken without a restart."""

import asyncio
import ssl
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import Gauge

from mutt.errors import SettingsError
from mutt.server_settings import OwnTlsSettings
from services.logging_utils import get_logger
from services.runtime.health import Health

if TYPE_CHECKING:
    from cryptography import x509

LOOK_SECONDS = 2.0

log = get_logger(__name__)


class OwnCertificate:
    """Holds the context of a server, and puts each new pair of files into it: open connections go on as they are."""

    def __init__(self, certificate: str, key: str, ends: Gauge) -> None:
        self._files = (certificate, key)
        self._ends = ends.labels("own")
        self._seen = self._state()
        self.context = _context(*self._files)
        self.fingerprint = self._note()
        with suppress(OSError):
            if Path(key).stat().st_mode & stat.S_IRWXO:
                log.warning("everybody on this machine may open the private key: chmod o-rwx", MUTT_TLS_KEY_PATH=key)

    async def keep_fresh(self, hangup: asyncio.Event, health: Health) -> None:
        """Look for new files every few seconds, and at each hang-up, until cancelled."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(hangup.wait(), LOOK_SECONDS)
            hangup.clear()
            state = self._state()
            if state == self._seen and "certificate" not in health.notes:
                continue
            try:
                _context(*self._files)  # a trial: a pair that does not fit must not get into the one in use
                self.context.load_cert_chain(*self._files)
                self.fingerprint = self._note()
            except (SettingsError, OSError) as error:
                # The two files are seldom replaced in one step. Tried again at each look: a right to read that comes
                # later changes no file.
                problem = f"the new certificate is refused, the one in use stays: {error}"
                if health.notes.get("certificate") != problem:
                    log.error(problem)  # noqa: TRY400  (no trace tells more)
                health.notes["certificate"] = problem
            else:
                self._seen = state
                health.notes.pop("certificate", None)

    def _note(self) -> str:
        """Tell until when the certificate is good, and return its fingerprint."""
        from cryptography.hazmat.primitives.hashes import SHA256

        shown = _certificate(self._files[0])
        self._ends.set(shown.not_valid_after_utc.timestamp())
        log.info("the own certificate", ends=shown.not_valid_after_utc.isoformat())
        return shown.fingerprint(SHA256()).hex()

    def _state(self) -> list[tuple[int, ...]]:
        state: list[tuple[int, ...]] = []
        for path in self._files:
            with suppress(OSError):
                found = Path(path).stat()
                state.append((found.st_mtime_ns, found.st_size, found.st_ino))
        return state


def own_certificate(settings: OwnTlsSettings, ends: Gauge) -> OwnCertificate | None:
    """Return the certificate that the settings name, None where they name none; raises SettingsError."""
    if settings.cert_path is None or settings.key_path is None:
        return None
    return OwnCertificate(settings.cert_path, settings.key_path, ends)


def _context(certificate: str, key: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for variable, path in (("MUTT_TLS_CERT_PATH", certificate), ("MUTT_TLS_KEY_PATH", key)):
        try:
            Path(path).read_bytes()
        except OSError as error:
            raise SettingsError(f"{variable}={path!r} cannot be read: {error.strerror}") from error
    _certificate(certificate)
    try:
        context.load_cert_chain(certificate, key, password=_no_passphrase)
    except ssl.SSLError as error:
        raise SettingsError(
            f"MUTT_TLS_CERT_PATH={certificate!r} and MUTT_TLS_KEY_PATH={key!r} are no certificate and its private key "
            f"in PEM form ({error.reason or error})"
        ) from error
    return context


def _certificate(path: str) -> "x509.Certificate":
    from cryptography import x509  # a service without TLS starts without it

    try:
        return x509.load_pem_x509_certificates(Path(path).read_bytes())[0]
    except ValueError as error:
        raise SettingsError(f"MUTT_TLS_CERT_PATH={path!r} holds no certificate in PEM form ({error})") from error


def _no_passphrase() -> str:
    raise SettingsError("MUTT_TLS_KEY_PATH names a key with a passphrase: a service has nobody to ask for it")
