"""One password that may be two while it is rotated: CURRENT until it is refused, then NEXT, then a fresh reading."""

from services.logging_utils import get_logger
from services.runtime.secrets import SecretSource

log = get_logger(__name__)


class RotatingPassword:
    """The password of a server, shared by all connections to it: what one has found to work the next ones try first."""

    def __init__(self, secrets: SecretSource, name: str) -> None:
        self._secrets = secrets
        self._names = (f"{name}_CURRENT", f"{name}_NEXT")
        self._adopted: str | None = None

    def now(self) -> str:
        """Return what a new connection tries first; "" is none."""
        known = self._known()
        return self._adopted if self._adopted is not None and self._adopted in known else known[0]

    async def turn(self, refused: set[str]) -> bool:
        """Turn to a password that is not among those that one attempt saw refused; False when there is none."""
        if self.now() not in refused:
            return True  # another connection has turned already
        if not set(self._known()) - refused:
            await self._secrets.refresh()
        left = [password for password in self._known() if password not in refused]
        self._adopted = left[0] if left else None
        if left and left[0] == self._secrets.get(self._names[1]):
            log.info(
                "the server refuses the password, trying the next one", refused=self._names[0], tried=self._names[1]
            )
        return bool(left)

    def _known(self) -> list[str]:
        return [password for name in self._names if (password := self._secrets.get(name))] or [""]
