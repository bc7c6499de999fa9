"""Codes with short runs: counted, numbered and mended as published, and drawn as an answer."""

from __future__ import annotations

import itertools

import pytest

from stretto.constrain.loco import START, Code, Loco, Place
from stretto.constrain.tokens import Tokens
from stretto.errors import InvalidRequest

STRINGS = {1: [4, 12, 36, 108, 324, 972], 2: [4, 16, 60, 228, 864, 3276], 3: [4, 16, 64, 252, 996, 3936]}
DISTANCES = {1: [24, 33, 42, 51], 2: [28, 49, 72, 95], 3: [18, 40, 70, 106]}  # lengths 3 to 6
MODULI = {1: [35, 49, 103, 103], 2: [36, 94, 191, 340], 3: [21, 73, 210, 341]}
LETTERS = Tokens([*map(str.encode, "ATGC"), b"AT", b"CC", None], frozenset({6}))


@pytest.mark.parametrize("run", STRINGS)
def test_counts_distances_and_moduli_are_the_published_ones(run: int) -> None:
    codes = [Code(length, run, 4) for length in range(1, 7)]
    assert [code.strings for code in codes] == STRINGS[run]
    assert [len(code.distances) for code in codes[2:]] == DISTANCES[run]
    assert [code.modulus for code in codes[2:]] == MODULI[run]


@pytest.mark.parametrize("run", STRINGS)
def test_strings_are_numbered_in_their_order_without_a_gap(run: int) -> None:
    code = Code(5, run, 4)
    strings = [code.string(number) for number in range(code.strings)]
    short = (list(each) for each in itertools.product(range(4), repeat=5))
    assert strings == [each for each in short if all(len([*same]) <= run for _, same in itertools.groupby(each))]
    assert [code.number(each) for each in strings] == [*range(code.strings)]


@pytest.mark.parametrize("settings", [Loco(6), Loco(6, run=1), Loco(7, run=2), Loco(6, run=2, symbols="xyz")])
def test_every_wrong_symbol_is_mended(settings: Loco) -> None:
    """Also where it makes a run longer than any string has."""
    for message in range(settings.codewords):
        word = settings.encode(message)
        assert settings.decode(word) == message and settings.correct(word) == word
        for at, wrong in itertools.product(range(settings.length), settings.symbols):
            assert settings.correct(word[:at] + wrong + word[at + 1 :]) == word


def test_two_wrong_symbols_are_mostly_told() -> None:
    code, told = Loco(6), 0
    word = code.encode(7)
    for first, second in itertools.combinations(range(6), 2):
        text = "".join("ATGC"[("ATGC".index(each) + (at in (first, second))) % 4] for at, each in enumerate(word))
        try:
            code.decode(code.correct(text))
        except InvalidRequest:
            told += 1
    assert told == 13  # of 15


def test_strings_behind_every_beginning_make_draws_even() -> None:
    """A symbol drawn by how many strings there are behind it: every string comes up as often."""
    code, places = Code(4, 2, 4), {(): (1.0, START)}
    for left in range(3, -1, -1):
        after = {}
        for word, (chance, place) in places.items():
            behind = [code._behind[left][code._after(place, each).run] * code._may(place, each) for each in range(4)]
            for symbol in (each for each in range(4) if behind[each]):
                reached: Place = code._after(place, symbol)
                after[(*word, symbol)] = (chance * behind[symbol] / sum(behind), reached)
        places = after
    assert len(places) == 228 and all(abs(chance * 228 - 1) < 1e-9 for chance, _ in places.values())


def test_answers_are_codewords_and_the_last_symbols_follow_from_the_first() -> None:
    code = Loco(6)
    state = code.open(LETTERS)
    begun = sorted({code.encode(message)[:2] for message in range(code.codewords)})
    able = {LETTERS.pieces[token].decode() for token in state.allowed().nonzero()[0]}  # type: ignore[union-attr]
    assert able == {each[0] for each in begun} | ({"AT", "CC"} & set(begun))
    assert not state.advance(6) and state.advance(0) and not state.complete
    assert (
        b"A" + b"".join(map(LETTERS.text_of, state.forced()))
        in [code.encode(message).encode() for message in range(code.codewords)]
        or len(state.forced()) < 5
    )


def test_what_is_no_code_no_message_and_no_codeword_is_said() -> None:
    for wrong in ({"length": 0}, {"length": 21}, {"run": 0}, {"symbols": "A"}, {"symbols": "AA"}, {"symbols": "Aé"}):
        with pytest.raises(InvalidRequest):
            Loco(**wrong)
    with pytest.raises(InvalidRequest, match="no codeword 12"):
        Loco(6).encode(12)
    with pytest.raises(InvalidRequest, match="no codeword"):
        Loco(6).decode("AAATTT")
    with pytest.raises(InvalidRequest, match="6 symbols"):
        Loco(6).correct("ATGX")
