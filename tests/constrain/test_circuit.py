"""Circuits: whatever is chosen under the mask is equivalent to what was given, and the mask is the published one."""

from __future__ import annotations

import random

import pytest

from stretto.constrain.circuit import Circuit
from stretto.constrain.tokens import Tokens
from stretto.errors import InvalidRequest

LETTERS = Tokens([*map(str.encode, "abcABC&!"), b"&a", b"!!", b"bB", None], frozenset({11}))


def able(state) -> set[str]:
    return {LETTERS.pieces[token].decode() for token in state.allowed().nonzero()[0]}


def value(text: str, inputs: dict[str, bool]) -> list[bool]:
    """The outputs, one behind the other, read from the end."""
    found: list[bool] = []
    for letter in reversed(text):
        if letter in "&!":
            both = found.pop() and found.pop() if found[-1] else (found.pop(), found.pop())[0]
            found.append(both == (letter == "&"))
        else:
            found.append(inputs[letter.lower()] == letter.islower())
    return found[::-1]


def drawn(rng: random.Random, gates: int) -> str:
    """A circuit of random gates."""
    if not gates:
        return rng.choice("abcABC")
    left = rng.randrange(gates)
    return rng.choice("&!") + drawn(rng, left) + drawn(rng, gates - 1 - left)


def test_an_and_of_two_inputs_begins_with_its_gate_and_goes_on_with_one_of_them() -> None:
    state = Circuit(("&ab",)).open(LETTERS)
    assert able(state) == {"&", "&a"}
    assert state.advance(LETTERS.texts[b"&"][0]) and able(state) == {"a", "b"}
    assert not state.advance(0 + 3) and state.advance(0) and able(state) == {"b"} and list(state.forced()) == [1]


def test_random_choices_under_the_mask_always_end_equivalent_and_in_time() -> None:
    """60 circuits of three inputs, some with two outputs, some that matter only somewhere."""
    rng = random.Random(4)
    everywhere = [dict(zip("abc", bits, strict=True)) for bits in [*map(tuple, _bits())]]
    for _ in range(60):
        outputs = tuple(drawn(rng, rng.randrange(1, 5)) for _ in range(rng.randint(1, 2)))
        care = drawn(rng, 1) if rng.random() < 0.3 else ""
        asked = Circuit(outputs, care=care)
        state, text = asked.open(LETTERS), ""
        while not state.complete:
            token = rng.choice(state.allowed().nonzero()[0].tolist())
            assert state.advance(token)
            text += LETTERS.pieces[token].decode()  # type: ignore[union-attr]
        assert not state.allowed().any() and text.count("&") + text.count("!") <= asked.size
        assert asked.equals(text)
        for inputs in everywhere:
            if not care or value(care, inputs) == [True]:
                known = {letter: inputs[letter] for letter in "abc"}
                assert value(text, known) == [value(each, known)[0] for each in outputs]


def _bits() -> list[list[bool]]:
    return [[bool(at >> place & 1) for place in range(3)] for at in range(8)]


def test_fewer_gates_than_the_given_ones_are_found_where_there_is_a_way() -> None:
    long = Circuit(("!!aa!aa",), gates=0)  # a, in three gates
    state = long.open(LETTERS)
    assert able(state) == {"a"} and state.advance(0) and state.complete
    with pytest.raises(InvalidRequest, match="only 0 gates"):
        Circuit(("&ab",), gates=0)
    assert Circuit(("&ab",), gates=0, care="a").open(LETTERS).allowed().nonzero()[0].tolist() == [1]  # b, where a is


@pytest.mark.parametrize("text", ["", "&a", "ab", "&ab,c", "x1", "&&&", "&a&bcd", "aé"])
def test_what_is_no_circuit_is_said(text: str) -> None:
    with pytest.raises(InvalidRequest, match="no circuit"):
        Circuit((text,))
    with pytest.raises(InvalidRequest, match="0 outputs"):
        Circuit(())
    with pytest.raises(InvalidRequest, match="4 inputs"):
        Circuit(("&&ab&cd",))
