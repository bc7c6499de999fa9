"""What a canvas with gaps can still become: the catalogue's cases, and brute force over every filling."""

from __future__ import annotations

import itertools
import random
import re

import pytest

from constrain.test_grammar import random_grammar, sentences, written
from stretto.constrain.completion import HOLE, Completion, Gap
from stretto.constrain.languages import language
from stretto.constrain.lexicon import Language
from stretto.constrain.lookahead import best_fillings, survivor
from stretto.constrain.matcher import Matcher

A, B, END = 0, 1, 2
H = HOLE
NESTED = Completion(Language.of("S -> a S b | a b"), ["a", "b", None], frozenset([END]))
PIECES = ["{", "}", '"', "a", "b", ":", ",", "1", "2", " ", "[", "]", '"a', '": ', "tru", "e", "if", "i", None]


@pytest.mark.parametrize(
    ("canvas", "exact", "most", "longer"),
    [
        ([A, H, B, B], True, True, True),
        ([B, H], False, False, False),
        ([A, H, A, END], False, False, False),
        ([A, A, A, H, B, END], False, False, True),  # aaa bb b needs two tokens
        ([A, H, H, H], True, True, True),  # a b and then it has ended
        ([A, H, H], True, True, True),
        ([A, A, H, H, H, B, B], False, True, True),  # seven are none, with two tokens fewer it is one
        ([A, B, END, A, A], True, True, True),  # behind its end nothing counts
        ([END], False, False, False),
        ([A, B, H, END], True, True, True),  # a hole may have ended it already
    ],
)
def test_the_cases_of_the_catalogue(canvas: list[int], exact: bool, most: bool, longer: bool) -> None:
    assert [NESTED.can_extend(canvas, gap) for gap in (Gap.EXACT, Gap.AT_MOST, Gap.ANY)] == [exact, most, longer]


def fillings(canvas: list[int], gap: Gap, tokens: list[int], longest: int) -> list[list[int]]:
    """Every way to put tokens into the holes: the slow reference."""
    found: list[list[int]] = [[]]
    for kind, group in itertools.groupby(canvas, key=lambda token: token == H):
        run = list(group)
        sizes = [len(run)]
        if kind and gap is not Gap.EXACT:
            sizes = list(range((len(run) if gap is Gap.AT_MOST else longest) + 1))
        words = [run] if not kind else [list(w) for size in sizes for w in itertools.product(tokens, repeat=size)]
        found = [one + two for one in found for two in words]
    return found


def valid(canvas: list[int], filled: list[int], known: set[str], ends: frozenset[int]) -> bool:
    """Whether a filled canvas is a sentence up to its first end token; none stands in a hole before a known text."""
    cut = next((at for at, token in enumerate(filled) if token in ends), len(filled))
    return "".join("ab"[token] for token in filled[:cut]) in known


@pytest.mark.parametrize("gap", list(Gap))
@pytest.mark.parametrize("seed", range(8))
def test_random_canvases_are_brute_force(seed: int, gap: Gap) -> None:
    """Without end tokens; of any length: fillings of up to four tokens must be accepted, exact ones are all."""
    chance = random.Random(seed)
    grammar = random_grammar(chance)
    completion = Completion(Language.of(written(grammar)), ["a", "b", "ab"])
    spelt, known = ["a", "b", "ab"], sentences(grammar, 12 if gap is Gap.ANY else 10)
    for _ in range(12):
        canvas = [chance.choice([A, B, H, H]) for _ in range(chance.randint(1, 4))]
        if gap is Gap.ANY:
            canvas = canvas[:3]
        whole = fillings(canvas, gap, [0, 1, 2], 3)
        expected = any("".join(spelt[token] for token in each) in known for each in whole)
        found = completion.can_extend(canvas, gap)
        assert found == expected if gap is not Gap.ANY else found >= expected, canvas
        if gap is not Gap.ANY:  # with more to come: it begins a sentence
            begun = {"".join(spelt[token] for token in each) for each in whole}
            if any(word.startswith(tuple(begun)) for word in known):
                assert completion.can_extend(canvas, gap, more=True), canvas


@pytest.mark.parametrize("seed", range(8))
def test_canvases_of_six_are_brute_force(seed: int) -> None:
    """Up to four nonterminals; a hole is one token of one letter, so the words of that length are all there is."""
    chance = random.Random(100 + seed)
    grammar = random_grammar(chance)
    completion, known = Completion(Language.of(written(grammar)), ["a", "b"]), sentences(grammar, 6)
    answers = set()
    for _ in range(60):
        canvas = [chance.choice([A, B, H, H]) for _ in range(chance.randint(5, 6))]
        pattern = re.compile("".join("." if token == H else "ab"[token] for token in canvas))
        expected = any(pattern.fullmatch(word) for word in known)
        assert completion.can_extend(canvas, Gap.EXACT) == expected, canvas
        answers.add(expected)
    assert True in answers or not any(len(word) > 4 for word in known)


@pytest.mark.parametrize("gap", [Gap.EXACT, Gap.AT_MOST])
def test_end_tokens_are_brute_force(gap: Gap) -> None:
    known = {"a" * n + "b" * n for n in range(1, 5)}
    for length in range(1, 5):
        for canvas in itertools.product([A, B, END, H], repeat=length):
            given = list(canvas)
            cut = given.index(END) + 1 if END in given else len(given)
            texts = [at for at in range(cut) if given[at] in (A, B)]
            last = texts[-1] if texts else -1
            before, after = given[: last + 1], given[last + 1 : cut]
            whole = [
                one + two for one in fillings(before, gap, [A, B], 0) for two in fillings(after, gap, [A, B, END], 0)
            ]
            expected = any(valid(given, each, known, frozenset([END])) for each in whole)
            assert NESTED.can_extend(given, gap) == expected, given


def test_gaps_of_one_text_in_several_pieces() -> None:
    """Inside a string everything goes, terminals may join across a hole, and a name may begin like a keyword."""
    completion = Completion(language("json"), PIECES)
    index = PIECES.index
    assert completion.can_extend([index('"'), index("a"), index("b"), H, index("{"), index('"')])
    assert completion.can_extend([index("tru"), H]) and not completion.can_extend([index("tru"), index("tru"), H])
    assert completion.can_extend([index("{"), index('"a'), H, index("1"), index("}")])
    assert not completion.can_extend([index("{"), index('"a'), index(":"), index("1"), index("}")])
    assert completion.can_extend([index("{"), H, H, H, index("1"), H])
    assert not completion.can_extend([index("{"), H, H, index("["), index("}"), H])
    names = Completion(Language.of("S -> if NAME | NAME", {"NAME": "[a-z]+"}), PIECES)
    assert names.can_extend([index("i"), H]) and names.can_extend([index("i")])
    only = Completion(Language.of("S -> if : NAME", {"NAME": "[a-z]+"}), PIECES)
    assert not only.can_extend([index("i"), H, H]) and only.can_extend([index("if"), H, H])
    assert not only.can_extend([index("a"), H, H, H], Gap.ANY)


def test_a_token_without_text_is_nowhere() -> None:
    completion = Completion(language("json"), PIECES)
    assert not completion.can_extend([PIECES.index(None), H]) and completion.can_extend([H])


def test_allowed_tokens_are_those_that_can_be_put_there() -> None:
    canvas = [A, H, H, B]
    assert NESTED.allowed(canvas, 1) == [A] and NESTED.allowed(canvas, 2) == [B, END]
    assert NESTED.allowed([A, H, H], 1) == [B] and NESTED.allowed([A, B, H], 2) == [END]
    completion = Completion(language("json"), PIECES)
    canvas = [PIECES.index("["), H, H, PIECES.index("]")]
    each = [t for t, p in enumerate(PIECES) if p and completion.can_extend([canvas[0], t, *canvas[2:]])]
    assert completion.allowed(canvas, 1) == each


# -- fillings that are read -------------------------------------------------------------------------------


def test_the_best_fillings_come_best_first() -> None:
    chance = random.Random(1)
    holes = [sorted(((t, chance.random()) for t in range(4)), key=lambda each: -each[1]) for _ in range(3)]
    score = lambda filling: sum(dict(hole)[token] for hole, token in zip(holes, filling, strict=True))  # noqa: E731
    found = list(best_fillings(holes, 64))
    assert len(set(found)) == 64 and [score(f) for f in found] == pytest.approx(sorted(map(score, found), reverse=True))
    assert list(best_fillings(holes, 5)) == found[:5] and list(best_fillings([], 3)) == [()]


def test_a_survivor_is_a_filling_that_begins_a_sentence() -> None:
    """Against the other method: with all fillings to choose from there is one where the canvas can be extended."""
    pieces = ["a", "b", None]
    endless = Completion(NESTED.language, pieces)
    for length in range(1, 5):
        for canvas in itertools.product([A, B, H], repeat=length):
            every = itertools.product([A, B], repeat=canvas.count(H))
            matcher = Matcher(NESTED.language)
            found = survivor(matcher, pieces, canvas, every)
            assert len(matcher) == 0
            assert (found is not None) == endless.can_extend(canvas, Gap.EXACT, more=True), canvas
            if found is not None:
                assert all(token in (H, kept) for token, kept in zip(canvas, found, strict=True))
                assert Matcher(NESTED.language).push("".join("ab"[token] for token in found))
