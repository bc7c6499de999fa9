"""Texts that never come: as one token, as several, and as the end of one and the beginning of another."""

from __future__ import annotations

import numpy as np
import pytest

from laws.worlds import decode
from stretto.constrain.tokens import Tokens
from stretto.constrain.without import Without
from stretto.errors import InvalidRequest
from stretto.models.table import TableModel
from stretto.speculate.drafters.lookup import Lookup
from stretto.steer.constrained import Constrained
from stretto.steer.pipeline import Pipeline
from stretto.steer.temperature import Temperature

LABEL = Tokens([b"x", b"<bad>", b"<", b"bad", b">", b"<b", b"ad>y", None], frozenset({7}))


def able(state) -> list[int]:
    return state.allowed().nonzero()[0].tolist()


def test_a_label_that_is_one_token_is_all_that_goes_and_the_rest_keeps_its_odds() -> None:
    state = Without(("<bad>",)).open(Tokens(LABEL.pieces[:2], frozenset()))
    for _ in range(3):
        assert able(state) == [0] and state.complete and state.advance(0) and not state.advance(1)
    model = TableModel.random(4, seed=3)
    tokens = Tokens([b"a", b"b", b"L", None], frozenset({3}))
    pipeline = Pipeline([Constrained(Without(("L",)), tokens), Temperature(1.0)])
    taken = [decode(model, [[0]], pipeline=pipeline, seed=seed, new_tokens=1)[0].new_tokens[0] for seed in range(300)]
    chances = np.exp(np.array(model.rule((0,))))
    chances[2] = 0.0
    expected = 300 * chances / chances.sum()
    found = np.bincount(taken, minlength=4)
    assert found[2] == 0 and ((found - expected) ** 2 / np.maximum(expected, 1e-9)).sum() < 13  # with these seeds


def test_a_label_of_several_pieces_ends_nowhere() -> None:
    state = Without(("<bad>",)).open(LABEL)
    assert able(state) == [0, 2, 3, 4, 5, 6]
    assert state.advance(2) and able(state) == [0, 2, 3, 4, 5, 6]
    assert state.advance(3) and able(state) == [0, 2, 3, 5, 6]  # not the last piece
    state.rollback(1)
    assert state.advance(5) and able(state) == [0, 2, 3, 4, 5]  # not "ad>y", which holds the end
    assert state.advance(0) and able(state) == [0, 2, 3, 4, 5, 6]


def test_a_model_that_writes_no_label_writes_what_it_did() -> None:
    model = TableModel(4, lambda path: [float(len(path) % 3), 1.5, -9.0, 0.2])
    tokens = Tokens([b"a", b"b", b"L", None], frozenset({3}))
    for temperature in (0.0, 0.7):
        plain = Pipeline([Temperature(temperature)])
        held = Pipeline([Constrained(Without(("L",)), tokens), Temperature(temperature)])
        expected = decode(model, [[0, 1]], pipeline=plain, seed=5, new_tokens=20, ends=tokens.ends)[0].new_tokens
        for drafter in (None, Lookup()):
            found = decode(model, [[0, 1]], drafter=drafter, pipeline=held, seed=5, new_tokens=20, ends=tokens.ends)[
                0
            ].new_tokens
            assert found == expected and 2 not in found


def test_nothing_to_keep_out_is_refused() -> None:
    for wrong in ((), ("",), ("a", "")):
        with pytest.raises(InvalidRequest, match="no text to keep out"):
            Without(wrong)
