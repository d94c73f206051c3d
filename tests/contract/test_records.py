"""The data file's notes and the waiting list say nothing that is not so."""

from tests.contract import sheet
from tests.contract.sheet import ROOT, WAITING

RECORDS = ROOT / "docs" / "decisions"


def test_every_decided_note_names_a_record() -> None:
    numbers = {path.name[:4] for path in RECORDS.glob("[0-9]*.md")}
    missing = [(where, number) for where, number in sheet.decided() if number not in numbers]
    assert not missing


def test_record_numbers_are_unique() -> None:
    numbers = [path.name[:4] for path in RECORDS.glob("[0-9]*.md")]
    assert len(numbers) == len(set(numbers))


def test_every_waiting_row_is_a_row() -> None:
    rows = [
        *sheet.variables(), *sheet.dynamic_keys(), *sheet.metrics(), *sheet.endpoints(), *sheet.redis_keys(),
        *sheet.tables(), *sheet.files(), *sheet.secrets(), *sheet.services(), *sheet.units(), *sheet.standing(),
        *sheet.commands("redis"), *sheet.commands("sql"),
    ]  # fmt: skip
    ids = [row.id for row in rows]
    assert len(ids) == len(set(ids))
    assert set(WAITING) <= set(ids)


def test_every_fact_that_stands_alone_has_a_test() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "contract").glob("test_*.py"))
    assert not [row.id for row in sheet.standing() if f'row.id == "{row.id}"' not in text]
