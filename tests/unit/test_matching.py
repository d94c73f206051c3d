"""The rule book against evaluation of one rule after the other."""

import random
from collections.abc import Iterable

import pytest
import re2
from ahocorasick_rs import Implementation
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mutt.events import decode_entry
from mutt.matching import LITERAL_MAX, OVERLAP, SHARED_MAX, STRETCH, TABLE_MAX, RuleBook, made_as
from mutt.pairs import CLEAR_OIDS, CLEAR_WORDS, problem_of
from mutt.rules import Rule, rank
from tests.harness.entries import queue_entry


def rule(
    number: int,
    match_string: str | None = None,
    *,
    oid: str | None = None,
    severity: int | None = None,
    kind: str = "contains",
    priority: int = 500,
    active: bool = True,
) -> Rule:
    return Rule(number, match_string, oid, severity, kind, priority, "Page_and_ticket", "Log_only", "NETO", active)


def regex_holds(pattern: str, message: str) -> bool:
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    return re2.search(pattern.encode(), message.encode("utf-8", "replace"), options) is not None


def holds(candidate: Rule, message: str, severity: int | None, oid: str | None) -> bool:
    if candidate.syslog_severity is not None and candidate.syslog_severity != severity:
        return False
    if candidate.trap_oid is not None:
        arcs = candidate.trap_oid.lstrip(".").split(".")
        if oid is None or oid.lstrip(".").split(".")[: len(arcs)] != arcs:
            return False
    if candidate.match_string is None:
        return True
    if candidate.match_type == "regex":
        return regex_holds(candidate.match_string, message)
    return candidate.match_string.casefold() in message.casefold()


def reference(rules: Iterable[Rule], message: str, severity: int | None, oid: str | None) -> Rule | None:
    for candidate in sorted(rules, key=lambda each: (-each.priority, each.id)):
        if candidate.is_active and holds(candidate, message, severity, oid):
            return candidate
    return None


WORDS = [
    "a",
    "ab",
    "abc",
    "b",
    "bc",
    "ss",
    "ß",
    "İ",
    "i̇",
    "k",
    "\u212a",
    "\u017f",
    "ς",
    "Σ",
    "\u03c3",
    "é",
    "1",
    "42",
    " ",
    "ﬁ",
]
texts = st.lists(st.sampled_from(WORDS), max_size=8).map("".join)
PATTERNS = [
    "a+b", "ab?c", "(ab|bc)", "(?:a|)b", "a{2}b", "a{0,2}bc", "[ab]c", r"\d+", r"ab\b", "^abc", "abc$", "(?i)AB",
    "k", "s", "ß", "a.c", r"\x61b", r"\x{62}c", r"[[:digit:]]b", r"[]a]b", r"[^]a]c", "(?P<n>ab)+", r"\Qa\E",
    "(a(b(c|)|b)*)?1", r"\pLa", r"\p{Greek}b", "a|b|1", "ab(?:42|1)c*", "a{,2}", "x{", "(?s:a.b)", "b*?c", r"a\.b",
    r"\%1", "(?-i)K", "(?U)a+b",
]  # fmt: skip
oids = st.lists(st.sampled_from(["1", "3", "6", "99", "9"]), min_size=1, max_size=5).map(".".join)
oids = st.one_of(oids, oids.map(lambda oid: "." + oid))


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    kind = draw(st.sampled_from(["contains", "regex", "oid_prefix"]))
    severity = draw(st.none() | st.integers(0, 2))
    oid = draw(oids) if kind == "oid_prefix" else draw(st.none() | oids)
    match_string = draw(st.none() | texts.filter(bool))
    if kind == "regex" and match_string is not None:
        match_string = draw(st.sampled_from(PATTERNS))
    if kind != "oid_prefix" and match_string is None and severity is None:
        severity = 1
    return rule(
        draw(st.integers(1, 30)),
        match_string,
        oid=oid,
        severity=severity,
        kind=kind,
        priority=draw(st.integers(1, 3)),
        active=draw(st.sampled_from([True, True, True, False])),
    )


some_rules = st.lists(rules(), max_size=12, unique_by=lambda each: each.id)
# Of which none ever holds, and which are too much for a table.
OTHERS = [rule(1000 + number, f"other {number:058}", priority=1) for number in range(TABLE_MAX // LITERAL_MAX + 1)]
OTHER_BOOK = RuleBook(OTHERS)


@given(
    some_rules,
    texts,
    st.none() | st.integers(0, 2),
    st.none() | oids,
)
@example([rule(1, "İ")], "i̇stanbul", None, None)
@example([rule(1, "STRASSE")], "die Straße", None, None)
@example([rule(1, "ΟΔΟΣ")], "οδοσα", None, None)
@example([rule(1, "b", kind="regex")], "\ud800b", None, None)
@settings(max_examples=400, deadline=None)
def test_the_book_agrees_with_one_rule_after_the_other(
    given_rules: list[Rule], message: str, severity: int | None, oid: str | None
) -> None:
    book = RuleBook(given_rules)
    expected = reference(given_rules, message, severity, oid)
    assert book.first_match(message, severity, oid) == expected
    winners = [verdict.rule for verdict in book.explain(message, severity, oid) if verdict.matched]
    assert (winners[0] if winners else None) == expected
    assert not book.refused


@given(some_rules, some_rules, texts, st.none() | st.integers(0, 2), st.none() | oids)
@example([rule(1, "a")], [rule(1, "b")], "b", None, None)
@settings(max_examples=100, deadline=None)
def test_a_book_that_takes_over_what_was_compiled_before_decides_as_one_made_anew(
    earlier: list[Rule], now: list[Rule], message: str, severity: int | None, oid: str | None
) -> None:
    before = RuleBook([*earlier, *OTHERS], OTHER_BOOK)
    book = RuleBook([*now, *OTHERS], before)
    assert book.first_match(message, severity, oid) == reference(now, message, severity, oid)
    assert [part.rule for part in book.parts()] == sorted(
        (each for each in [*now, *OTHERS] if each.is_active), key=rank
    )
    same = {id(part) for part in before.parts()} & {id(part) for part in book.parts()}
    assert len(same) >= len(OTHERS)


@pytest.fixture(scope="module")
def many_rules() -> list[Rule]:
    """Ten thousand rules, a fifth of them regexes, of which half share their only literal or have none."""
    chance = random.Random(4)
    made: list[Rule] = []
    for number in range(1, 10_001):
        severity = number % 8 if number % 7 == 0 else None
        priority = chance.randint(1, 1000)
        count = number % 90 + 1
        match number % 10:
            case 0:
                made.append(rule(number, rf"unit \d+ .* E{number}\b", kind="regex", priority=priority))
            case 1 if number % 20 == 1:
                made.append(rule(number, rf"interface (\w+) x{{{count}}}y", kind="regex", priority=priority))
            case 1:
                made.append(rule(number, rf"\d{{{count % 5}}}[{count % 8}a-f]+\s\w", kind="regex", priority=priority))
            case 2:
                made.append(rule(number, oid=f"1.3.6.{number % 50}.{number}", kind="oid_prefix", priority=priority))
            case 3:
                made.append(rule(number, "a" * (number % 200 + 1) + "b", severity=severity, priority=priority))
            case _:
                made.append(rule(number, f"part{number} failed", severity=severity, priority=priority))
    return made


ADVERSARIAL = [
    "a" * 60_000,
    ("a" * 199 + "b") * 300,
    "interface " * 6_000 + "x",
    "".join(random.Random(7).choice("0123456789abcdef ") for _ in range(3_000)),
    "unit 1 " * 5_000 + "E10",
    "interface q " + "x" * 40 + "y",
    "\0\n\r\t" * 100,
    "",
]


def test_ten_thousand_rules_agree_with_one_by_one_on_ordinary_and_adversarial_text(many_rules: list[Rule]) -> None:
    book = RuleBook(many_rules)
    assert len(book) == len(many_rules)
    ordinary = [f"host app: part{number} FAILED at unit {number} x E{number}" for number in range(0, 10_000, 997)]
    for message in ordinary + ADVERSARIAL:
        for severity, oid in ((3, None), (None, "1.3.6.2.1002.5")):
            expected = reference(many_rules, message, severity, oid)
            assert book.first_match(message, severity, oid) == expected, message[:80]


def test_patterns_without_a_literal_are_searched_as_one_set_and_still_found() -> None:
    book = RuleBook([rule(count, rf"\d{{{count}}}[a-f]\s", kind="regex", priority=count) for count in range(1, 101)])
    winner = book.first_match("id 12345f x", None, None)
    assert winner is not None
    assert winner.id == 5


def test_regexes_that_share_their_only_literal_are_found_by_the_set() -> None:
    count = SHARED_MAX * 3
    book = RuleBook([rule(number, rf"port (\d)x{{{number}}}!", kind="regex") for number in range(1, count + 1)])
    winner = book.first_match(f"Port 7{'x' * count}!", None, None)
    assert winner is not None
    assert winner.id == count


def test_highest_priority_wins_and_the_lowest_id_breaks_a_tie() -> None:
    book = RuleBook([rule(3, "down", priority=10), rule(2, "link", priority=10), rule(1, "down", priority=9)])
    assert book.first_match("Link DOWN", None, None) == rule(2, "link", priority=10)


def test_an_oid_matches_at_arc_boundaries_only_and_ignores_a_leading_dot() -> None:
    book = RuleBook([rule(1, oid=".1.3.6.1.4.1.9", kind="oid_prefix")])
    assert book.first_match("", None, "1.3.6.1.4.1.9")
    assert book.first_match("", None, ".1.3.6.1.4.1.9.41.2")
    assert book.first_match("", None, "1.3.6.1.4.1.99") is None
    assert book.first_match("", None, "1.3.6.1.4.1") is None
    assert book.first_match("", None, None) is None


def test_every_condition_that_is_set_has_to_hold() -> None:
    book = RuleBook([rule(1, "cpu", oid="1.3.6", severity=2, kind="oid_prefix")])
    assert book.first_match("CPU hot", 2, "1.3.6.1")
    assert book.first_match("CPU hot", 3, "1.3.6.1") is None
    assert book.first_match("fan hot", 2, "1.3.6.1") is None
    assert book.first_match("CPU hot", 2, "1.3.7") is None


def test_a_literal_longer_than_the_automaton_keeps_is_compared_whole() -> None:
    ending = "z" * LITERAL_MAX
    other = rule(2, "other " + ending)
    book = RuleBook([rule(1, "first " + ending, priority=501), other])
    assert book.first_match("OTHER " + ending, None, None) == other
    assert book.first_match(ending, None, None) is None


def test_explain_names_the_condition_that_failed_and_lists_what_the_book_refused() -> None:
    shown = [rule(1, "x", severity=3), rule(2, "x"), rule(3, "(", kind="regex"), rule(4, severity=3, oid="1.2")]
    book = RuleBook(shown)
    verdicts = {verdict.rule.id: verdict for verdict in book.explain("an x", 4, None)}
    assert (verdicts[1].matched, verdicts[1].reason) == (False, "syslog_severity")
    assert (verdicts[2].matched, verdicts[2].reason) == (True, None)
    assert verdicts[3].matched is False
    assert "missing )" in str(verdicts[3].reason)
    assert verdicts[4].reason == "syslog_severity"


def test_a_rule_without_any_condition_is_refused_and_not_taken_to_match_everything() -> None:
    book = RuleBook([rule(1), rule(2, oid="1.3"), rule(3, kind="oid_prefix", severity=1), rule(4, "")])
    assert len(book) == 0
    assert [refused.rule.id for refused in book.refused] == [1, 2, 3, 4]
    assert book.first_match("anything", 1, "1.3") is None


def test_inactive_rules_are_not_in_the_book() -> None:
    book = RuleBook([rule(1, "x", active=False)])
    assert len(book) == 0
    assert book.first_match("x", None, None) is None


def test_few_short_literals_are_a_table_and_many_or_long_ones_a_tree() -> None:
    few = "abcdefghijklmnop"
    most = [few] * (TABLE_MAX // len(few))
    assert made_as([]) == made_as(most) == Implementation.DFA
    assert made_as([*most, "a"]) == Implementation.ContiguousNFA
    assert made_as(["\U00010400" * LITERAL_MAX] * (TABLE_MAX // LITERAL_MAX)) == Implementation.ContiguousNFA


@pytest.mark.parametrize("letter", ["x", "ß", "\U00010401"])
def test_a_literal_is_found_wherever_it_lies_in_a_long_message(letter: str) -> None:
    literal = "\U00010400" * LITERAL_MAX
    book = RuleBook([rule(1, literal), rule(2, "end" * 20, priority=400)])
    for place in range(STRETCH - OVERLAP - 8, STRETCH + 8):
        assert book.first_match(letter * 3 + "-" * place + literal, None, None) == rule(1, literal)
        assert book.first_match("-" * place + "END" * 20 + letter * 2000, None, None) == rule(
            2, "end" * 20, priority=400
        )


def test_a_word_of_clears_is_a_literal_like_any_other() -> None:
    book = RuleBook([rule(number, word) for number, word in enumerate(CLEAR_WORDS)])
    for number, word in enumerate(CLEAR_WORDS):
        assert book.first_match(f"was {word}.", None, None) == rule(number, word)
        assert book.look(f"was {word}.", f"was {word}.".encode(), None, None)[1]


STATES = [
    "link", " ", "up", "Up", "down", "established", "e\u017ftablished", "full", "_", "K", "\u212a", "é", "ß", "1", ".",
    "-", "changed state to ", "Interface Gi0/1, ", "BGP neighbor 10.0.0.1 ", "OSPF nbr 1.1.1.1 on e0 from INIT to ",
    "LINEPROTO line protocol on Interface e1, state to ", "EIGRP neighbor 1.1 is ", "x" * STRETCH,
]  # fmt: skip


@given(st.lists(st.sampled_from(STATES), max_size=7).map("".join), st.none() | st.sampled_from(sorted(CLEAR_OIDS)))
@example("BGP neighbor 10.0.0.1 E\u017ftabli\u017fhed", None)
@example("link is up\u212a", None)
@settings(max_examples=300, deadline=None)
def test_no_clear_escapes_the_look_for_one(message: str, oid: str | None) -> None:
    _, entry = queue_entry(message, trap_oid=oid)
    if problem_of(decode_entry(entry)) is not None:
        assert oid in CLEAR_OIDS or RuleBook(()).look(message, message.encode(), None, None)[1]


def test_a_rule_is_tried_once_however_often_its_literal_stands_in_the_message() -> None:
    book = RuleBook([rule(1, r"error [a-z]+ \d+$", kind="regex")])
    (entry,) = book._entries  # what a try costs is not to be seen from outside
    tried: list[bytes] = []

    class Noting:
        def search(self, text: bytes) -> None:
            tried.append(text)

    entry.regex = Noting()
    assert book.first_match("error " * 100, None, None) is None
    assert book.first_match("error " * 1000, None, None) is None
    assert len(tried) == 2
