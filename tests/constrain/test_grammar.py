"""Grammars, patterns and the reader: against brute force on everything small."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Iterator

import pytest

from stretto.constrain.emptiness import Automaton, common
from stretto.constrain.grammar import Grammar
from stretto.constrain.languages import language
from stretto.constrain.lexicon import Language
from stretto.constrain.matcher import Matcher
from stretto.constrain.pattern import Pattern
from stretto.errors import InvalidRequest, UnknownName


def random_grammar(chance: random.Random, terminals: str = "ab") -> Grammar:
    """Up to four nonterminals; what derives nothing finite is mended by an empty or short side."""
    names = ["S", "T", "U", "W"][: chance.randint(1, 4)]
    sides = lambda: [chance.choice([*names, *terminals]) for _ in range(chance.choice([0, 1, 1, 2, 2, 3]))]  # noqa: E731
    return Grammar(
        {name: [sides() for _ in range(chance.randint(1, 3))] + [[chance.choice(terminals)]] for name in names}, "S"
    )


def written(grammar: Grammar) -> str:
    """As text again."""
    sides = lambda name: " | ".join(" ".join(side) or "ε" for side in grammar.rules[name])  # noqa: E731
    return "\n".join(f"{name} -> {sides(name)}" for name in grammar.rules)


def sentences(grammar: Grammar, most: int) -> set[str]:
    """The slow reference: all sentences of at most so many terminals, bottom-up until nothing new comes."""
    words: dict[str, set[str]] = {name: set() for name in grammar.rules}
    size = -1
    while size != (size := sum(map(len, words.values()))):
        for name, sides in grammar.rules.items():
            for side in sides:
                found = {""}
                for symbol in side:
                    found = {a + b for a in found for b in words.get(symbol, {symbol}) if len(a + b) <= most}
                words[name] |= found
    return words[grammar.start]


def every_word(letters: str, most: int) -> Iterator[str]:
    for length in range(most + 1):
        yield from map("".join, itertools.product(letters, repeat=length))


def test_a_grammar_is_read_and_mistakes_are_named() -> None:
    grammar = Grammar.parse("S -> a S b | ε\n")
    assert grammar.rules == {"S": [["a", "S", "b"], []]} and grammar.terminals == {"a", "b"}
    assert grammar.nullable == {"S"} and grammar.neighbours == {("a", "a"), ("a", "b"), ("b", "b")}
    for text in ("", "S a", "S -> S a", "-> a"):
        with pytest.raises(InvalidRequest) as caught:
            Grammar.parse(text)
        assert caught.value.hint
    with pytest.raises(InvalidRequest):
        Grammar({"S": [["a"]]}, "T")


@pytest.mark.parametrize("seed", range(25))
def test_common_words_and_reading_are_brute_force(seed: int) -> None:
    """A word is an automaton of one path; a random automaton has a word in common if one of its short words is one."""
    chance = random.Random(seed)
    grammar = random_grammar(chance)
    known = sentences(grammar, 6)
    lexicon = Language.of(written(grammar))
    for word in every_word("ab", 4):
        path = Automaton(0, {len(word)})
        for at, letter in enumerate(word):
            path.step(at, letter, at + 1)
        assert common(grammar, path) == (word in known), word
        matcher = Matcher(lexicon)
        assert (matcher.push(word) and matcher.complete) == (word in known), word
        if any(each.startswith(word) for each in known):
            assert Matcher(lexicon).push(word), word
    for _ in range(10):
        automaton = Automaton(0, {chance.randrange(4)})
        for _ in range(5):  # forwards only: no word is longer than its three steps of two terminals each
            one, two = sorted(chance.sample(range(4), 2))
            automaton.step(one, chance.choice(["a", "b", "ab", ""]), two)
        reached = {(0, "")}
        for state in range(4):
            for at, word in [each for each in reached if each[0] == state]:
                reached |= spelled(automaton, state, word)
        words = {word for at, word in reached if at in automaton.final}
        assert common(grammar, automaton) == bool(words & known)


def spelled(automaton: Automaton, state: int, word: str) -> set[tuple[int, str]]:
    """Whole states that are reached from one, with what was spelled on the way."""
    found, left = set(), [(state, word)]
    while left:
        at, text = left.pop()
        steps = [("", other) for other in automaton.silent.get(at, ())] + list(automaton.edges.get(at, ()))
        for letter, other in steps:
            after = (other, text + letter)
            if isinstance(other, int):
                found.add(after)
            else:
                left.append(after)
    return found


@pytest.mark.parametrize(
    "source", ["a", "ab|b", "a*b", "(a|b)+c?", "[a-b]+", "[^a]b", r"\d+a?", r"\.", "((a)b)*c", ".b", r"[\d\-a]+", "a?b"]
)
def test_patterns_are_those_of_the_standard_library(source: str) -> None:
    pattern, reference = Pattern(source), re.compile(source)
    for text in every_word("abc1.", 3):
        places = pattern.start
        for char in text:
            places = pattern.step(places, char)
        assert pattern.done(places) == bool(reference.fullmatch(text)), text


@pytest.mark.parametrize("source", ["a*", "", "(a", "a)", "*a", "[a", "a\\", "a|"])
def test_patterns_that_cannot_be(source: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Pattern(source)
    assert caught.value.hint


def test_a_word_is_a_keyword_and_a_name_at_once() -> None:
    """The grammar decides, not the longest match."""
    found = Language.of("S -> if NAME | NAME", {"NAME": "[a-z]+"})
    assert {name for ended, cut in found.read("i", None) for name in (cut[:1] if cut else ended)} == {"if", "NAME"}
    for text, expected in (("if", True), ("ifx", True), ("i", True), ("x", True), ("if if", False)):
        matcher = Matcher(found)
        assert (matcher.push(text) and matcher.complete) == expected, text


def test_mistakes_of_a_language_are_named() -> None:
    for patterns, skipped in (({"B": "b"}, ()), ({}, ("SPACE",))):
        with pytest.raises(InvalidRequest) as caught:
            Language.of("S -> a", patterns, skipped)
        assert caught.value.hint
    with pytest.raises(UnknownName, match="jsn"):
        language("jsn")


def is_json(text: str) -> bool:
    try:
        json.loads(text, parse_constant=lambda name: 1 / 0)
    except (ValueError, ZeroDivisionError):
        return False
    return True


def test_json_is_what_the_standard_library_reads() -> None:
    chance = random.Random(4)
    good = ['{"a": [1, -2.5e3, "x\\"y\\u00e9"], "b": {"c": null, "d": []}}', " [true , false] ", '""', "-0.5", "{}"]
    for text in good:
        for _ in range(25):
            at = chance.randrange(len(text))
            changed = text[:at] + chance.choice(["", *'{}[]",:01e. tn\\\n']) + text[at + chance.randint(0, 1) :]
            matcher = Matcher(language("json"))
            assert (matcher.push(changed) and matcher.complete) == is_json(changed), changed


PYTHONS_OWN = [r"//", r"\*\*", r"[a\d)]\s*\(", r"\(\s*\)", r"(^|[+*/(-])\s*\+", r"\b0\d", r"\d[a ]"]  # calls, signs …


def test_expressions_are_what_the_standard_library_reads() -> None:
    chance = random.Random(5)
    tried = set()
    for _ in range(400):
        text = "".join(chance.choice("aa12+-*()/") for _ in range(chance.randint(1, 7)))
        if any(re.search(own, text) for own in PYTHONS_OWN):
            continue
        try:
            expected = bool(compile(text, "", "eval"))
        except SyntaxError:
            expected = False
        matcher = Matcher(language("expression"))
        assert (matcher.push(f" {text} ") and matcher.complete) == expected, text
        tried.add(expected)
    assert tried == {True, False}


def test_what_was_refused_leaves_no_trace_and_copies_go_apart() -> None:
    matcher = Matcher(language("json"))
    assert matcher.push('{"a": ')
    before = (len(matcher), tuple(matcher._columns))
    assert not matcher.push("1, 2") and (len(matcher), tuple(matcher._columns)) == before
    twin = matcher.fork()
    assert twin.push("[1]}") and twin.complete and not matcher.complete and len(matcher) == before[0]
    assert matcher.push("2") and matcher.push("}") and matcher.complete
    matcher.rollback(before[0])
    assert (len(matcher), tuple(matcher._columns)) == before
