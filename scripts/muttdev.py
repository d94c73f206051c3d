#!/usr/bin/env python3
"""MUTT on one machine: `muttdev.py up` runs all of it, `muttdev.py test` tests it; it needs nothing but Python.

This file stays readable to Python 3.6, so that one which is too old can say so.
"""

import sys
from pathlib import Path

OLDEST = (3, 11)


def main() -> None:
    """Check the Python, then hand over to the bootstrap, which ends in the commands of scripts/devtools."""
    if sys.version_info < OLDEST:
        wanted, found = (".".join(map(str, version[:2])) for version in (OLDEST, sys.version_info))
        sys.exit(
            f"muttdev needs Python {wanted} or newer, and {sys.executable} is Python {found}. Run it with a newer one "
            "(python3.12 scripts/muttdev.py ...), or install one: 'apt install python3' (Debian 12, Ubuntu 24.04), "
            "'dnf install python3.12' (RHEL 8, 9), or python.org."
        )
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from scripts.devtools import bootstrap

    bootstrap.main(sys.argv[1:])


if __name__ == "__main__":
    main()
