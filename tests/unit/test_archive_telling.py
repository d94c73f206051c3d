import io
import os
from contextlib import redirect_stdout

import pytest

from scripts.archiving import telling
from scripts.archiving.telling import Teller, show


def test_without_a_terminal_progress_is_lines_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    teller = Teller(out)
    with teller.counts("a part: writing", 100) as progress:
        progress(40)
        monkeypatch.setattr(telling, "LINE_SECONDS", 0.0)
        progress(20)
    with teller.counts("searching", None) as progress:
        progress(7)
    assert out.getvalue() == "a part: writing: 60 of 100 rows\nsearching: 7 rows\n"


def test_on_a_terminal_it_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as terminal:
        with Teller(terminal).counts("a part: writing", 100) as progress:
            progress(100)
        terminal.flush()
        shown = ""
        while "100/100" not in shown:
            shown += os.read(ours, 65_536).decode()
    os.close(ours)
    assert "a part: writing" in shown


def test_a_reader_who_has_enough_is_no_failure() -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs, "w") as stream, redirect_stdout(stream):
        for form in ("table", "csv", "json"):
            show([{"message": "x" * 100_000}], form, ("message",))


def test_cells_move_no_cursor_and_are_no_formulas(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"hostname": "h", "message": "=1+1\x1b[2J\n" + "x" * 200}]
    show(rows, "table", ("hostname", "message"))
    assert capsys.readouterr().out.splitlines()[1].startswith("h         =1+1<ESC>[2J<LF>xxx")
    show(rows, "csv", ("hostname",))
    assert "'=1+1" in capsys.readouterr().out
    show([], "csv", ("hostname",))
    assert capsys.readouterr().out == "hostname\r\n"
    show([], "table", ("hostname",))
    assert capsys.readouterr().out == "hostname\n"
