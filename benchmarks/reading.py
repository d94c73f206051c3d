"""What reading costs, in this process: from a request's body to queue entries, CPU µs an event (of the thread).

    python -m benchmarks.reading [--rounds N] [--instructions]

Each form of event and body is read in short rounds, in turn with the others; the least and the median are told. With
--instructions those that an event takes are counted too, where this machine can.
"""

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from benchmarks import instructions
from benchmarks.measuring import NotHere
from benchmarks.pieces import BATCH, intake
from benchmarks.workload import events
from mutt.intake import Receipt

EVENTS = 1000
ROUNDS = 50
Form = Callable[[dict[str, object], int], dict[str, object]]


def at(number: int, timespec: str) -> str:
    """Return the time of an event, each later than the one before."""
    then = datetime.now(UTC) + timedelta(microseconds=number * 1371)
    return then.isoformat(timespec=timespec).replace("+00:00", "Z")


REFUSED = "refused, into the quarantine"
FORMS: dict[str, Form] = {
    "as in the benchmarks": lambda event, _: event,
    "each at its own microsecond": lambda event, number: event | {"timestamp": at(number, "microseconds")},
    "with a correlation_id": lambda event, number: event | {"correlation_id": str(uuid(number))},
    "nested, with escapes": lambda event, number: (
        event | {"more": {"path": f'C:\\temp\\"{number}"', "tags": ["é", "b"]}}
    ),
    REFUSED: lambda event, _: event | {"hostname": " "},
}


def uuid(number: int) -> str:
    """Return the UUID of a number."""
    digits = f"{random.Random(number).getrandbits(128):032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def ways(made: Sequence[bytes]) -> dict[str, Sequence[bytes]]:
    """Return the bodies in which events come."""
    batches = [made[start : start + BATCH] for start in range(0, len(made), BATCH)]
    return {
        "single": made,
        "array": [b"[" + b",".join(batch) + b"]" for batch in batches],
        "lines": [b"\n".join(batch) for batch in batches],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--instructions", action="store_true")
    options = parser.parse_args()
    plain = [json.loads(event) for event in events(EVENTS)]
    cases: dict[tuple[str, str], Sequence[bytes]] = {}
    for form, change in FORMS.items():
        made = [json.dumps(change(event, number), separators=(",", ":")).encode() for number, event in enumerate(plain)]
        cases |= {(form, way): bodies for way, bodies in ways(made).items() if (form, way) != (REFUSED, "single")}
    read = intake().read
    spent: dict[tuple[str, str], list[float]] = {case: [] for case in cases}
    received_us = time.time_ns() // 1000
    for _ in range(options.rounds):
        for case, bodies in cases.items():
            received_us += 1_000_000  # which times were seen is remembered for one second of receipt
            began = time.thread_time()
            for body in bodies:
                read(body, "", "application/json", Receipt(received_us))
            spent[case].append((time.thread_time() - began) / EVENTS * 1e6)
    for (form, way), each in spent.items():
        print(f"{form:34}{way:8}{min(each):8.2f} µs at least, {statistics.median(each):6.2f} in the median")
    if options.instructions:
        for piece in ("read_single", "read_batch"):
            try:
                print(f"{piece:42}{instructions.count(piece):8,.0f} instructions")
            except NotHere as reason:
                raise SystemExit(str(reason)) from None


if __name__ == "__main__":
    main()
