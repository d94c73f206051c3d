"""Provokes a fault under a small load, watches, and says in fixed words what was seen."""

import json
import threading
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from tests.chaos.blows import pass_time
from tests.chaos.books import claims
from tests.chaos.load import Ledger, load
from tests.chaos.stage import chosen_seed, wait_settled
from tests.faults import table
from tests.faults.stage import Stage
from tests.faults.table import Fault
from tests.harness.processes import fetch
from tests.harness.waiting import wait_for

SENDERS = 3
ONSET = 0.8  # seconds from the blow until what is seen counts
WINDOW = 1.5  # seconds that are looked at together
PATIENCE = 20.0  # seconds for a window in which all that the document tells is seen
HOLD = 8.0  # seconds that a fault lasts where the document is written: its last window counts
LOOK = 0.1  # seconds between two looks
LOST = "acknowledged, but neither audited nor visible"
NOT_DELIVERED = "owed to Moogsoft, but neither delivered nor visible"
DOUBLED = "audited more than once"


class Watch:
    """What senders, health checks and Moogsoft see from the last `forget` on."""

    def __init__(self, stage: Stage, ledger: Ledger) -> None:
        self._stage = stage
        self._ledger = ledger
        self._over = threading.Event()
        self._looks: dict[str, Counter[str]] = defaultdict(Counter)
        self._answers = ledger.answers.copy()
        self._delivered = 0

    def forget(self) -> None:
        """Begin anew."""
        self._looks.clear()
        self._answers = self._ledger.answers.copy()
        self._delivered = self._stage.moogsoft.stats()["distinct"]

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Look at the health of each service, beside the others': a hanging one answers late."""
        threads = [threading.Thread(target=self._look, args=(name,), daemon=True) for name in self._stage.services]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join()

    def _look(self, name: str) -> None:
        while not self._over.wait(LOOK):
            status, body = fetch(self._stage.services[name].health_url)
            failing = json.loads(body).get("failing", ()) if status in {200, 503} else ("no answer",)
            self._looks[name][", ".join(sorted(failing))] += 1

    def senders(self) -> str:
        """Return the statuses that senders got."""
        statuses = sorted(self._ledger.answers - self._answers)
        return " and ".join(str(status) if status else "no answer" for status in statuses) or "no answer yet"

    def health(self) -> str:
        """Return what each service's health names, most of the times: on a busy machine an answer may be late once."""
        by_words: dict[str, list[str]] = defaultdict(list)
        for name in self._stage.services:
            for words, _ in self._looks[name].most_common(1):
                by_words[words].append(name)
        if len(by_words) == 1:
            return f"all: {next(iter(by_words))}" if any(by_words) else "well"
        return "; ".join(f"{', '.join(names)}: {words}" for words, names in by_words.items() if words)

    def alerts(self) -> str:
        """Return whether alerts reach Moogsoft meanwhile."""
        return "go on" if self._stage.moogsoft.stats()["distinct"] > self._delivered else "wait"


def provoke(stage: Stage, fault: Fault) -> str:
    """Return the table's row as it was seen; raises AssertionError where something is wrong that no row may tell."""
    pids = {name: service.pid for name, service in stage.services.items()}
    # Each fault's events are others, by one seed too: all faults are provoked on one stage.
    seed = zlib.crc32(f"{chosen_seed()} {fault.name}".encode())
    with load(SENDERS, seed, f"{stage.services['ingestor'].url}/api/v2/ingest") as ledger:
        watch = Watch(stage, ledger)
        wait_for(lambda: len(ledger.acknowledged) > 20, "events before the fault")
        with watch.looking(), fault.strike(stage):
            meanwhile = _brief(watch, fault) if fault.brief else _lasting(watch, fault)
    stage.total.acknowledged.update(ledger.acknowledged)
    assert ledger.complaints == []
    with stage.redis() as client:
        wait_settled(client, stage.services.values())
        found = claims(stage.total, client, stage.database_url, stage.moogsoft.alerts())
    assert {name: service.pid for name, service in stage.services.items() if service.running} == pids
    lost, doubled = len(found.pop(LOST)) + len(found.pop(NOT_DELIVERED)), len(found.pop(DOUBLED))
    assert not any(found.values()), found
    return table.row(fault, *meanwhile, str(lost), str(doubled), "well by itself")


def _brief(watch: Watch, fault: Fault) -> tuple[str, str, str]:
    pass_time(ONSET)
    senders = watch.senders()
    if fault.part == "redis" and senders in {"200", "503", "200 and 503"}:  # which of them is a matter of chance
        senders = "200 or 503"
    return senders, "not asked", "not asked"


def _lasting(watch: Watch, fault: Fault) -> tuple[str, str, str]:
    told = "" if table.WRITING else table.documented(fault.part).get(fault.name, "")
    until = time.monotonic() + (HOLD if table.WRITING else PATIENCE)
    pass_time(ONSET)
    while True:
        # What was on its way when the fault began ends as if there were none, however busy the machine is: only a
        # window after that can show what the document tells.
        watch.forget()
        pass_time(WINDOW)
        seen = watch.senders(), watch.health(), watch.alerts()
        if time.monotonic() > until or told.startswith(table.row(fault, *seen, "", "", "")[: -len("|  |  |  |")]):
            return seen


def check(stage: Stage, fault: Fault) -> None:
    """Provoke a fault and compare what was seen with the document, or write it there."""
    seen = provoke(stage, fault)
    if table.WRITING:
        table.document(fault, seen)
    told = table.documented(fault.part).get(fault.name)
    assert told == seen, "docs/reliability.md tells otherwise; MUTT_FAULTS_WRITE=1 writes what was seen"
