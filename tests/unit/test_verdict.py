from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mutt.slo import judge as level_of
from mutt.verdict import Facts, Level, Trouble, Worker, judge

NOW = datetime(2026, 11, 25, 2, 12, 47, tzinfo=UTC)
WELL = Facts(
    circuit="CLOSED",
    ingest_depth=37,
    ingest_cap=100_000,
    alert_depth=2,
    retries=0,
    warn=1000,
    shed=2000,
    dead=0,
    pending=0,
    rate=842.0,
    oldest=0.3,
    levels=(Level("Forwarding", level_of(1.0, 0.99)),),
    workers=(Worker("alerter", "alerter-0", 3.0, 30.0, 0),),
)


def test_all_well_says_how_much_comes_and_when_trouble_ended() -> None:
    said = judge(WELL, NOW, UTC)
    assert (said.kind, said.title, said.todos) == ("ok", "All well", ())
    assert said.sentence == "842 a second in. Nothing waits longer than 0.3 s."
    over = replace(WELL, trouble=Trouble("31 alerts never reached Moogsoft", NOW - timedelta(minutes=11)))
    assert judge(over, NOW, UTC).sentence.endswith("Last trouble: 31 alerts never reached Moogsoft, over at 02:01:47.")


def test_redis_silent_outweighs_everything_and_gives_no_figure() -> None:
    facts = Facts(redis_silent=NOW - timedelta(minutes=17, seconds=39), postgres_silent=NOW, redis_witnessed=True)
    said = judge(facts, NOW, UTC)
    assert said.title == "Redis does not answer: no event moves, no page goes out"
    assert said.sentence.startswith("Noticed at 01:55:08, 17 min 39 s ago.")


def test_a_console_that_alone_does_not_reach_redis_blames_no_redis() -> None:
    said = judge(Facts(redis_silent=NOW, redis_elsewhere=True), NOW, UTC)
    assert said.kind == "critical"
    assert said.title.startswith("This console does not reach Redis, services do")
    assert "503" not in said.sentence


def test_refused_tries_before_the_first_event_are_no_trouble() -> None:
    refused = (Level("Ingesting", level_of(0.0, 0.995)),)
    assert judge(replace(WELL, ever=False, levels=refused), NOW, UTC).kind == "nodata"
    assert judge(replace(WELL, levels=refused), NOW, UTC).kind == "warn"


@pytest.mark.parametrize(
    ("change", "title"),
    [
        ({"postgres_silent": NOW}, "PostgreSQL does not answer: pages go out, their audit waits"),
        ({"circuit": "OPEN", "alert_depth": 7}, "Moogsoft does not take alerts: 7 alerts wait"),
        ({"alert_depth": 1990, "retries": 10}, "2,000 alerts wait: the least urgent are shed"),
        ({"alert_depth": 2000, "shed_mode": "defer"}, "2,000 alerts wait: the alerter waits"),
        ({"ingest_depth": 100_000}, "The ingest queue is full: senders get 503"),
        ({"missing": ("alerter",)}, "No alerter is alive: events wait unmatched"),
    ],
)
def test_what_is_critical(change: dict[str, object], title: str) -> None:
    said = judge(replace(WELL, **change), NOW, UTC)  # type: ignore[arg-type]
    assert (said.kind, said.title) == ("critical", title)


@pytest.mark.parametrize(
    ("change", "title"),
    [
        ({"dead": 31}, "Events flow, but 31 alerts never reached Moogsoft"),
        ({"dead": 1, "rate": 0.0}, "1 alert never reached Moogsoft"),
        (
            {"levels": (Level("Forwarding", level_of(0.9886, 0.99)),)},
            "Events flow, but forwarding is 14 % over its error budget",
        ),
        (
            {"levels": (Level("Ingesting", level_of(0.9886, 0.99), is_spent_by_senders=True),)},
            "Events flow, but ingesting is 14 % over its error budget: what senders got wrong spent it",
        ),
        ({"alert_depth": 1310}, "Events flow, but 1,310 alerts wait for Moogsoft"),
        ({"ingest_depth": 80_000}, "Events flow, but 80,000 events wait to be matched"),
        ({"workers": (Worker("alerter", "alerter-0", 16.0, 30.0),)}, "Events flow, but 1 instance may be dead"),
        ({"pending": 5}, "Events flow, but 5 audit rows wait for PostgreSQL"),
        ({"secrets_problem": "Vault is sealed"}, "Secrets could not be read again"),
        ({"postgres_busy": NOW}, "This console waits for its own searches"),
        (
            {"missing": ("remediation",)},
            "Events flow, but no remediation is alive: dead letters get no further try",
        ),
    ],
)
def test_what_warns(change: dict[str, object], title: str) -> None:
    said = judge(replace(WELL, **change), NOW, UTC)  # type: ignore[arg-type]
    assert (said.kind, said.title) == ("warn", title)
    assert len(said.todos) == 1


def test_there_are_three_things_to_do_at_most_worst_first() -> None:
    facts = replace(WELL, circuit="OPEN", dead=3, pending=4, secrets_problem="old", alert_depth=1500)
    said = judge(facts, NOW, UTC)
    assert [todo.lead for todo in said.todos] == [
        "The circuit is OPEN",
        "3 dead letters",
        "1,500 alerts wait for Moogsoft",
    ]


def test_without_any_event_ever_it_is_ready_and_not_well() -> None:
    said = judge(replace(WELL, ever=False, rate=0.0, oldest=None), NOW, UTC)
    assert (said.kind, said.title) == ("nodata", "Ready, and nothing has arrived yet")


def test_what_is_unknown_is_neither_zero_nor_well_nor_an_alarm() -> None:
    said = judge(Facts(), NOW, UTC)
    assert (said.kind, said.sentence) == ("nodata", "How many events come is unknown.")
    assert said.title == "How things stand is not known yet"


def test_a_redis_that_answers_what_cannot_be_read_is_not_called_silent() -> None:
    said = judge(Facts(redis_silent=NOW, redis_refuses="WRONGTYPE"), NOW, UTC)
    assert (said.kind, said.title) == ("critical", "What Redis holds cannot be read here: what moves is unknown")
    assert said.sentence.endswith("Redis answers, but: WRONGTYPE.")


def test_a_trouble_that_is_over_keeps_its_name_as_it_is_written() -> None:
    over = Facts(rate=1.0, ingest_depth=0, trouble=Trouble("PostgreSQL does not answer", NOW))
    assert "Last trouble: PostgreSQL does not answer, over at" in judge(over, NOW, UTC).sentence


def test_pages_are_not_said_to_go_out_where_something_else_holds_them() -> None:
    away = Facts(rate=1.0, ingest_depth=0, postgres_silent=NOW)
    assert "pages go out" in judge(away, NOW, UTC).title
    for held in (replace(away, circuit="OPEN"), replace(away, missing=("moog-forwarder",))):
        said = judge(held, NOW, UTC)
        assert "pages go out" not in " ".join([said.title, *(todo.lead for todo in said.todos)])
        assert not said.title.startswith("PostgreSQL")
        assert [todo.lead for todo in said.todos][1] == "PostgreSQL is silent:"


def test_without_a_witness_a_silent_redis_is_only_said_to_be_silent_here() -> None:
    said = judge(Facts(redis_silent=NOW), NOW, UTC)
    assert (said.kind, said.title) == ("critical", "Redis does not answer this console: what moves is unknown")
    assert "503" not in said.sentence
