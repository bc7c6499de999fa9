"""Lists of numbers: questions and answers belong together."""

from __future__ import annotations

import numpy as np

from stretto.gym.lists import COLON, INSERT, NUMBERS, SORT, drawn


def test_answers_are_those_of_their_questions() -> None:
    questions, answers = drawn(np.random.default_rng(0), 300)
    kinds = questions[:, 0]
    assert 100 < (kinds == SORT).sum() < 200 and set(kinds) == {SORT, INSERT}
    for (kind, colon, *items), answer in zip(questions.tolist(), answers.tolist(), strict=True):
        assert colon == COLON and max(answer) < NUMBERS and len(set(answer)) == len(answer)
        assert answer == sorted(items)
        assert kind == SORT or items[1:] == sorted(items[1:])


def test_the_same_generator_draws_the_same() -> None:
    for mine, again in zip(drawn(np.random.default_rng(1), 9), drawn(np.random.default_rng(1), 9), strict=True):
        assert np.array_equal(mine, again)
