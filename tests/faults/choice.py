"""Which faults of a part one run provokes: some by the seed, all, or those whose name holds some words.

MUTT_FAULTS=all python3 scripts/muttdev.py test tests/faults
MUTT_FAULTS="failed over" python3 scripts/muttdev.py test tests/faults/test_postgresql.py
"""

import os
import random

from tests.chaos.stage import chosen_seed
from tests.faults import table
from tests.faults.table import Fault

WANTED = os.environ.get("MUTT_FAULTS", "all" if table.WRITING else "")
TIMEOUT = 1800 if WANTED else 300  # seconds


def chosen(part: str, most: int) -> list[Fault]:
    """Return the faults of a part that this run provokes, in the table's order: `most` of them, if nothing is said."""
    faults = table.of(part)
    if WANTED:
        return [fault for fault in faults if WANTED == "all" or WANTED in fault.name]
    places = sorted(random.Random(chosen_seed()).sample(range(len(faults)), most))
    return [faults[place] for place in places]
