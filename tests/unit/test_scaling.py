"""What benchmarks/scaling.py computes, and that docs/scaling.md speaks of every script."""

import socket
from pathlib import Path

import pytest

from benchmarks.peers_lines import LineSender, lines
from benchmarks.scaling import PAGE, Costs, Plan, between, carried, report

ROOT = Path(__file__).resolve().parent.parent.parent
NOTES = {"p99_ms": 1.0, "ingestor_us": 2.0, "redis_us": 4.0, "alerter_us": 6.0, "postgres_us": 8.0}
DOCUMENT = {
    "command": "python3 scripts/muttdev.py bench --appendfsync always",
    "appendfsync": "always",
    "rows": [
        {
            "name": name,
            "date": "2026-11-30",
            "sides": [
                {"name": "stack", "notes": {}},
                {"name": "mutt", "notes": {key: factor * NOTES[key] for key in NOTES}},
            ],
        }
        for name, factor in (("end_to_end_single", 2), ("end_to_end_batches", 1))
    ],
}
FOOTPRINT = {
    "redis": {"append_only_file": 500.0, "ingest_queue": 600.0},
    "audit": {"write_ahead_log": 1000.0, "bytes": 700.0},
}


def test_redis_ends_what_ten_machines_carry_until_it_is_sharded() -> None:
    costs = Costs.of(DOCUMENT, "end_to_end_batches")
    assert [(round(rate), step) for _, rate, step in carried(costs, Plan(cores=16, use=0.5))] == [
        (25_000, "the core"),
        (125_000, "Redis, one thread"),
        (125_000, "Redis, one thread"),
        (1_000_000, "PostgreSQL, one machine"),
        (4_000_000, "the cores"),
    ]


def test_the_bill_names_the_cores_of_each_step() -> None:
    text = report(DOCUMENT, FOOTPRINT, Plan(cores=16, use=0.5), 1e6)
    assert "1,000,000 events/s in batches of 100:" in text
    for line in (
        "| ingestor | 2.00 | 4 |",
        "| redis | 4.00 | 8 |",
        "| alerter | 6.00 | 12 |",
        "| postgres | 8.00 | 16 |",
    ):
        assert line in text
    assert "| all | 20.00 | 40 | 3 machines of 16 cores |" in text
    assert "| write-ahead log | 1,000 | 1,000 | 86.4 |" in text


def test_figures_that_a_file_does_not_hold_are_named() -> None:
    with pytest.raises(SystemExit, match="no figures of end_to_end_single"):
        report({"rows": [{"name": "end_to_end_single", "failed": "it ended with 1"}]}, None, Plan(), 1e6)


def test_the_page_has_a_place_for_the_tables_and_speaks_of_every_script() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert "the tables" in between(page, "the tables")
    scripts = {str(path.relative_to(ROOT)) for path in (ROOT / "services").rglob("*.lua")}
    assert scripts
    assert not {script for script in scripts if f"`{script}`" not in page}


def test_lines_count_as_taken_only_once_they_were_read() -> None:
    """The receiver reads a thousand lines and part of the next, and dies with the rest in the kernel's buffers."""
    made = lines(3000)
    wanted = len(b"".join(made.splitlines(keepends=True)[:1000])) + 10
    with socket.create_server(("127.0.0.1", 0)) as server:
        sender = LineSender(server.getsockname()[1], 3000)
        connection, _ = server.accept()
    with connection:
        sender.start()
        read = 0
        while read < wanted:
            read += len(connection.recv(wanted - read))
        unread = sender.wait_still()
        assert unread
    assert sender.taken(unread) == 1000
    sender.stop()
