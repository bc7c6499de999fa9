"""Grammars, patterns and the reader: against brute force on everything small."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from stretto.constrain.emptiness import Automaton, common
from stretto.constrain.grammar import Grammar
from stretto.constrain.languages import language
from stretto.constrain.lexicon import Language
from stretto.constrain.matcher import Matcher
from stretto.constrain.pattern import Pattern
from stretto.errors import InvalidRequest, UnknownName


def test_no_symbol_is_taken_for_a_part_of_a_rule() -> None:
    grammar = Grammar.parse("S -> a b c\nS/0/0 -> d\n")
    path = Automaton(0, {2})
    path.step(0, "ad", 2)
    assert not common(grammar, path)


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


CHARACTERS = [*"abAZ019_.- ^$]{},:\n\t\v\u00e9\u4e00\U0001f600", "\x00", "|", "\\", "(", ")"]
ONES = [
    "a",
    "b",
    "Z",
    "é",
    ":",
    "]",
    "}",
    ".",
    r"\d",
    r"\s",
    r"\w",
    r"\D",
    r"\S",
    r"\W",
    r"\n",
    r"\t",
    r"\v",
    r"\.",
    r"\{",
]
ONES += [r"\^", r"\$", r"\|", r"\\", r"\x41", r"\xe9", r"\u4e00", r"\U0001f600", "-", ",", " "]
MEMBERS = ["a-z", "^", "A", ".", "$", r"\d", r"\W", r"\-", r"\]", r"\x41-\x5a", "é", r"\\", "{", "|", "*", ")"]
COUNTS = ["*", "+", "?", "{2}", "{1,}", "{0,2}", "{,3}", "{0}", "{2,3}"]


def drawn_pattern(chance: random.Random, depth: int = 3) -> str:
    """From all of the syntax that is read."""
    rows = []
    for _ in range(chance.choice([1, 1, 1, 2])):
        row = ""
        for _ in range(chance.randint(1, 3)):
            kind = chance.random()
            if kind < 0.25 and depth:
                row += chance.choice(["(", "(?:"]) + drawn_pattern(chance, depth - 1) + ")"
            elif kind < 0.5:
                members = chance.choices(MEMBERS, k=chance.randint(1, 3))
                row += "[" + chance.choice(["", "^", "]", "^]"]) + "".join(members) + chance.choice(["", "-"]) + "]"
            else:
                row += chance.choice(ONES)
            row += chance.choice(["", "", *COUNTS])
        rows.append(row)
    return "|".join(rows)


@pytest.mark.filterwarnings("ignore:Possible")  # of the standard library, about sets that may come one day
@pytest.mark.parametrize("part", range(4))
def test_drawn_patterns_are_those_of_the_standard_library(part: int) -> None:
    agreed = {True: 0, False: 0}
    for seed in range(150 * part, 150 * part + 150):
        chance = random.Random(seed)
        source = drawn_pattern(chance)
        try:
            reference = re.compile(source, re.ASCII)
        except re.error:  # a class that begins [^] goes on to the next bracket
            with pytest.raises(InvalidRequest):
                Pattern(source)
            continue
        if reference.fullmatch(""):
            with pytest.raises(InvalidRequest, match="matches nothing"):
                Pattern(source)
            continue
        pattern = Pattern(source)
        for _ in range(60):
            text = "".join(chance.choices(CHARACTERS, k=chance.choice([1, 1, 1, 2, 2, 3, 4])))
            places = pattern.start
            for char in text:
                places = pattern.step(places, char)
            found = bool(reference.fullmatch(text))
            assert pattern.done(places) == found, (source, text)
            agreed[found] += 1
    assert min(agreed.values()) > 300, agreed


UNREAD = {
    "^a": "anchor",
    "a$": "anchor",
    r"\ba": "word boundary",
    r"a\B": "word boundary",
    r"\Aa": "anchor",
    r"a\Z": "anchor",
    r"\p{L}+": "Unicode property",
    r"\P{L}": "Unicode property",
    r"(a)\1": "back reference",
    "(?=a)b": "look-ahead",
    "(?!a)b": "look-ahead",
    "(?<=a)b": "look-behind",
    "(?<!a)b": "look-behind",
    "(?P<n>a)": "named group",
    "(?<n>a)": "named group",
    "(?i)a": "flags",
    "(?i:a)": "flags",
    "(?>a)": "atomic",
    "a*?": "second mark",
    "a+?": "second mark",
    "a??": "second mark",
    "a++": "second mark",
    "a{2}{3}": "second mark",
    "a{2}?": "second mark",
    "a{,}": "counts nothing",
    "a{x}": "counts nothing",
    "a{3,2}": "count",
    "{2}": "nothing before",
    "a|{2}": "nothing before",
    r"\q": "an escape",
    r"\N": "another dialect",
    r"\h": "another dialect",
    r"\x4": "no code",
    r"\u12": "no code",
    r"\U00110000": "no code",
    r"\0": "an escape",
    "[[:alpha:]]": "POSIX",
    "[z-a]": "a range",
    r"[\d-z]": "a range",
    r"[a-\d]": "a range",
    "a{1000000}": "too many",
    "(((a{99}){99}){99})": "too many",
    "(" * 1000 + "a" + ")" * 1000: "deep",
}


@pytest.mark.parametrize("source", UNREAD, ids=lambda source: source[:12])
def test_what_a_pattern_may_not_hold_is_named(source: str) -> None:
    """Alone and within other things; each is something to `re` or its kin, and none may be taken literally."""
    for text in (source, f"x(y|{source})z"):
        with pytest.raises(InvalidRequest, match=UNREAD[source]) as caught:
            Pattern(text)
        assert caught.value.hint and "character" in caught.value.message


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


FOREIGN = {
    'root ::= object\nobject ::= "{" ws "}"\nws ::= [ ]*\n': "line 1: this is a GBNF grammar",
    "# a comment\n\nroot ::=\n   a | b\n": "line 3: this is a GBNF grammar",
    "<digit> ::= 0 | 1\n": "line 1: this is an EBNF grammar",
    'letter = "A" | "B";\nword = letter, { letter };\n': "line 1: this is an EBNF grammar",
    "S = a S b\n": "with = for ->",
    "grammar Expr;\nexpr : NUMBER ;\n": "ANTLR",
    "%token A\n%%\ns : A ;\n": "yacc",
    '{"type": "object", "properties": {"a": {"type": "integer"}}}': "JSON Schema",
    '\n{"$schema": "https://json-schema.org/draft/2020-12/schema"}\n': "JSON Schema",
    '{"a": 1}': "JSON file",
    'start: expr\n?expr: term\n     | expr "+" term  -> add\nterm: /a/\n': r"Lark grammar with an alias \(line 3\)",
    "start: WORD\n%import common.WORD\n%ignore WORD\n": r"%import \(line 2\), %ignore \(line 3\)",
    "start: A\nA.2: /a/\n": r"a priority \(line 2\)",
    "start: sep{A}\nsep{x}: x\nA: /a/": r"a template \(line 2\)",
    "start: A\nA: /(?!b)a/\n": "a look-around",
    "start: A\nA: /a/i\n": "flags of a pattern",
    "start: A B\n": "line 1: this is a Lark grammar, which",
    "S -> a\n  | b\n": r"line 2: '\| b' is neither",
    "S -> a\n\n// b\n": "line 3",
    "S -> a\nS T -> b\n": "line 2: 'S T' is no name",
    "S -> T*\nT -> a\n": "line 1: 'T\\*' repeats",
    "S -> NAME+\nNAME ~ a\n": "line 1: 'NAME\\+' repeats",
    'S -> "if" T\nT -> a': "line 1: '\"if\"' is quoted",
    "S -> A\nA ~ a{2,1}\n": "line 2: the pattern",
    "S -> A\nA ~ a\nA ~ b\n": "line 3: 'A' has a second pattern",
    "S -> A\nA ~ a\nB ~ b\n": "line 3: the pattern 'B' has no place",
    "S -> A\nA -> a\nA ~ a\n": "line 3: the pattern 'A' has rules as well",
    "S -> S a\n": "derives no finite text",
    "# nothing\n": "has no rule",
    "": "has no rule",
}


@pytest.mark.parametrize("text", FOREIGN, ids=lambda text: text[:16].strip())
def test_a_file_in_another_form_is_told_by_what_it_is(text: str, tmp_path: Path) -> None:
    file = tmp_path / "grammar"
    for written_as in (text, "\ufeff" + text, text.replace("\n", "\r\n")):
        file.write_bytes(written_as.encode())
        with pytest.raises(InvalidRequest, match=FOREIGN[text]) as caught:
            language(str(file))
        assert caught.value.hint and caught.value.message.startswith(str(file))


def test_real_grammars_of_others_are_told_by_what_they_are(shared_data: Path) -> None:
    kinds = {".gbnf": "GBNF", ".ebnf": "GBNF", ".lark": "Lark", ".json": "JSON"}
    files = [each for each in (shared_data / "bench" / "grammars").rglob("*") if each.suffix in kinds]
    assert len(files) > 20
    for file in files:
        with pytest.raises(InvalidRequest, match=f"this is a {kinds[file.suffix]}"):
            language(str(file))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    file = tmp_path / "latin"
    file.write_bytes("S -> a\nT -> é".encode("latin-1"))
    with pytest.raises(InvalidRequest, match="line 2 is no UTF-8"):
        language(str(file))
    for name in (str(tmp_path), str(tmp_path / "none"), "x" * 5000, "a\0b"):
        with pytest.raises(UnknownName):
            language(name)


def test_a_file_of_ours_is_read_as_it_is_now(tmp_path: Path) -> None:
    """Comments, carriage returns, a byte order mark; a changed file is another language, the same one the same."""
    file = tmp_path / "ours"
    file.write_bytes("\ufeff# S -> b\r\nS -> A | ( S ) | ~ x ~\r\n\r\nA ~ [a-c]{2,3}\r\n~ [ ]+\r\n".encode())
    found = language(str(file))
    assert found is language(str(file))
    for text, expected in (("abc", True), ("( ab )", True), ("a", False), ("~x~", True), ("b", False)):
        matcher = Matcher(found)
        assert (matcher.push(text) and matcher.complete) == expected, text
    file.write_text("S -> b\n")
    matcher = Matcher(language(str(file)))
    assert matcher.push("b") and matcher.complete


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
