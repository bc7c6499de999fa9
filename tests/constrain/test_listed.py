"""Lists of names: each exists, none comes twice, and one list has nothing to do with another."""

from __future__ import annotations

import random

import pytest

from stretto.constrain.listed import Listed
from stretto.constrain.tokens import Tokens
from stretto.errors import InvalidRequest

LETTERS = Tokens([*(bytes([byte]) for byte in range(128)), b"Owl", b"s\n", None], frozenset({130}))
NAMES = ("Owl", "Owls", "Owls of the north", "Lamp", "Laps", "Émile")


def read(state, text: str) -> bool:
    return all(state.advance(byte) for byte in text.encode())


def able(state) -> set[bytes]:
    return {LETTERS.pieces[token] for token in state.allowed().nonzero()[0]}  # type: ignore[misc]


def test_what_was_named_leaves_the_tree_of_this_list_alone() -> None:
    start = Listed(NAMES[:5], most=4).open(LETTERS)
    state = start.fork()
    assert read(state, "Owl") and state.complete and able(state) == {b"s", b"s\n", b"\n"}
    assert read(state, "s\n") and not state.complete
    other = state.fork()
    assert read(state, "Ow") and able(state) == {b"l"} and read(state, "l") and able(state) == {b"s", b"\n"}
    assert read(state, "s") and not state.complete and able(state) == {b" "}  # Owls was named; Owls of the north not
    assert read(other, "La") and able(other) == {b"m", b"p"} and read(start, "Owls") and start.complete


def test_one_name_that_is_left_is_forced_and_a_full_list_ends() -> None:
    state = Listed(("ab", "abc", "b"), most=3).open(LETTERS)
    assert read(state, "b\nab\n") and bytes(state.forced()) == b"abc"
    assert read(state, "abc") and state.complete and not state.allowed().any()
    short = Listed(("ab", "c"), most=1).open(LETTERS)
    assert read(short, "c") and not short.allowed().any()


def test_two_thousand_names_drawn_by_chance_are_there_and_distinct() -> None:
    rng = random.Random(1)
    names = tuple(f"{rng.choice(('The', 'A', 'Of'))} {rng.randrange(10**4)}" for _ in range(2000))
    asked = Listed(names, most=8, between=", ")
    for _ in range(5):
        state, text = asked.open(LETTERS), b""
        while able(state):
            piece = rng.choice(sorted(able(state)))
            if state.complete and piece != b"," and rng.random() < 0.5:
                continue
            assert state.advance(LETTERS.texts[piece][0])
            text += piece
        found = text.decode().split(", ")
        assert len(found) == 8 == len({*found}) and {*found} <= {*names}


@pytest.mark.parametrize(
    "wrong",
    [
        {"texts": ()},
        {"texts": ("a", "")},
        {"most": 0},
        {"between": ""},
        {"between": "wl"},
        {"texts": ("ã",), "between": "é"},
    ],
)
def test_lists_that_cannot_be_read_are_refused(wrong: dict) -> None:
    with pytest.raises(InvalidRequest):
        Listed(**{"texts": ("owl",), **wrong})
