"""docs/operations/retention.md, run as it stands."""

import os
from datetime import date
from pathlib import Path

from tests.contract.sheet import ROOT
from tests.harness.documents import Shell, blocks, headings
from tests.harness.forking import forking_python
from tests.service.archive_stage import Stage

PAGE = ROOT / "docs" / "operations" / "retention.md"
MONTH = date(2026, 3, 1)


def test_every_command_does_what_the_page_says(database_url: str, tmp_path: Path) -> None:
    for folder in ("archive", "checkout"):
        (tmp_path / folder).mkdir()
    (tmp_path / "checkout" / "scripts").symlink_to(ROOT / "scripts")
    stage = Stage(database_url, tmp_path / "archive")
    stage.fill(MONTH, 5)
    stage.sql("UPDATE event_audit_log SET hostname = 'router1'")
    stage.late(MONTH, "a Link Down")
    stage.sql("UPDATE event_audit_log SET handling = 'Page_and_ticket' WHERE message = 'a Link Down'")
    whole = stage.all_rows(MONTH)
    environment = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", **stage.environment()}
    printed = {}
    with (
        forking_python(tmp_path / "bin", "scripts.archive_old_events", "scripts.create_monthly_partitions"),
        Shell(tmp_path / "checkout", environment) as shell,
    ):
        for heading in headings(PAGE):
            printed[heading] = "".join(shell.run(block) for block in blocks(PAGE, heading))

    assert "every partition is there" in printed["Partitions"]
    archive = printed["The archive"]
    assert archive.index("would be archived, 6 rows") < archive.index("archived: 2") < archive.index("restored_until")
    assert printed["To search what is archived"].count("router1") == 5
    assert printed["To search what is archived"].count(",Page_and_ticket,") == 1
    assert "restored: 2" in printed["To bring a month back"]
    assert stage.all_rows(MONTH) == whole
    assert "nothing to do" in printed["The end"]
    assert "nothing to do" in printed["When the database was lost"]
