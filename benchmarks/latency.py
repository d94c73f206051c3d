"""Latencies from the sender to the audit and to the webhook, at 10, 50 and 80 % of capacity.

python -m benchmarks.latency [--quick] [--runs N] [--write] [--json FILE]
"""

import sys
from collections.abc import Sequence

from benchmarks import growth


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print this one curve of those of growth."""
    return growth.main(["latency", *(sys.argv[1:] if arguments is None else arguments)])


if __name__ == "__main__":
    sys.exit(main())
