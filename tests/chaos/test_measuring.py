"""What a soak judges by: the slope of what is measured, its interval, and leaks that are really there."""

import random
import subprocess
import sys
import textwrap
import time

import pytest

from tests.chaos.measuring import Limit, Series, growing, of_process, shape, theil_sen
from tests.chaos.soak import LIMITS
from tests.harness.waiting import wait_for

LEAK = """
    import os, sys, threading, time
    held, bytes_each = [], int(sys.argv[1])
    while True:
        if bytes_each:
            held.append(bytearray(b"x" * bytes_each))
            held.append(os.open("/dev/null", os.O_RDONLY))
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        time.sleep(0.02)
"""


def line(an_hour: float, noise: float, hours: float = 1.0, every: float = 5.0) -> Series:
    """Return a series of a measure that grows by so much, with noise on it and an outlier now and then."""
    now, chance = [0.0], random.Random(1)
    series = Series(lambda: now[0])
    while now[0] < hours * 3600:
        now[0] += every
        outlier = 50 * noise if chance.random() < 0.02 else 0.0
        value = 1000 + an_hour * now[0] / 3600 + chance.gauss(0, noise) + outlier
        series.add({"a: memory, KB": value})
    return series


def test_the_slope_of_a_line_is_found_through_noise_and_outliers() -> None:
    slope = line(an_hour=120, noise=20).slope("a: memory, KB")
    assert slope is not None
    assert slope.low < 120 < slope.high
    assert slope.high - slope.low < 60
    assert theil_sen([(0, 1), (1800, 2), (3600, 3)]).an_hour == pytest.approx(2)


def test_what_was_filled_in_the_beginning_does_not_count_as_growth() -> None:
    now = [0.0]
    series = Series(lambda: now[0])
    for at in range(0, 3600, 5):
        now[0] = at
        series.add({"a: memory, KB": min(at, 800)})
    slope = series.slope("a: memory, KB")
    assert slope is not None
    assert slope.an_hour == 0


def test_growth_is_reported_beyond_its_limit_only_and_only_when_it_is_sure() -> None:
    limits = [Limit("memory", a_day=24 * 100)]
    assert list(growing(line(an_hour=90, noise=5), limits)) == []
    (told,) = growing(line(an_hour=150, noise=5), limits)
    assert told.startswith("a: memory, KB grows by 1")
    assert list(growing(line(an_hour=110, noise=500), limits)) == []  # may as well be the noise
    assert list(growing(line(an_hour=150, noise=5), [Limit("memory", least=200)])) == []  # may be a cache
    (told,) = growing(line(an_hour=0, noise=1), [])
    assert "no limit" in told


def test_what_has_a_bound_is_judged_by_it() -> None:
    series = line(an_hour=90, noise=0)
    assert list(growing(series, [Limit("memory", most=2000)])) == []
    (told,) = growing(series, [Limit("memory", most=1050)])
    assert "more than 1,050" in told


def test_keys_of_a_kind_count_together() -> None:
    kinds = {
        "mutt:metrics:1m:2026-11-30T19:05": "mutt:metrics:1m:*",
        "mutt:metrics:24h:2026-11-30": "mutt:metrics:24h:*",
        "mutt:slo:ingestor:ok:2026-11-30T19": "mutt:slo:ingestor:ok:*",
        "mutt:heartbeat:alerter:alerter-1": "mutt:heartbeat:alerter:alerter-*",
        "mutt:unhandled:0a1b2c3d4e5f": "mutt:unhandled:*",
        "mutt:heartbeat:x:019ad5f0-77aa-7c11-8a2b-0123456789ab": "mutt:heartbeat:x:*",
        "mutt:alert_queue": "mutt:alert_queue",
    }
    assert {key: shape(key) for key in kinds} == kinds


def test_a_process_that_leaks_is_reported_and_one_that_does_not_is_not() -> None:
    """The soak's own limits and measurements, on real processes."""
    leaking, steady = (
        subprocess.Popen([sys.executable, "-c", textwrap.dedent(LEAK), size]) for size in ("200000", "0")
    )
    try:
        series = Series()

        def is_enough() -> bool:
            series.add(of_process("leaking", leaking.pid) | of_process("steady", steady.pid))
            return time.monotonic() > until

        wait_for(lambda: of_process("leaking", leaking.pid)["leaking: file handles"] > 20, "both have begun")
        until = time.monotonic() + 3  # the time is what it is measured over
        wait_for(is_enough, "measurements")
        found = list(growing(series, LIMITS))
        assert [text.partition(" grows")[0] for text in found] == [
            "leaking: file handles",
            "leaking: memory, KB",
            "leaking: threads",
        ]
    finally:
        for process in (leaking, steady):
            process.kill()
            process.wait()


def test_a_process_that_is_gone_is_no_measurement() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert of_process("gone", process.pid) == {}
