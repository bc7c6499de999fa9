from __future__ import annotations

import pytest

from stretto.errors import InvalidRequest
from stretto.generation import Generation
from stretto.route.traces import collect


def test_only_right_and_complete_answers_are_kept_each_question_once():
    written = []

    def answer(question, seed):
        written.append((question, seed))
        return Generation(f"{question + seed}", [seed], "length" if (question, seed) == (3, 1) else "end", [question])

    found = collect([1, 2, 3, 9], answer, lambda question, text: text == "4", attempts=3)
    assert [(question, kept.text, kept.tokens) for question, kept in found.kept] == [(2, "4", [2])]
    assert (found.asked, found.attempts, found.coverage) == (4, 12, 0.25)
    assert written[:6] == [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)]


def test_a_right_answer_ends_the_attempts():
    found = collect([4], lambda question, seed: Generation("4", [], "stop", []), lambda question, text: True)
    assert (found.attempts, found.coverage) == (1, 1.0)
    with pytest.raises(InvalidRequest, match="attempts >= 1"):
        collect([4], lambda question, seed: None, lambda question, text: True, attempts=0)
