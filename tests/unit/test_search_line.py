"""What the search line over the events understands."""

import pytest

from mutt.search_line import parse, without

ID = "019AC7D2-1f64-7c10-9e0b-5d0c8be1a7f3"


def kinds(line: str) -> list[tuple[str, str]]:
    words, problems = parse(line)
    assert not problems, problems
    return [(word.kind, word.value) for word in words]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("", []),
        (ID, [("id", ID.lower())]),
        (f"id:{ID}", [("id", ID.lower())]),
        ("rule:118", [("rule", "118")]),
        ("RULE:0118", [("rule", "118")]),
        ("handling:page", [("handling", "Page_and_ticket")]),
        ('handling:"Page and ticket"', [("handling", "Page_and_ticket")]),
        ("handling:unhandled", [("handling", "Unhandled")]),
        ("core-rtr-0412.dc3.example.net", [("host", "core-rtr-0412.dc3.example.net")]),
        ("core-rtr-0412", [("host", "core-rtr-0412")]),
        ("10.255.4.12", [("host", "10.255.4.12")]),
        ("host:printer", [("host", "printer")]),
        ('host:"odd name"', [("host", "odd name")]),
        ("link down", [("text", "link down")]),
        ('"link  down"', [("text", "link  down")]),
        ('text:"rule:118"', [("text", "rule:118")]),
        ("100% of CPU_1", [("text", "100% of CPU_1")]),
        ("12.5 degrees", [("text", "12.5 degrees")]),
        ("%LINK-3-UPDOWN:", [("text", "%LINK-3-UPDOWN:")]),
        ("core-rtr-0412 link down rule:7", [("host", "core-rtr-0412"), ("rule", "7"), ("text", "link down")]),
        ("<script>alert(1)</script>", [("text", "<script>alert(1)</script>")]),
        ("\0x", [("text", "x")]),
    ],
)
def test_a_line_is_understood(line: str, found: list[tuple[str, str]]) -> None:
    assert kinds(line) == found


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("rule:x", "write it as rule:118"),
        ("rule:99999999999", "no rule's number"),
        ("rule:\u0663", "no rule's number"),
        ("handling:nap", "there is page, ticket"),
        ("id:4711", "no UUID"),
        ("host:", "needs a name"),
        ("text:", "needs a text"),
        ("rule:1 rule:2", "only one rule at a time"),
    ],
)
def test_what_is_not_understood_is_said_and_the_rest_holds(line: str, said: str) -> None:
    _, problems = parse(line)
    assert said in problems[0]


def test_a_condition_can_be_taken_out_of_the_line() -> None:
    line = "core-rtr-0412 link rule:7 down"
    words = {word.kind: word.given for word in parse(line)[0]}
    assert without(line, words["rule"]) == "core-rtr-0412 link down"
    assert without(line, words["host"]) == "link rule:7 down"
    assert without(line, words["text"]) == "core-rtr-0412 rule:7"
