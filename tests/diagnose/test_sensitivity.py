"""Sensitivity to wording: by hand, and what the command tells of a kind."""

from __future__ import annotations

import json
import math

import pytest

from stretto import cli, zoo
from stretto.diagnose.sensitivity import TEMPLATES, ranks, sensitivity, spearman
from stretto.errors import InvalidRequest


@pytest.mark.parametrize(
    ("outcomes", "score"), [((1, 1, 0, 0), 2 / 3), ((1, 1, 1, 0), 0.5), ((1, 1), 0.0), ((0.2, 0.7, 0.2), 1 / 3)]
)
def test_the_score_of_a_question_by_hand(outcomes: tuple[float, ...], score: float):
    assert sensitivity(outcomes) == pytest.approx(score)


def test_of_an_even_number_of_ways_half_right_is_the_most():
    ways = len(TEMPLATES)
    found = [sensitivity([1.0] * right + [0.0] * (ways - right)) for right in range(ways + 1)]
    assert max(found) == found[ways // 2] == pytest.approx(ways / (2 * (ways - 1)))
    for wrong in ([1.0], [0.5, 1.5]):
        with pytest.raises(InvalidRequest):
            sensitivity(wrong)


def test_ranks_of_equals_are_shared():
    assert ranks([3, 1, 3, 2]) == [2.5, 0, 2.5, 1]
    assert spearman([1, 2, 3], [9, 5, 1]) == -1 and spearman([1, 2, 2], [4, 7, 7]) == 1
    assert math.isnan(spearman([1, 1], [1, 2]))


def test_the_command_puts_questions_in_all_ways(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    if "causal" not in zoo.names():
        pytest.skip("the zoo's models are not in this checkout")
    monkeypatch.setattr("stretto.diagnose.sensitivity.QUESTIONS", 2)
    assert cli.main(["diagnose", "--phrasings", "sql", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert len(found["right"]) == len(TEMPLATES) and found["right"][0] == max(found["right"]) > 0 < found["score"]
    assert cli.main(["diagnose", "--phrasings", "sqll"]) == 2
