"""The overload's proof in short; `muttdev chaos --overload` is the long one, which also judges by time."""

import pytest

from tests.chaos.arena import work_folder
from tests.chaos.overload import Run

SECONDS = 4.0
CAP = 1000


@pytest.mark.timeout(400)
def test_under_overload_all_that_was_acknowledged_survives_and_one_bad_sender_starves_nobody() -> None:
    with work_folder() as folder:
        run = Run(folder, SECONDS, CAP)
        try:
            run.open()
            run.play()
            found = run.judge(by_time=False)
            run.figures()
        finally:
            run.close()

    assert found == []
    assert run.outcomes["taken"] > CAP
    assert run.outcomes["unknown"] == 0
