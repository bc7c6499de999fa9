"""The quick ways against slow ones: sets of states as bits, texts that are read together, tokens of equal effect."""

from __future__ import annotations

import random

import pytest

from constrain.slow import slow_automaton
from constrain.test_grammar import random_grammar, written
from stretto.constrain.completion import HOLE, Completion, Gap
from stretto.constrain.emptiness import Automaton, State, common
from stretto.constrain.grammar import Grammar
from stretto.constrain.languages import language
from stretto.constrain.lexicon import Language

END = 0
PIECES = [
    None,
    "{",
    "}",
    "[",
    "]",
    '"',
    ":",
    ",",
    " ",
    "1",
    "20",
    "-",
    ".",
    "e",
    "a",
    "b",
    "cat",
    "tru",
    "true",
    "null",
]
PIECES += ["null", '": ', '", "', '{"', "x\n", "\\u00", "\\", "é", "}}", None, "cat"]


def one_by_one(grammar: Grammar, automaton: Automaton) -> bool:
    """The slow reference: triples (p, A, q), a word of A leads from p to q, until nothing new comes."""

    def near(state: State) -> set[State]:
        found, left = {state}, [state]
        while left:
            for other in automaton.silent.get(left.pop(), ()):
                if other not in found:
                    found.add(other)
                    left.append(other)
        return found

    states = {automaton.start, *(after for steps in automaton.edges.values() for _, after in steps)}
    steps = {(s, t, after) for s in states for other in near(s) for t, after in automaton.edges.get(other, ())}
    found = steps | {(state, name, state) for state in states for name in grammar.nullable}
    size = -1
    while size != len(found):
        size = len(found)
        leads: dict[tuple[State, str], set[State]] = {}
        for before, symbol, after in found:
            leads.setdefault((before, symbol), set()).add(after)
        for name, sides in grammar.rules.items():
            for side in sides:
                for begin in states:
                    ends = {begin}
                    for symbol in side:
                        ends = {end for state in ends for end in leads.get((state, symbol), ())}
                    found |= {(begin, name, end) for end in ends}
    return any((automaton.start, grammar.start, state) in found and near(state) & automaton.final for state in states)


@pytest.mark.parametrize("part", range(4))
def test_any_automaton_is_as_one_by_one(part: int) -> None:
    """With circles, silent ones too, and words of several terminals in one step; few circles take several rounds."""
    for seed in range(100 * part, 100 * part + 100):
        chance = random.Random(seed)
        grammar, size = random_grammar(chance), chance.randint(1, 6)
        automaton = Automaton(0, {chance.randrange(size)})
        for _ in range(chance.randint(0, 9)):
            word = chance.choices("ab", k=chance.choice([0, 0, 1, 1, 2, 3]))
            automaton.step(chance.randrange(size), word, chance.randrange(size))
        assert common(grammar, automaton) == one_by_one(grammar, automaton), seed


@pytest.mark.parametrize("name", ["json", "expression"])
def test_canvases_of_a_language_are_as_one_by_one(name: str) -> None:
    """The automata that canvases really give, with known text and holes; some can be filled, some cannot."""
    completion, chance = Completion(language(name), PIECES, frozenset([END])), random.Random(3)
    answers = set()
    for _ in range(24):
        tokens = [END, HOLE, HOLE, HOLE, *range(1, len(PIECES))]
        canvas, gap = [chance.choice(tokens) for _ in range(chance.randint(1, 4))], chance.choice(list(Gap))
        more = chance.random() < 0.3
        automaton = slow_automaton(completion, canvas, gap, more)
        expected = automaton is not None and one_by_one(completion.language.grammar, automaton)
        assert automaton is None or common(completion.language.grammar, automaton) == expected, canvas
        assert completion.can_extend(canvas, gap, more=more) == expected, canvas
        answers.add(expected)
    assert answers == {True, False}


@pytest.mark.parametrize("most", [0, 30, 10_000])
@pytest.mark.parametrize("part", range(4))
def test_what_is_kept_changes_no_answer(part: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Canvases one after another, with all gaps, against each alone; also where what is kept is forgotten at times."""
    monkeypatch.setattr("stretto.constrain.completion.MOST", most)
    for seed in range(10 * part, 10 * part + 10):
        chance = random.Random(seed)
        pieces = [None, "a", "b", "ab", "ba", None]
        completion = Completion(Language.of(written(random_grammar(chance))), pieces, frozenset([END]))
        for _ in range(12):
            canvas = chance.choices([HOLE, HOLE, HOLE, 1, 2, 3, 4, END], k=chance.randint(1, 7))
            gap, more = chance.choice(list(Gap)), chance.random() < 0.3
            automaton = slow_automaton(completion, canvas, gap, more)
            expected = automaton is not None and one_by_one(completion.language.grammar, automaton)
            assert completion.can_extend(canvas, gap, more=more) == expected, (seed, canvas, gap, more)
            if HOLE in canvas:
                at = canvas.index(HOLE)
                tried = [(t, [*canvas[:at], t, *canvas[at + 1 :]]) for t in (END, 1, 2, 3, 4)]
                each = [t for t, filled in tried if completion.can_extend(filled, gap, more=more)]
                assert completion.allowed(canvas, at, gap, more=more) == each


def test_parts_stand_behind_all_that_they_lead_to() -> None:
    automaton = Automaton(0, {4})
    for before, after in [(0, 1), (1, 2), (2, 1), (2, 3), (3, 3), (3, 4), (0, 4), (5, 0)]:
        automaton.step(before, "a" if before != after else "", after)
    parts = automaton.parts()
    assert {frozenset(part) for part in parts} == {frozenset(each) for each in ([0], [1, 2], [3], [4])}
    place = {state: at for at, part in enumerate(parts) for state in part}
    assert all(place[after] <= place[state] for state in place for after in automaton.after(state))


@pytest.mark.parametrize("name", ["json", "expression"])
def test_texts_read_together_are_those_read_alone(name: str) -> None:
    """From every cut that they lead to, character by character."""
    spoken, texts = language(name), sorted({piece for piece in PIECES if piece is not None})
    cuts = [None]
    for cut in cuts:
        together = spoken.read_each(texts, cut)
        for text in texts:
            found = {((), cut)}
            for char in text:
                found = {after for ended, at in found for after in spoken._step(char, ended, at)}
            assert together.get(text, frozenset()) == spoken.read(text, cut) == found, (text, cut)
        cuts += {after for outcomes in together.values() for _, after in outcomes}.difference(cuts)
    assert len(cuts) > 5


def test_characters_that_no_pattern_tells_apart_are_read_alike() -> None:
    json = language("json")
    kinds = {json.alike(char) for char in "ghjkmoqvwxyzGHIJK"}  # in no keyword, no escape, no number
    assert len(kinds) == 1 and json.alike("cat") != json.alike("cab")  # t begins true
    assert len({json.alike(char) for char in '{}[]":,\\\n eE.-+01u'}) == 18


def test_tokens_of_equal_effect_are_allowed_together() -> None:
    """Also where a part of the language was looked at before."""
    for canvas in ([1, HOLE, HOLE, HOLE, 2], [HOLE, HOLE], [5, HOLE, 5], [3, HOLE, HOLE, HOLE]):
        completion = Completion(language("json"), PIECES, frozenset([END]))
        completion.can_extend([9, HOLE])
        at = canvas.index(HOLE)
        each = [
            t
            for t, p in enumerate(PIECES)
            if (p or t == END) and completion.can_extend([*canvas[:at], t, *canvas[at + 1 :]])
        ]
        assert completion.allowed(canvas, at) == each, canvas
