"""A unit file as systemd reads it: names that repeat, environment lines, specifiers."""

import shlex
import socket
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from tests.contract.sheet import ROOT

FOLDER = ROOT / "systemd"
OPENERS = ("#", ";")


class Unit:
    """One unit file; `instance` is what stands behind the @ of a template's name."""

    def __init__(self, path: Path, instance: str = "") -> None:
        self.prefix = path.stem.rstrip("@")
        self.instance = instance
        self._values: dict[str, list[str]] = defaultdict(list)
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.strip() and not line.startswith(("[", *OPENERS)):
                name, _, value = line.partition("=")
                self._values[name].append(value)

    def all(self, name: str) -> list[str]:
        """Return every value of a repeated name, with the specifiers filled in."""
        return [self._expand(value) for value in self._values[name]]

    def one(self, name: str) -> str:
        """Return the value of a name that stands there once."""
        (value,) = self.all(name)
        return value

    def own_environment(self) -> dict[str, str]:
        """Return the variables that the unit itself sets."""
        words = [word for line in self.all("Environment") for word in shlex.split(line)]
        return dict(word.split("=", 1) for word in words)

    def _expand(self, value: str) -> str:
        for specifier, text in (("%H", socket.gethostname()), ("%p", self.prefix), ("%i", self.instance)):
            value = value.replace(specifier, text)
        return value


def read_environment_file(path: Path) -> dict[str, str]:
    """Return the variables of an EnvironmentFile."""
    lines = path.read_text(encoding="utf-8").splitlines()
    pairs = (line.split("=", 1) for line in lines if line.strip() and not line.startswith(OPENERS))
    return {name: "".join(shlex.split(value)) for name, value in pairs}


def write_environment_file(path: Path, values: Mapping[str, str]) -> None:
    """Fill in an EnvironmentFile as its reader would: its own lines stay, but for those of the names given."""
    kept = [line for line in path.read_text(encoding="utf-8").splitlines() if line.split("=")[0] not in values]
    lines = [*kept, *(f"{name}={shlex.quote(value)}" for name, value in values.items())]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
