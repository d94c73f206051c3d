"""Commands of the documents, run as they stand: blocks marked `sh run`, one after another in the same shell."""

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

MARK = "the block is done"


def blocks(page: Path, heading: str) -> list[str]:
    """Return the blocks marked `sh run` below a heading, up to the next one."""
    text = page.read_text(encoding="utf-8")
    found = re.search(rf"^(#+) {re.escape(heading)}$(.*?)(?=^\1 |\Z)", text, re.MULTILINE | re.DOTALL)
    if found is None:
        raise AssertionError(f"{page.name} has no heading {heading!r}")
    return re.findall(r"^```sh run\n(.*?)^```$", found[2], re.MULTILINE | re.DOTALL)


def headings(page: Path) -> list[str]:
    """Return the headings that have blocks to run, in their order."""
    names = re.findall(r"^## (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return [name for name in names if blocks(page, name)]


def command(folder: Path, name: str, program: Path, **environment: str) -> None:
    """Put a program into a folder of a PATH under the name by which the documents call it."""
    folder.mkdir(exist_ok=True)
    lines = ["#!/bin/sh", *(f"export {key}='{value}'" for key, value in environment.items())]
    file = folder / name
    file.write_text("\n".join([*lines, f"exec '{program}' \"$@\""]) + "\n", encoding="utf-8")
    file.chmod(0o755)


class Shell:
    """A bash that ends at the first command that fails; what it printed is the failure.

    `prefix` is the command that starts it elsewhere, in another namespace say, with `folder` still its own.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], prefix: Sequence[str] = ()) -> None:
        self._folder = folder
        self._count = 0
        self._bash = subprocess.Popen(
            [*prefix, "bash", "--norc", "-euo", "pipefail"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder,
            env=dict(environment),
        )

    def run(self, block: str) -> str:
        """Run a block and return what it printed."""
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._count += 1
        script = self._folder / f"block-{self._count}.sh"
        script.write_text(block, encoding="utf-8")
        self._bash.stdin.write(f". ./{script.name} </dev/null; echo '{MARK}'\n")
        self._bash.stdin.flush()
        printed: list[str] = []
        for line in self._bash.stdout:
            if line.endswith(f"{MARK}\n"):  # what a command printed last may have had no end of line
                return "".join(printed) + line.removesuffix(f"{MARK}\n")
            printed.append(line)
        raise AssertionError(f"a command failed in\n{block}\nIt printed:\n{''.join(printed)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bash.kill()
        self._bash.wait()
        for stream in (self._bash.stdin, self._bash.stdout):
            if stream is not None:
                stream.close()
