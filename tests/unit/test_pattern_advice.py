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
        ("a`(?!b)", "look-ahead", 'Write "a`" here'),
        (r"a\\1(", "missing )", "Close the group"),
        (r"(a)\k<x>", "back-references", "a second time"),
        ("a{2,3}+", 'possessive repetition: "}+" at character 6', "Leave the second sign out"),
        ("a)", "unexpected )", "Open the group"),
        ("[a", "missing ]", "Close the class"),
        ("(a{500}){500}", "repetition", "multiplied"),
        ("a{3,2}", "repetition", "the lower bound first"),
        ("[z-a]", "range", "The lower end stands first"),
        ("*a", "no argument", "put a \\ before it"),
        ("a**", "repetition operator", "One repetition a term"),
        ("a\\", "trailing", "Write \\\\ for the character itself"),
        (r"\Kx", r"\K", "leave the \\ out"),
        ("(?#why)a", "(?#", "Leave the comment out"),
        ("(?(1)a|b)", "(?(", "both cases with |"),
    ],
)
def test_each_refusal_says_where_and_what_instead(pattern: str, problem: str, remedy: str) -> None:
    assert refusal(pattern) is not None
    found = advice(pattern)
    assert found is not None
    assert problem in found.problem
    assert remedy in found.remedy
