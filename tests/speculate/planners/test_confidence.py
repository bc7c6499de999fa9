from __future__ import annotations

import pytest

from laws.worlds import GREEDY, Guesser, decode
from stretto import method
from stretto.context import Context
from stretto.errors import InvalidRequest
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.row import Limits, Row
from stretto.speculate.contract import Drafting
from stretto.speculate.planners.confidence import Confidence
from stretto.steer.choice import Rule
from stretto.steer.path import History
from stretto.tree import ROOT, Tree

ROW = Row(History([0]), -1, Rule(GREEDY, 0, 0), Limits(99))


def planning(settings: Confidence):
    return settings.begin(Context(None, SimulatedClock(), lambda name: None), Drafting("s", lambda row: None))


def chain(*scores: float) -> Tree:
    tree = Tree.chain([1] * len(scores))
    tree.scores = list(scores)
    return tree


@pytest.mark.parametrize(
    ("threshold", "scores", "on"),
    [(0.4, (0.9, 0.4), True), (0.4, (0.9, 0.39), False), (0.4, (0.1, 0.9), True), (0.0, (0.0,), True), (0.4, (), True)],
)
def test_the_last_token_decides(threshold, scores, on):
    (room,) = planning(Confidence(threshold)).rooms([ROW])
    assert room.more(chain(*scores)) == on


def test_in_a_tree_the_surest_of_the_deepest_level_decides():
    tree = Tree()
    tree.add(1, ROOT, score=0.9)
    tree.add(2, ROOT, score=0.1)
    tree.add(3, 0, score=0.2)
    tree.add(4, 1, score=0.5)
    (room,) = planning(Confidence(0.5)).rooms([ROW])
    assert room.more(tree)
    assert not room.more(tree.prune([0, 1, 2]))


def test_a_drafter_that_does_not_ask_is_cut_below_its_first_unsure_token():
    plan = planning(Confidence(0.5))
    (kept,) = plan.trim([ROW], [chain(0.9, 0.5, 0.4, 0.9)])
    assert kept.scores == [0.9, 0.5, 0.4]
    sure = chain(0.9, 0.9)
    assert plan.trim([ROW], [sure])[0] is sure


def test_a_threshold_no_score_reaches_drafts_one_token_a_round():
    target = TableModel(4, lambda path: [float(token == (path[-1] + 1) % 4) for token in range(4)])
    counting = Guesser(
        lambda tokens, room: Tree.chain([(tokens[-1] + 1 + at) % 4 for at in range(min(room.nodes, room.depth))])
    )
    for threshold, rounds in ((0.5, 5), (0.6, 15)):  # the score is a half
        row = decode(target, [[0]], drafter=counting, planner=Confidence(threshold, most=6), new_tokens=30)[0]
        assert row.counters.rounds == rounds
        assert row.new_tokens == [(1 + at) % 4 for at in range(30)]


def test_text_form_and_mistakes():
    assert method.parse("draft+confidence(0.6,most=8)").plan == Confidence(0.6, 8)
    for settings in ({"threshold": -0.1}, {"threshold": 1.1}, {"most": 0}):
        with pytest.raises(InvalidRequest):
            Confidence(**settings)
