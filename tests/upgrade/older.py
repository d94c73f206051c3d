"""The release before this one: the commit that FROM names, out of the repository's own history, beside today's tree.

FROM is moved at each change of the schema or of the envelope, to the last commit before it.
"""

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from scripts.devtools.services import TREE
from tests.harness.processes import ServiceProcess, find_service

FROM = Path(__file__).with_name("FROM")


@dataclass(frozen=True)
class OlderRelease:
    """That commit's files in a folder of their own; they run on today's libraries, which hold all of theirs."""

    tree: Path

    def run(self, *arguments: str, **environment: str) -> str:
        """Run one of its scripts, or any Python, as it would run there, and return what it printed."""
        done = subprocess.run(
            [sys.executable, *arguments],
            env={**self.environment(), **environment},
            cwd=self.tree,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @cached_property
    def schema_version(self) -> int:
        """The version of the schema that it knows, asked of a process of its own; its code, too, has to be its own."""
        said = self.run("-c", "import services.schema as s; print(s.__file__, s.SCHEMA_VERSION)")
        path, version = said.split()
        assert Path(path).is_relative_to(self.tree), f"it imports {path}"
        return int(version)

    def environment(self) -> dict[str, str]:
        """Return what leads its imports to its own tree, which today's would otherwise go ahead of."""
        return {"PATH": os.environ["PATH"], "PYTHONPATH": str(self.tree)}

    def service(self, name: str, environment: Mapping[str, str], log_file: Path) -> ServiceProcess:
        """Return one of its services, not yet started."""
        ours = find_service(name)
        theirs = replace(ours, entry=str(self.tree / "services" / ours.entry))
        return ServiceProcess(theirs, {**environment, **self.environment()}, log_file)


def check_out(folder: Path, tree: Path = TREE) -> OlderRelease:
    """Unpack that commit's files; fails, saying what to do, where the clone's history does not reach so far."""
    commit = FROM.read_text(encoding="ascii").strip()
    done = subprocess.run(
        ["git", "-C", str(tree), "archive", "--format=tar", commit, "mutt", "services", "scripts", "database"],
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        raise AssertionError(
            f"commit {commit}, which {FROM.relative_to(TREE)} names as the release to upgrade from, is not in this "
            f"clone: {done.stderr.decode().strip()}. A shallow clone gets it by: git fetch --unshallow"
        )
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return OlderRelease(folder)
