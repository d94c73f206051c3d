"""The benchmarks' load and the rows end to end, in tiny forms: that they run and report, not how fast anything is."""

import importlib
from functools import partial

import pytest
import redis

from benchmarks import machine, measuring, pieces, rows_page, table
from benchmarks.end_to_end import CLAIMED, CONNECTIONS, copied, sent_and_audited
from benchmarks.generator import WRK, Load
from benchmarks.machine import Servers
from benchmarks.stacks import PATH, QUEUE, Stack
from benchmarks.workload import bodies
from scripts.devtools.embedded import PostgresServer, RedisServer
from tests.harness.credentials import INGEST_API_KEY
from tests.harness.processes import StartService
from tests.harness.programs import Program

STARTED_BY_OTHERS = {"constant", "counted", "peers_hook", "receiver"}  # with arguments that nobody types


@pytest.mark.parametrize("wrk", [WRK, None] if WRK else [None], ids=lambda wrk: "wrk" if wrk else "in Python")
def test_each_generator_reports_what_the_ingestor_took(
    start_service: StartService, redis_url: str, wrk: Program | None
) -> None:
    url = start_service("ingestor").url + PATH
    with Load(url, bodies(500, 1), {"X-API-KEY": INGEST_API_KEY}, connections=4, wrk=wrk) as load:
        report = load.run(0.3)
    with redis.Redis.from_url(redis_url) as client:
        # Each connection may have had one request under way when it ended.
        assert report.taken <= client.llen(QUEUE) <= report.taken + 4
    assert 0 < report.p50_ms <= report.p99_ms <= report.p999_ms
    with Load(url, bodies(10, 1), {"X-API-KEY": "wrong"}, connections=1, wrk=wrk) as load, pytest.raises(SystemExit):
        _ = load.run(0.1).taken


def test_both_stacks_are_measured_to_the_last_audit_row(own_redis: RedisServer, own_postgres: PostgresServer) -> None:
    servers = Servers(own_redis, own_postgres)
    mutt, plain = Stack("mutt", servers), Stack("stack", servers)
    for figure in (
        sent_and_audited(mutt, 100, 0.1),
        sent_and_audited(plain, 1, 0.1),
        copied(mutt, pieces.rows(CLAIMED)),
    ):
        assert figure.per_second > 0
        assert figure.cpu_us is not None
    assert mutt.audited() == CLAIMED
    assert plain.audited() > CONNECTIONS


def test_every_benchmark_can_be_imported_and_has_help(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["benchmark", "--help"])
    helped = set()
    for file in sorted((machine.TREE / "benchmarks").glob("*.py")):
        module = importlib.import_module(f"benchmarks.{file.stem}")
        text = file.read_text(encoding="utf-8")
        if "\nif __name__ ==" not in text or file.stem in STARTED_BY_OTHERS:
            continue
        main = getattr(module, "main", None) or partial(measuring.main, module.bench, module.__doc__)
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code, file.name
        assert "usage: benchmark" in capsys.readouterr().out, file.name
        helped.add(file.stem)
    assert helped >= {*table.ROWS, *rows_page.ROWS, "growth", "latency", "peers", "compare"}
