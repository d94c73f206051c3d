"""What to write instead of a pattern that RE2 refuses."""

import pytest

from mutt.pattern_advice import advice
from mutt.regexes import refusal


def test_a_good_pattern_needs_no_advice() -> None:
    assert advice("down|up") is None


def test_a_negative_look_ahead_becomes_a_rule_of_its_own() -> None:
    found = advice("down(?!.*admin)")
    assert found is not None
    assert found.problem == 'RE2 has no look-ahead: "(?!" at character 5.'
    assert found.remedy == "Write `down` here, and give what contains `admin` a rule of its own with a higher priority."


@pytest.mark.parametrize(
    ("pattern", "problem", "remedy"),
    [
        ("(?=down)", "look-ahead", "Write `down` where it stands"),
        ("(?<!a)b", "look-behind", "Write `b` here"),
        (r"(a)\1", r'back-references: "\1" at character 4', "a second time"),
        ("(?>a)", "atomic groups", "Write (?: instead"),
        ("a++", "possessive", "Leave the second sign out"),
        ("(", "missing )", "Close the group"),
        ("a{2000}", "repetition", "1000"),
        ("(?!)x", "look-ahead", "it asks for nothing"),
        ("((?!x", "look-ahead", "a rule of its own"),
    ],
)
def test_each_refusal_says_where_and_what_instead(pattern: str, problem: str, remedy: str) -> None:
    assert refusal(pattern) is not None
    found = advice(pattern)
    assert found is not None
    assert problem in found.problem
    assert remedy in found.remedy
