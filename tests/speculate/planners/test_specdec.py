from __future__ import annotations

import math
import random

import pytest

from laws.worlds import GREEDY, decode
from stretto import method
from stretto.context import Context
from stretto.errors import InvalidRequest
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.row import Limits, Row
from stretto.speculate.contract import Drafting, Outcome
from stretto.speculate.drafters.model import DraftModel
from stretto.speculate.planners.specdec import Calibrated, Scores, SpecDec
from stretto.steer.choice import Rule
from stretto.steer.path import History
from stretto.tree import ROOT, Tree

ROW = Row(History([0]), -1, Rule(GREEDY, 0, 0), Limits(99))


def planning(settings: SpecDec):
    return settings.begin(Context(None, SimulatedClock(), lambda name: None), Drafting("s", lambda row: None))


def drafted(settings: SpecDec, scores) -> Tree:
    """What a drafter that asks after each token sends, when its tokens have these scores (the last for ever)."""
    (room,) = planning(settings).rooms([ROW])
    tree = Tree()
    while len(tree) < min(room.nodes, room.depth):
        tree.add(1, len(tree) - 1, score=scores[min(len(tree), len(scores) - 1)])
        if not room.more(tree):
            break
    return tree


RATES = (0.95, 0.9, 0.8, 0.6)


@pytest.mark.parametrize(
    ("h", "sent"), [(0.3, 3), (0.05, 2), (0.1, 2), (0.2, 3), (0.32, 4), (1.0, 20), (0.0, 2), (0.58, 4)]
)
def test_thresholds(h, sent):
    """1 − C is .05, .145, .316, .5896 after one to four tokens."""
    assert len(drafted(SpecDec(h), RATES)) == sent


def test_bounds():
    assert len(drafted(SpecDec(0.3, least=4), RATES)) == 4
    assert len(drafted(SpecDec(1.0, most=7), RATES)) == 7
    assert len(drafted(SpecDec(0.0, least=1), (0.99,))) == 1


def test_a_drafter_that_does_not_ask_is_cut_to_the_same_length():
    for h in (0.0, 0.1, 0.2, 0.3, 0.5, 1.0):
        chain = Tree.chain([1] * 4)
        chain.scores = list(RATES)
        (kept,) = planning(SpecDec(h)).trim([ROW], [chain])
        assert len(kept) == min(4, len(drafted(SpecDec(h), RATES)))
        assert kept.scores == list(RATES[: len(kept)])


def test_a_draft_model_stops_so():
    """A model that is always sure to .9 sends four tokens: 1 − .9⁴ = .344."""
    sure = TableModel(4, lambda path: [math.log(0.9 if t == (path[-1] + 1) % 4 else 0.1 / 3) for t in range(4)])
    twin = TableModel(4, sure.rule)
    row = decode(sure, [[0]], drafter=DraftModel(twin), planner=SpecDec(0.3), new_tokens=25)[0]
    assert [len(step.drafted) for step in row.steps] == [4] * 5
    assert row.counters.accepted == 20


def test_in_a_tree_the_likeliest_path_of_the_deepest_level_counts():
    tree = Tree()
    tree.add(1, ROOT, score=0.5)
    tree.add(2, ROOT, score=0.4)
    tree.add(3, 1, score=0.9)  # .36
    (room,) = planning(SpecDec(0.65, least=1)).rooms([ROW])
    assert room.more(tree)
    (room,) = planning(SpecDec(0.63, least=1)).rooms([ROW])
    assert not room.more(tree)


def test_the_calibrated_estimator_learns_and_is_kept_for_the_next_decode():
    context = Context(None, SimulatedClock(), lambda name: None)
    settings = SpecDec(0.3, least=1, estimator="calibrated")
    plan = settings.begin(context, Drafting("s", lambda row: None))
    tree = Tree.chain([1], score=0.95)
    assert plan.rooms([ROW])[0].more(tree)
    for _ in range(50):
        plan.learn(ROW, tree, Outcome(tree, [], [0]), 0.0)
    assert not plan.rooms([ROW])[0].more(tree)
    again = settings.begin(context, Drafting("s", lambda row: None))
    assert not again.rooms([ROW])[0].more(tree)
    other = settings.begin(context, Drafting("other", lambda row: None))
    assert other.rooms([ROW])[0].more(tree)


class Oracle:
    """Knows what will be accepted: the hidden truth stands in the tokens."""

    def rates(self, tree):
        return [float(token == 1) for token in tree.tokens]

    def learn(self, tree, committed):
        pass


def speed(settings: SpecDec, cost: float) -> float:
    """Tokens per second, a target forward taking 1 and a drafted token `cost`, over texts easy and hard.

    Stretches of text differ in how often a draft is right; the draft knows that roughly.
    """
    chance, committed, seconds = random.Random(0), 0, 0.0
    plan = planning(settings)
    for _ in range(800):
        (room,) = plan.rooms([ROW])
        tree = Tree()
        easy = chance.random() < 0.5
        right = []
        for at in range(20):  # the same draws for all settings, however long they draft
            truth = min(1.0, max(0.0, (0.95 if easy else 0.35) + chance.uniform(-0.04, 0.04)))
            right.append((truth, chance.random() < truth))
        while len(tree) < room.nodes:
            truth, accepted = right[len(tree)]
            tree.add(1 if accepted else 2, len(tree) - 1, score=truth)
            if not room.more(tree):
                break
        hits = next((at for at, token in enumerate(tree.tokens) if token == 2), len(tree))
        committed += 1 + hits
        seconds += 1.0 + cost * len(tree)
    return committed / seconds


@pytest.mark.parametrize("cost", [0.05, 0.15, 0.3])
def test_the_threshold_beats_the_best_constant_length_and_an_oracle_beats_both(cost):
    constant = max(speed(SpecDec(1.0, least=1, most=k), cost) for k in (1, 2, 3, 4, 6, 8, 12))
    threshold = max(speed(SpecDec(h, least=1), cost) for h in (0.1, 0.2, 0.3, 0.5, 0.7))
    oracle = speed(SpecDec(0.5, least=1, estimator=Oracle()), cost)
    assert 1.03 * constant < threshold < oracle


def test_text_form_and_mistakes():
    assert method.parse("draft+specdec(0.5,most=8,estimator=calibrated)").plan == SpecDec(
        0.5, most=8, estimator="calibrated"
    )
    for settings in ({"h": 1.5}, {"least": 0}, {"least": 5, "most": 4}, {"estimator": "gut"}):
        with pytest.raises(InvalidRequest) as caught:
            SpecDec(**settings)
        assert caught.value.hint


def test_scores_are_taken_as_they_are():
    tree = Tree.chain([1, 2, 3])
    tree.scores = [0.9, 0.2, 0.4]
    assert [*Scores().rates(tree)] == tree.scores


def test_the_calibrated_estimator_learns_what_a_score_is_worth():
    """Binned error below .05 on drafts that are accepted half as often as they say."""
    estimator, chance = Calibrated(fade=1.0), random.Random(0)
    tree = Tree.chain([1])
    for _ in range(6000):
        tree.scores = [chance.random()]
        committed = [1, 0] if chance.random() < tree.scores[0] / 2 else [0]
        estimator.learn(tree, committed)
    for place in range(10):
        tree.scores = [(place + 0.5) / 10]
        assert estimator.rates(tree)[0] == pytest.approx(tree.scores[0] / 2, abs=0.05)
    tree.scores = [1.0]
    assert 0.4 < estimator.rates(tree)[0] < 0.55
