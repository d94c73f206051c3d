"""The house rules, each as a test of its own: style, types, layers, sizes, and no setting without a use or a word."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mutt.settings import SERVICES
from mutt.variables import variables
from scripts import generate_reference
from tests.contract.sheet import WAITING
from tests.contract.usage import attributes_read, fields

ROOT = Path(__file__).resolve().parent.parent.parent
CODE = ("mutt", "services", "scripts", "benchmarks", "integrations", "tests")
MODULE_MOST = 400  # lines


def run(*arguments: str) -> None:
    """Run one of the tools on the tree; what it says is the failure."""
    done = subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(arguments)}:\n{done.stdout[-6000:]}{done.stderr[-2000:]}"


def test_ruff_finds_nothing() -> None:
    run("ruff", "check", ".")


def test_ruff_would_format_nothing() -> None:
    run("ruff", "format", "--check", ".")


@pytest.mark.timeout(600)
def test_mypy_finds_nothing() -> None:
    run("mypy")


def test_the_layers_hold() -> None:
    """The command lint-imports, called where it is installed."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports"))], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert "2 kept, 0 broken" in done.stdout


def modules(*folders: str) -> Iterator[Path]:
    """Yield the Python files of the folders."""
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


def test_no_module_is_too_long() -> None:
    too_long = {
        str(path.relative_to(ROOT)): lines
        for path in modules(*CODE)
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > MODULE_MOST
    }
    assert not too_long


def test_the_generated_reference_is_current() -> None:
    for name, text in (
        ("api", generate_reference.api()),
        ("configuration", generate_reference.configuration()),
        ("metrics", generate_reference.metrics()),
    ):
        path = ROOT / "docs" / f"{name}.md"
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is old: run scripts/generate_reference.py"


def test_every_variable_is_documented() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    for service in SERVICES.values():
        for variable, _ in variables(service):
            assert f"`{variable.name}`" in text
            assert variable.purpose


def test_no_setting_is_dead() -> None:
    """Except what the contract's list names as waiting."""
    read, waiting = attributes_read(), {row.rsplit(":", 1)[1] for row in WAITING if row.startswith("variable:")}
    dead = {variable for service in SERVICES.values() for variable, name in fields(service) if name not in read}
    assert dead == waiting


def test_every_lua_script_opens_with_its_keys_and_arguments() -> None:
    for path in (ROOT / "services").rglob("*.lua"):
        head = path.read_text(encoding="utf-8")[:2500]
        assert head.startswith("--"), path.name
        assert "KEYS" in head, path.name


def test_links_between_the_documents_lead_somewhere() -> None:
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_architecture_names_what_exists() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    code = "\n".join(path.read_text(encoding="utf-8") for path in modules("mutt", "services"))
    names = {part for name in re.findall(r"`([A-Z]\w*[a-z]\w*(?:\.\w+)?)`", page) for part in name.split(".")}
    assert names
    missing = [name for name in names if not re.search(rf"\b(class|def) {name}\b", code)]
    paths = re.findall(r"`((?:mutt|services)/[\w/]+\.py|\w+\.lua)`", page)
    missing += [path for path in paths if not list(ROOT.glob(path if "/" in path else f"services/**/{path}"))]
    assert not missing


def test_nothing_is_marked_to_be_done_later() -> None:
    mark = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
    for path in modules(*CODE):
        assert not mark.search(path.read_text(encoding="utf-8")), path
