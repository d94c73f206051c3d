"""Make the secrets of a new installation: one file each, as compose.yaml and `kubectl create secret` take them.

A file that is there stays as it is. Some are made empty, which is as good as none: the second of each pair, filled
during a rotation; named keys of the web UI; the keys of the archive's bucket.
"""

import argparse
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

MADE = ("REDIS_PASS_CURRENT", "DB_PASS_CURRENT", "INGEST_API_KEY", "WEBUI_API_KEY", "MOOG_API_KEY")
EMPTY = (
    *("REDIS_PASS_NEXT", "DB_PASS_NEXT", "INGEST_API_KEY_NEXT", "WEBUI_API_KEY_NEXT"),
    *("WEBUI_API_KEYS", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
)


def make(folder: Path) -> list[Path]:
    """Write what is missing and return it; the folder is its owner's alone, the files are the containers' to read."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    written = []
    for name in MADE + EMPTY:
        path = folder / name
        try:
            with path.open("x", encoding="ascii") as file:
                file.write(secrets.token_urlsafe(32) if name in MADE else "")
        except FileExistsError:
            continue
        path.chmod(0o644)  # a container's user is another one than the owner, whom the folder protects
        written.append(path)
    return written


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="make_secrets.py", description=__doc__)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args(arguments)
    try:
        written = make(options.folder)
    except OSError as error:
        print(f"make_secrets.py: {error}", file=sys.stderr)
        return 1
    print(*([f"written {path}" for path in written] or ["nothing to do: all are there"]), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
