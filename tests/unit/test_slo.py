import pytest

from mutt import slo
from mutt.slo import Hour, State


@pytest.mark.parametrize(
    ("availability", "state", "burn"),
    [(1.0, State.OK, 0.0), (0.995, State.OK, 1.0), (0.99, State.WARN, 2.0), (0.98, State.CRITICAL, 4.0)],
)
def test_states_turn_at_the_limits_of_the_burn_rate(availability: float, state: State, burn: float) -> None:
    standing = slo.judge(availability, 0.995)
    assert (standing.state, standing.burn, standing.remaining) == (state, burn, 1 - burn)


def test_no_data_is_no_data() -> None:
    assert slo.judge(None, 0.99) == (None, None, None, State.NO_DATA)
    assert slo.availability([]) is None
    assert slo.availability([Hour(0, 0)]) is None
    assert slo.availability([Hour(0, 3, 3)], without_sender=True) is None


def test_what_senders_got_wrong_can_be_left_out() -> None:
    hours = [Hour(90, 10, 8)]
    assert slo.availability(hours) == 0.9
    assert slo.availability(hours, without_sender=True) == 90 / 92


def test_the_budget_shrinks_hour_by_hour_to_what_is_left() -> None:
    left = slo.budget_left([Hour(0, 0), Hour(500, 0), Hour(495, 5)], 0.99)
    assert left == [None, 1.0, pytest.approx(0.5)]
    assert slo.judge(slo.availability([Hour(500, 0), Hour(495, 5)]), 0.99).remaining == pytest.approx(0.5)


def test_prometheus_is_asked_for_the_window() -> None:
    assert slo.promql(slo.INGESTOR, 6) == (
        'sum(rate(mutt_ingest_requests_total{status="success"}[6h])) / sum(rate(mutt_ingest_requests_total[6h]))'
    )
    assert "mutt_moog_requests_total" in slo.promql(slo.FORWARDER, 24)
