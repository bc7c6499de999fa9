from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from laws.worlds import random_tree
from speculate.drafters.growing import GREEDY, SMALL, STEERED, TARGET, WARM, V, Watched, distribution, held, row_of
from stretto.context import Context
from stretto.errors import Unsupported
from stretto.models.clock import SimulatedClock
from stretto.models.contract import Ability
from stretto.models.table import TableModel
from stretto.models.vocabulary import NEVER
from stretto.speculate.contract import Room
from stretto.speculate.small_model import CHUNK, SmallModel
from stretto.tree import ROOT


def second(model=SMALL, target=TARGET, needs=Ability.TREE):
    return SmallModel(Context(target, SimulatedClock(), lambda name: model), model, needs)


@pytest.mark.parametrize("seed", range(4))
def test_it_reads_any_nodes_of_a_growing_trie(seed):
    """Rows of unequal length, nodes in any order, ancestors or not, twice, over rounds that accept some of them."""
    chance = random.Random(seed)
    watched = Watched(SMALL)
    two = second(watched)
    rows = [row_of([chance.randrange(V) for _ in range(size)]) for size in (1, 4, 9)]
    drafts = [two.open(row) for row in rows]
    for _ in range(6):
        trees = [random_tree(row.history.tokens, Room(9, 4), V, seed, chance.randrange(10)) for row in rows]
        places = []
        for draft, tree in zip(drafts, trees, strict=True):
            draft.begin()
            nodes = [ROOT]
            for token, parent in zip(tree.tokens, tree.parents, strict=True):
                nodes.append(draft.node(token, nodes[parent + 1]))
            places.append(nodes)
        for _ in range(3):
            wanted = [chance.choices(nodes, k=chance.randint(1, 4)) for nodes in places]
            lines = iter(two.read(drafts, wanted))
            for draft, nodes in zip(drafts, wanted, strict=True):
                for node in nodes:
                    path = [*draft.row.history.tokens, *draft.path(node).drafted]
                    assert next(lines).tolist() == SMALL.rule(tuple(path))
            assert next(lines, None) is None
        for row, draft, tree in zip(rows, drafts, trees, strict=True):
            committed = [*tree.path_tokens(chance.randrange(ROOT, len(tree))), chance.randrange(V)]
            row.history.extend(committed)
            draft.advance(committed)
            assert held(draft) == row.history.tokens[: len(held(draft))]
            assert len(held(draft)) < len(row.history.tokens)


def test_what_was_evaluated_and_committed_is_not_evaluated_again():
    watched = Watched(SMALL)
    two = second(watched)
    row = row_of([0, 1, 2])
    draft = two.open(row)
    two.read([draft], [[ROOT]])
    other, first = draft.node(2), draft.node(1)
    two.read([draft], [[other, first]])
    below = draft.node(3, first)
    (line,) = two.read([draft], [[below]])  # the only path left goes through a node that stands second in the cache
    assert line.tolist() == SMALL.rule((0, 1, 2, 1, 3))
    lowest = draft.node(0, below)
    two.read([draft], [[lowest]])
    assert watched.windows == [3, 2, 1, 1]
    row.history.extend([1, 3, 0, 2])
    draft.advance([1, 3, 0, 2])
    assert held(draft) == [0, 1, 2, 1, 3, 0]
    two.read([draft], [[ROOT]])
    assert watched.windows[4:] == [1]
    two.read([draft], [[ROOT]])  # asked twice
    assert watched.windows[5:] == [1] and held(draft) == row.history.tokens


def test_paths_that_part_evaluate_what_they_share_once():
    watched = Watched(SMALL)
    two = second(watched)
    draft = two.open(row_of([0]))
    two.read([draft], [[ROOT]])
    top = draft.node(1)
    two.read([draft], [[top]])
    left, right = draft.node(2, top), draft.node(3, top)
    two.read([draft], [[left, right]])
    leaves = [draft.node(0, left), draft.node(0, right)]
    two.read([draft], [leaves])
    assert watched.windows == [1, 1, 2, 4]  # the last: two parents again, two leaves; not the top


def test_a_long_prompt_is_read_in_pieces():
    watched = Watched(TableModel(V, lambda path: [0.0, 1.0, 2.0, float(len(path))]))
    two = second(watched)
    long, short = row_of([1] * (2 * CHUNK + 3)), row_of([2, 2])
    lines = two.read([two.open(long), two.open(short)], [[ROOT], [ROOT]])
    assert lines[:, 3].tolist() == [2 * CHUNK + 3, 2]
    assert watched.windows == [CHUNK, CHUNK, 3 + 2]


def test_reciting_gives_all_logits_of_the_prompt():
    two = second()
    draft = two.open(row_of([0, 1, 2, 3]))
    ((logits, start),) = two.recite(draft)
    assert start == 0 and logits.tolist() == [SMALL.rule(path) for path in ((0,), (0, 1), (0, 1, 2))]
    assert list(two.recite(draft)) == []


@pytest.mark.parametrize("columns", [200, 199, 201])
def test_logits_are_told_in_the_targets_vocabulary(columns):
    wide = TableModel(columns, lambda path: [float(token) for token in range(columns)])
    two = second(wide, TableModel(200, lambda path: [0.0] * 200))
    (line,) = two.read([two.open(row_of([0]))], [[ROOT]])
    assert line.tolist() == [float(token) if token < columns else NEVER for token in range(200)]


def test_rows_are_steered_by_their_own_rules():
    two = second()
    rows = [row_of([0, 1, 1], pipeline) for pipeline in (STEERED, GREEDY, WARM, STEERED)]
    drafts = [two.open(row) for row in rows]
    two.read(drafts, [[ROOT]] * 4)
    wanted = [[draft.node(3), draft.node(2)] for draft in drafts]
    logits = two.read(drafts, wanted)
    steered = two.steer(logits, drafts, wanted)
    expected = [distribution(SMALL, row, [token]) for row in rows for token in (3, 2)]
    assert torch.allclose(steered.softmax(-1), torch.tensor(np.array(expected)), atol=1e-12)


def test_a_fork_reads_on_without_what_is_drafted():
    two = second()
    row = row_of([0, 1])
    draft = two.open(row)
    two.read([draft], [[ROOT]])
    two.read([draft], [[draft.node(3)]])
    copy = draft.fork(row_of([0, 1]))
    assert held(copy) == [0, 1] and held(draft) == [0, 1, 3]
    copy.row.history.extend([2])
    copy.advance([2])
    assert two.read([copy], [[ROOT]])[0].tolist() == SMALL.rule((0, 1, 2))
    assert two.read([draft], [[draft.node(2, draft.node(3))]])[0].tolist() == SMALL.rule((0, 1, 3, 2))
    copy.close()


def test_what_does_not_fit_is_refused():
    with pytest.raises(Unsupported, match="the second model 'table-5' has 5 tokens") as caught:
        second(TableModel.random(5, seed=0))
    assert "lookup" in caught.value.hint
    chain_only = TableModel.random(V, seed=0)
    chain_only.abilities = Ability.NONE
    second(chain_only, needs=Ability.NONE)
    with pytest.raises(Unsupported, match="cannot evaluate trees") as caught:
        second(chain_only)
    assert "sampled" in caught.value.hint
