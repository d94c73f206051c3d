"""The reader of required literals, and the sets of patterns, against RE2 itself."""

import sys

import pytest
import re2
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mutt.literals import required_literals
from mutt.regexes import RegexSet, compile_regex, refusal

OPTIONS = re2.Options()
OPTIONS.case_sensitive = False
OPTIONS.log_errors = False


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("link down", [{"link down"}]),
        ("Link.*DOWN", [{"link"}, {"down"}]),
        (r"error\s+code", [{"error"}, {"code"}]),
        ("(?i)Abc", [{"abc"}]),
        ("ab+c", [{"ab"}, {"c"}]),
        ("ab*c", [{"a"}, {"c"}]),
        ("ab{2,}c", [{"ab"}, {"c"}]),
        ("ab{0,2}c", [{"a"}, {"c"}]),
        ("(?:up|down) now", [{"up", "down"}, {" now"}]),
        ("(?:up|down)? now", [{" now"}]),
        ("up|down", [{"up", "down"}]),
        ("up|", []),
        (r"1\.3\.6", [{"1.3.6"}]),
        (r"a[]|x]b", [{"a"}, {"b"}]),
        (r"a[[:alpha:]|]b", [{"a"}, {"b"}]),
        (r"\p{Greek}x\x{61}y", [{"x"}, {"y"}]),
        (r"\Qa|b\E", []),
        ("straße", [{"stra"}, {"e"}]),
        (r"\d+", []),
        ("a{,2}b", [{"a"}, {",2}b"}]),
        ("a(?i)b", [{"a"}, {"b"}]),
        ("ab(?i)*", []),  # RE2 repeats what stands before the flags
        ("ab(?s){0,2}c", []),
    ],
)
def test_required_literals_of(pattern: str, expected: list[set[str]]) -> None:
    compile_regex(pattern)
    assert [set(option) for option in required_literals(pattern)] == expected


pieces = st.sampled_from(
    ["a", "b", "AB", "(", ")", "(?:", "|", "*", "+", "?", "{2}", "{0,1}", "{,1}", "[", "]", "[^", "^", "$", ".",
     r"\d", r"\.", r"\b", "-", "(?i)", "(?P<x>", r"\x61", "é", "{", "}", r"\pL", "[[:alpha:]]", r"\|", r"\[", ","]
)  # fmt: skip


@example("aa(?i)*", "A")
@given(st.lists(pieces, max_size=9).map("".join), st.text("abAB.|[]{},12é-", max_size=12))
@settings(max_examples=1500, deadline=None)
def test_a_text_that_matches_holds_a_literal_of_every_option(pattern: str, text: str) -> None:
    if refusal(pattern) is not None or re2.search(pattern.encode(), text.encode(), OPTIONS) is None:
        return
    for option in required_literals(pattern):
        assert any(literal in text.casefold() for literal in option), (pattern, option)


def test_what_re2_folds_to_an_ascii_character_casefolds_to_it_too() -> None:
    beyond = "".join(chr(code) for code in range(128, sys.maxunicode + 1) if not 0xD800 <= code <= 0xDFFF)
    for code in range(0x20, 0x7F):
        for found in re2.finditer(re2.escape(chr(code)), beyond, OPTIONS):
            assert found.group().casefold() == chr(code).lower()


PATTERNS = [rf"(\d|x){{{count}}}.*y{count}" for count in range(1, 60)]


@pytest.mark.parametrize("memory", [1 << 10, 1 << 16, 1 << 18, 1 << 25])
def test_a_set_that_runs_out_of_memory_names_every_pattern_and_never_too_few(memory: int) -> None:
    searched = RegexSet(PATTERNS, memory, size=20)
    for text in ("1" * 59 + " y59", "x1" * 400 + "y20 y7", "nothing", ""):
        true = {index for index, pattern in enumerate(PATTERNS) if re2.search(pattern, text)}
        assert true <= set(searched.candidates(text.encode(), len(PATTERNS)))


def test_a_set_with_too_little_memory_is_noticed() -> None:
    assert len(RegexSet(PATTERNS, 1 << 16).candidates(b"nothing", len(PATTERNS))) == len(PATTERNS)
    assert RegexSet(PATTERNS).candidates(b"nothing", len(PATTERNS)) == []


def test_a_set_that_answers_nothing_at_all_has_failed_and_names_every_pattern() -> None:
    class Silent:
        """RE2::Set as it is when its states do not fit into memory: not even the empty pattern matches."""

        @staticmethod
        def Match(text: bytes) -> None:  # noqa: N802  (its own name)
            assert text

    searched = RegexSet(["a", "b", "c"])
    searched._parts = [(0, 3, Silent())]
    assert searched.candidates(b"text", 3) == [0, 1, 2]


def test_parts_of_a_set_behind_the_best_place_are_not_searched() -> None:
    assert max(RegexSet(PATTERNS, 1 << 10, size=20).candidates(b"", 25)) == 39


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(?=a)", "invalid perl operator: (?= (look-around"),
        (r"(a)\1", r"invalid escape sequence: \1 (back-references"),
        ("(a", "missing ): (a (close the group"),
        (r"a\Z", r"\Z (write \z"),
        ("a{1001}", "invalid repetition size: {1001} (at most 1000"),
        (r"\pL{60}", "pattern too large - compile failed (use fewer"),
        ("a**", "bad repetition operator"),
        ("[z-a]", "invalid character class range: z-a"),
    ],
)
def test_a_refusal_gives_re2s_own_reason_and_a_hint(pattern: str, reason: str) -> None:
    text = refusal(pattern)
    assert text is not None
    assert reason in text
