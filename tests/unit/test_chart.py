import pytest

from mutt import chart
from mutt.chart import Frame, Scale

FRAME = Frame(10, 0, 100, 50)


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (0, Scale(1, 1)),
        (842, Scale(1000, 250)),
        (1640, Scale(2000, 500)),
        (2, Scale(2, 0.5)),
        (0.05, Scale(0.05, 0.025)),
    ],
)
def test_a_scale_starts_at_zero_and_has_round_lines(most: float, expected: Scale) -> None:
    found = chart.scale([None, most])
    assert found == pytest.approx(expected)
    assert found.top >= most
    assert 2 <= len(found.values()) <= chart.LINES + 1


def test_steps_and_lines_leave_a_gap_where_nothing_is_known() -> None:
    assert chart.steps([1, None, 0.5, 1], FRAME, 1) == "M10.0 0.0H35.0M60.0 25.0H85.0L85.0 0.0H110.0"
    assert chart.line([1, None, 0.5, 1], FRAME, 1) == "M22.5 0.0M72.5 25.0L97.5 0.0"


def test_an_area_closes_along_the_floor_and_never_over_a_gap() -> None:
    assert chart.area("M10.0 0.0H35.0", FRAME) == "M10.0 0.0H35.0L35.0 50.0L10.0 50.0Z"
    assert chart.area(chart.steps([1, None, 1], FRAME, 1), FRAME) == ""
    assert chart.area("", FRAME) == ""
