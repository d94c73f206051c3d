"""MUTT beside what users would pick instead: rsyslog with ompgsql, and Alertmanager with a webhook.

    python3 scripts/muttdev.py bench --peers [--runs 3] [--quick] [--appendfsync off|everysec|always] [--write]

Each is loaded until everything has arrived (a row in PostgreSQL, an alert at the webhook), and the CPU is that of its
processes and servers. Then, with other events, each is killed (kill -9) when a quarter has arrived, and started again:
`taken` is what it had read off its connection or acknowledged by then, `lost` what of it never arrives, `doubled` what
arrives twice. What is not installed is left out and said. --write puts the table into docs/peers.md.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial

from benchmarks import facts, generator, machine, measuring
from benchmarks.end_to_end import CONDITIONS, CONNECTIONS, sent_and_audited
from benchmarks.machine import TREE, Servers
from benchmarks.measuring import Bench, Figure, Floor, Outcome, Side
from benchmarks.peers_alertmanager import Alertmanager
from benchmarks.peers_loss import Loss
from benchmarks.peers_mutt import BATCH, append_only
from benchmarks.peers_mutt import loss as loss_of_mutt
from benchmarks.peers_rsyslog import DISK, Rsyslog
from benchmarks.peers_webhook import Delivering, Webhook
from benchmarks.stacks import Stack

COMMAND = "python3 scripts/muttdev.py bench --peers"
PAGE = TREE / "docs" / "peers.md"
SECONDS = 1.5  # of load for MUTT
LINES, LINES_ON_DISK, ALERTS = 150_000, 60_000, 20_000


def measured(speed: Callable[[int], Figure], loss: Callable[[int], Loss], count: int, scale: float) -> Figure:
    """Return the speed with what a kill costs as notes."""
    count = max(BATCH * 20, round(count * scale) // BATCH * BATCH)
    figure = speed(count)
    return Figure(figure.per_second, figure.cpu_us, loss(count)._asdict())


def rsyslog(servers: Servers, name: str, what: str, count: int = LINES, **how: bool | str) -> Side:
    """Return a way to run rsyslog as a side."""
    made = cache(lambda: Rsyslog(servers, name, **how))  # type: ignore[arg-type]
    return Side(name, what, lambda scale: measured(made().speed, made().loss, count, scale))


def mutt(stack: Stack, name: str, what: str, mode: str, *, with_redis: bool) -> Side:
    """Return MUTT with one mode of the append-only file as a side."""

    def measure(scale: float) -> Figure:
        append_only(stack.servers, mode)
        speed = sent_and_audited(stack, BATCH, SECONDS * scale)
        lost = loss_of_mutt(stack, max(BATCH * 20, round(LINES * scale)), with_redis=with_redis)
        return Figure(speed.per_second, speed.cpu_us, lost._asdict())

    return Side(name, what, measure)


def delivering(stack: Stack, webhook: Webhook, name: str, what: str) -> Side:
    """Return MUTT as far as the webhook as a side."""
    made = Delivering(stack, webhook)

    def measure(scale: float) -> Figure:
        append_only(stack.servers, "always")
        return measured(made.speed, made.loss, ALERTS, scale)

    return Side(name, what, measure)


def alertmanager(webhook: Webhook, name: str, what: str, **how: str) -> Side:
    """Return a way to run Alertmanager as a side."""
    made = Alertmanager(webhook, name, **how)
    return Side(name, what, partial(measured, made.speed, made.loss, ALERTS))


@contextmanager
def bench(options: argparse.Namespace) -> Iterator[Bench]:
    """Start the servers and give the row."""
    with machine.servers(options.appendfsync) as servers, Webhook.running() as webhook:
        stack = Stack("mutt", servers)
        sides = (
            mutt(
                stack, "mutt", "MUTT: rules, keys, JSON; its services are killed", options.appendfsync, with_redis=False
            ),
            mutt(
                stack, "mutt_always", "MUTT, AOF always; its services and Redis are killed", "always", with_redis=True
            ),
            rsyslog(
                servers, "rsyslog", "rsyslog with ompgsql: MUTT's indexes, queue in memory; no rules, no key, no JSON"
            ),
            rsyslog(servers, "rsyslog_bare", "rsyslog, without indexes", indexes=False),
            rsyslog(servers, "rsyslog_disk", "rsyslog, with indexes, queue on disk", LINES_ON_DISK, queue=DISK),
            delivering(
                stack,
                webhook,
                "mutt_webhook",
                "MUTT as far as a webhook, AOF always; its services and Redis are killed",
            ),
            alertmanager(webhook, "alertmanager", "Alertmanager to a webhook, an alert a group; nothing is stored"),
            alertmanager(
                webhook,
                "am_grouped",
                "Alertmanager, a group for each kind of alert",
                group_by="alertname",
                group_wait="1s",
            ),
        )
        yield Bench(
            "peers",
            "What users would pick instead",
            f"AOF {options.appendfsync} if nothing else is said; MUTT: batches of {BATCH}, {CONNECTIONS} connections, "
            f"{generator.NAME}, {CONDITIONS}; rsyslog: lines of the same events over one TCP connection, main queue of "
            "100,000, batches of 1,000, one worker; Alertmanager: batches of 100 over 4 connections",
            sides,
            (Floor("mutt", "rsyslog", 1, "cpu_us"), Floor("mutt_always", "rsyslog", 1, "cpu_us")),
        )


def table(outcome: Outcome) -> str:
    """Return the outcome as it stands in the page."""
    where, scale = facts.sentence(facts.facts()), "" if outcome.scale == 1 else f" --scale {outcome.scale:g}"
    lines = [
        f"`{COMMAND}{scale}`, {facts.today()}, {where}. Medians of {outcome.runs}; {outcome.conditions}.",
        "",
        "| what | events/s | CPU µs an event | taken when it was killed | lost | doubled |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for side in outcome.sides:
        if side.per_second is None or side.cpu_us is None:
            lines.append(f"| {side.what} | not measured: {side.missing} | | | | |")
            continue
        rate, cpu, notes = side.per_second, side.cpu_us, side.notes
        counts = " | ".join(f"{notes[name]:,.0f}" for name in Loss._fields)
        spread = f"{rate.median:,.0f} ({rate.least:,.0f}-{rate.most:,.0f})"
        lines.append(f"| {side.what} | {spread} | {cpu.median:,.1f} ({cpu.least:,.1f}-{cpu.most:,.1f}) | {counts} |")
    return "\n".join([*lines, "", *(f"- {measuring.judged(verdict)}." for verdict in outcome.verdicts)])


def write(text: str) -> None:
    """Put the table between the page's markers."""
    page = PAGE.read_text(encoding="utf-8")
    head, begin, rest = page.partition("<!-- peers -->\n")
    _, end, tail = rest.partition("<!-- end -->")
    PAGE.write_text(f"{head}{begin}{text}\n{end}{tail}", encoding="utf-8")


def main() -> None:
    """Measure, print, and write where it is asked for."""
    parser = measuring.arguments(__doc__)
    parser.add_argument("--write", action="store_true", help="write the table into docs/peers.md")
    options = parser.parse_args()
    outcome = measuring.measured(bench, options)
    print(json.dumps(outcome.as_json(), ensure_ascii=False) if options.json else measuring.text(outcome), flush=True)
    if options.write:
        write(table(outcome))


if __name__ == "__main__":
    main()
