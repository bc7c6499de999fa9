from __future__ import annotations

import pytest
import torch

from speculate.drafters.growing import (
    GREEDY,
    SMALL,
    STEERED,
    WARM,
    V,
    Watched,
    begin,
    commit,
    distribution,
    held,
    row_of,
)
from stretto.speculate.contract import Room
from stretto.speculate.drafters.model import DraftModel
from stretto.steer.choice import Rule, choose
from stretto.steer.nodes import Nodes
from stretto.steer.path import History, Path
from stretto.tree import ROOT, Tree


def chosen(tokens, pipeline, seed: int, count: int) -> list[int]:
    """What the small model decodes by itself with the row's rule."""
    history = History(tokens)
    drafted: list[int] = []
    for _ in range(count):
        logits = torch.tensor([SMALL.rule((*tokens, *drafted))], dtype=torch.float64)
        drafted += choose(Nodes([Path(history, tuple(drafted))], logits), [Rule(pipeline, seed, 0)]).tokens
    return drafted


@pytest.mark.parametrize("pipeline", [GREEDY, WARM, STEERED], ids=["greedy", "sampled", "steered"])
def test_the_chain_is_what_the_small_model_would_decode(pipeline):
    """With the row's steers and noise, in every round, whatever was accepted of the one before."""
    drafting = begin(DraftModel(SMALL))
    rows = [row_of(tokens, pipeline, seed) for seed, tokens in enumerate(([0, 1, 2], [3], [1, 1, 2, 2]))]
    sessions = [drafting.open(row) for row in rows]
    for turn in range(5):
        trees = drafting.propose(sessions, [Room(4, 4)] * 3)
        for row, session, tree in zip(rows, sessions, trees, strict=True):
            assert tree.is_chain and tree.sources == ["draft"] * 4
            assert tree.tokens == chosen(row.history.tokens, pipeline, row.rule.seed, 4)
            commit(row, session, tree, turn - 1, (tree.tokens[-1] + turn) % V)


def test_each_token_costs_one_window_of_one_token():
    model = Watched(SMALL)
    drafting = begin(DraftModel(model))
    row = row_of([0, 1, 2])
    session = drafting.open(row)
    tree = session.propose(Room(4, 4))
    assert model.windows == [3, 1, 1, 1]
    commit(row, session, tree, 3, 0)  # all four, of which the cache holds three
    tree = session.propose(Room(4, 4))
    assert model.windows[4:] == [2, 1, 1, 1]
    commit(row, session, tree, 0, (tree.tokens[1] + 1) % V)
    assert held(session.draft) == row.history.tokens[:-1]
    session.propose(Room(1, 9))
    assert model.windows[8:] == [1]


def test_scores_are_probabilities_where_the_planner_watches():
    for pipeline in (GREEDY, WARM, STEERED):
        drafting = begin(DraftModel(SMALL))
        row = row_of([0, 1, 2], pipeline, 4)
        seen = []

        def more(tree: Tree, seen=seen) -> bool:
            seen.append(list(tree.tokens))
            return len(tree) < 3

        (tree,) = drafting.propose([drafting.open(row)], [Room(9, 9, more=more)])
        assert seen == [tree.tokens[:1], tree.tokens[:2], tree.tokens[:3]] and len(tree) == 3
        for node, token in enumerate(tree.tokens):
            p = distribution(SMALL, row if pipeline is not GREEDY else row_of([0, 1, 2], WARM), tree.tokens[:node])
            assert tree.scores[node] == pytest.approx(p[token])
        (unwatched,) = drafting.propose([drafting.open(row)], [Room(3, 3)])
        assert unwatched.tokens == tree.tokens and unwatched.scores == [0.5] * 3


def test_a_row_that_is_asked_for_nothing_falls_behind_and_catches_up():
    drafting = begin(DraftModel(SMALL))
    row = row_of([0, 1])
    session = drafting.open(row)
    for _ in range(3):
        (tree,) = drafting.propose([session], [Room(0, 0)])
        commit(row, session, tree, ROOT, 2)
    assert held(session.draft) == []
    (tree,) = drafting.propose([session], [Room(2, 2)])
    assert tree.tokens == chosen([0, 1, 2, 2, 2], GREEDY, 0, 2)


@pytest.mark.parametrize("pipeline", [GREEDY, WARM, STEERED], ids=["greedy", "sampled", "steered"])
def test_asked_again_it_tells_what_it_would_have_guessed_in_the_meantime(pipeline):
    """Told once, of the tokens committed while it was not asked, by the row's own steers and noise."""
    drafting = begin(DraftModel(SMALL))
    row = row_of([0, 1, 2], pipeline, 3)
    session = drafting.open(row)
    watching = Room(2, 2, more=lambda tree: True)
    commit(row, session, session.propose(watching), ROOT, 1)
    assert list(session.missed()) == []
    before = len(row.history.tokens)
    for token in (2, 0, 3, 3):
        commit(row, session, Tree(), ROOT, token)
    tree = session.propose(watching)
    told = list(session.missed())
    alone = [chosen(row.history.tokens[:at], pipeline, 3, 1)[0] for at in range(before, before + 4)]
    assert [hit for _, hit in told] == [guess == right for guess, right in zip(alone, (2, 0, 3, 3), strict=True)]
    assert all(0 < score <= 1 for score, _ in told)
    assert session.missed() == () and tree.tokens == chosen(row.history.tokens, pipeline, 3, 2)


def test_telling_what_was_missed_costs_no_window_of_its_own():
    model = Watched(SMALL)
    drafting = begin(DraftModel(model))
    row = row_of([0, 1, 2])
    session = drafting.open(row)
    for token in (2, 0, 3):
        commit(row, session, Tree(), ROOT, token)
    session.propose(Room(2, 2, more=lambda tree: True))
    assert model.windows == [6, 1] and len(session.missed()) == 3
