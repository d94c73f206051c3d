"""The commands that prove and measure: which module each becomes, and with which arguments."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scripts.devtools import cli, proving
from scripts.devtools.instance import UserError

Become = Callable[[str], list[str]]


@pytest.fixture
def become(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Become:
    """Return what runs a command line and gives the module and arguments that it would become."""
    for folder, modules in (
        ("tests/chaos", ("crash_points", "failover", "overload", "random_blows", "soak")),
        ("benchmarks", ("table", "compare", "growth", "latency", "peers")),
    ):
        (tmp_path / folder).mkdir(parents=True)
        for module in modules:
            (tmp_path / folder / f"{module}.py").touch()
    monkeypatch.setattr(proving, "TREE", tmp_path)
    monkeypatch.chdir(tmp_path)
    became: list[list[str]] = []

    def execute(program: str, arguments: list[str]) -> None:
        assert program == sys.executable
        became.append(arguments[2:])
        raise SystemExit(0)

    monkeypatch.setattr(os, "execv", execute)

    def run(line: str) -> list[str]:
        done = CliRunner().invoke(cli.app, line.split(), catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return became.pop()

    return run


@pytest.mark.parametrize(
    ("line", "module"),
    [
        ("chaos --minutes 30 --seed 7", "tests.chaos.random_blows --minutes 30.0 --seed 7"),
        ("chaos", "tests.chaos.random_blows"),
        ("chaos --points --list --seed 3", "tests.chaos.crash_points --seed 3 --list"),
        ("chaos --failovers 20", "tests.chaos.failover --kills 20"),
        ("chaos --overload --minutes 5", "tests.chaos.overload --minutes 5.0"),
        ("soak --hours 0.5", "tests.chaos.soak --minutes 30.0"),
        ("soak --minutes 2 --seed 1", "tests.chaos.soak --minutes 2.0 --seed 1"),
        ("bench", "benchmarks.table"),
        (
            "bench --quick --write --only match --only audit",
            "benchmarks.table --write --only match --only audit --quick",
        ),
        ("bench --only audit --json /a", "benchmarks.table --only audit --file /a"),
        ("bench --appendfsync always --runs 5", "benchmarks.table --runs 5 --appendfsync always"),
        ("bench --compare HEAD~1 --quick", "benchmarks.compare --quick HEAD~1"),
        ("bench --growth rules queue --quick", "benchmarks.growth --quick rules queue"),
        ("bench --latency --write", "benchmarks.latency --write"),
        ("bench --peers", "benchmarks.peers"),
    ],
)
def test_a_command_becomes_its_module(become: Become, line: str, module: str) -> None:
    assert become(line) == module.split()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("chaos --points --overload", "proofs of their own: give one"),
        ("chaos --points --minutes 3", "--minutes is for"),
        ("soak --hours 1 --minutes 3", "give one of them"),
        ("bench --growth --compare HEAD", "give one of them"),
        ("bench --growth --only rules", "names of curves"),
        ("bench --latency --json f", "are for the table"),
        ("bench --compare HEAD --write", "writes no tables"),
    ],
)
def test_options_that_contradict_each_other_are_refused(become: Become, line: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        become(line)


def test_a_tree_without_the_proofs_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(proving, "TREE", tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="a release has none"):
        proving.become("tests.chaos.soak", [])
