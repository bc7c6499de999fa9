from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from laws.branching import table
from laws.worlds import decode, plainly
from speculate.drafters.growing import GREEDY, SMALL, STEERED, TARGET, WARM, V, Watched, begin, grown, row_of
from stretto.errors import InvalidRequest
from stretto.models.table import TableModel
from stretto.speculate.contract import Room
from stretto.speculate.drafters.model import DraftModel
from stretto.speculate.drafters.tree import DraftTree
from stretto.speculate.planners.fixed import Fixed
from stretto.speculate.planners.opt_tree import OptTree
from stretto.tree import ROOT, NodeKind

TARGET_3 = TableModel.random(3, seed=1)
FREE = np.array([0.6, 0.3, 0.1])  # whatever the context


def paths(tree) -> set[tuple[int, ...]]:
    return {tuple(tree.path_tokens(node)) for node in range(len(tree))}


def value(q, path) -> float:
    return math.prod(float(q(path[:at])[token]) for at, token in enumerate(path))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("nodes", [1, 4, 11, 30])
def test_a_wide_tree_is_the_best_of_all(seed, nodes):
    """Brute force over all paths; and a node never stands there without its parent."""
    q = table(("q", seed), 4, 1, 97)
    every = [path for size in range(1, 4) for path in itertools.product(range(4), repeat=size)]
    best = sorted(every, key=lambda path: -value(q, path))[:nodes]
    tree = grown(DraftTree(64), q, Room(nodes, 3), None)
    assert paths(tree) == set(best)
    for node, parent in enumerate(tree.parents):
        assert tree.scores[node] == pytest.approx(float(q(tuple(tree.path_tokens(parent)))[tree.tokens[node]]))
        assert tree.depths[node] == len(tree.path(node)) and parent < node
        assert tree.ranks[node] == tree.children(parent).index(node)
    assert set(tree.proposals) == {NodeKind.POINT}


def published(q, width: int, nodes: int, depth: int, vocabulary: int) -> set[tuple[int, ...]]:
    """The slow reference: expand the best of each level, score all their best continuations, then rank them all."""
    scored: dict[tuple[int, ...], float] = {}
    level = [((), 1.0)]
    for _ in range(depth):
        found = []
        for path, above in level:
            children = sorted(range(vocabulary), key=lambda token: -q(path)[token])[:width]
            found += [((*path, token), above * float(q(path)[token])) for token in children]
        scored |= dict(found)
        level = sorted(found, key=lambda each: -each[1])[:width]
    return set(sorted(scored, key=lambda path: -scored[path])[:nodes])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("width", "nodes", "depth"), [(1, 4, 4), (2, 5, 4), (3, 9, 3), (2, 99, 4)])
def test_it_is_the_published_rule(seed, width, nodes, depth):
    q = table(("q", seed), 5, 1, 997)
    assert paths(grown(DraftTree(width), q, Room(nodes, depth), None)) == published(q, width, nodes, depth, 5)


def test_the_expected_length_by_hand():
    for nodes, expected in enumerate((0.6, 0.96, 1.26, 1.476, 1.656, 1.836, 1.9656), start=1):
        tree = grown(DraftTree(9), lambda path: FREE, Room(nodes, 9), None)
        assert sum(value(lambda path: FREE, path) for path in paths(tree)) == pytest.approx(expected)


def test_a_planner_of_growing_trees_stops_it():
    """E over 5 nodes is 1.0, 1.62, 1.656 at depths 1, 2, 3: the third level adds too little."""
    model = Watched(TableModel(3, lambda path: np.log(FREE).tolist()))
    row = decode(TARGET_3, [[0]], drafter=DraftTree(9, model=model), planner=OptTree(5, 0.5), new_tokens=9)[0]
    assert row.steps[0].drafted == [0, 1, 0, 1, 0] and row.steps[0].parents == [-1, -1, 0, 0, 2]
    assert model.windows[:3] == [1, 3, 5]  # the root; its children; three of theirs with the two above them


def test_nodes_that_cannot_stand_in_the_end_are_not_expanded():
    """The same tree as without that economy, for fewer evaluated tokens; growth ends once all are hopeless."""
    model = Watched(TableModel(4, lambda path: [9.0, 0.0, -9.0, -9.0]))
    drafting = begin(DraftTree(10, model=model))
    (tree,) = drafting.propose([drafting.open(row_of([0]))], [Room(3, 3)])
    assert tree.tokens == [0, 0, 0] and tree.is_chain
    assert model.windows == [1, 3, 1]  # of four children three were in the running, then one of all nine
    flat = Watched(TableModel(4, lambda path: [0.0, 0.0, 0.0, 0.0]))
    drafting = begin(DraftTree(10, model=flat))
    (tree,) = drafting.propose([drafting.open(row_of([0]))], [Room(4, 9)])
    assert tree.depths == [1] * 4 and len(flat.windows) == 2


def test_equal_nodes_stand_as_they_were_seen():
    certain = grown(DraftTree(2), lambda path: np.array([1.0, 0.0, 0.0]), Room(3, 9), None)
    assert certain.tokens == [0, 0, 0] and certain.is_chain
    halves = grown(DraftTree(2), lambda path: np.array([0.5, 0.5]), Room(4, 2), None)
    assert halves.parents == [-1, -1, 0, 0]


def test_excluded_tokens_are_not_guessed():
    drafting = begin(DraftTree(4, model=SMALL))
    row = row_of([0, 1, 2, 2], STEERED)
    (tree,) = drafting.propose([drafting.open(row)], [Room(30, 3)])
    assert min(tree.scores) > 0 and len(tree) < 30


@pytest.mark.parametrize("pipeline", [GREEDY, WARM, STEERED], ids=["greedy", "sampled", "steered"])
def test_coupled_it_begins_with_what_the_rows_noise_would_choose(pipeline):
    """Its likeliest child of each node is the choice that `draft` would make there."""
    for seed in range(6):
        row = row_of([0, 1, 2], pipeline, seed)
        chain = begin(DraftModel(SMALL))
        expected = chain.propose([chain.open(row)], [Room(3, 3)])[0].tokens
        drafting = begin(DraftTree(3, coupled=True, model=SMALL))
        (tree,) = drafting.propose([drafting.open(row)], [Room(12, 3)])
        node = ROOT
        for token in expected:
            children = tree.children(node)
            if not children:
                break
            assert tree.tokens[children[0]] == token and tree.scores[children[0]] == max(
                tree.scores[child] for child in children
            )
            node = children[0]
        assert node != ROOT


def test_without_noise_coupling_changes_nothing():
    plain, coupled = (begin(DraftTree(3, coupled=each, model=SMALL)) for each in (False, True))
    row = row_of([0, 1], GREEDY)
    assert coupled.open(row).propose(Room(9, 4)) == plain.open(row).propose(Room(9, 4))


def test_coupled_trees_hold_more_of_what_is_chosen():
    near = TableModel(V, lambda path: [a + 0.3 * b for a, b in zip(TARGET.rule(path), SMALL.rule(path), strict=True)])
    accepted = []
    for coupled in (False, True):
        rows = decode(
            TARGET,
            [[0, 1], [2]],
            drafter=DraftTree(2, coupled=coupled, model=near),
            planner=Fixed(3, 2),
            pipeline=WARM,
            seed=5,
            new_tokens=60,
        )
        assert [row.new_tokens for row in rows] == [plainly(TARGET, prompt, WARM, 5, 60) for prompt in ([0, 1], [2])]
        accepted.append(sum(row.counters.accepted / row.counters.rounds for row in rows))
    assert accepted[1] > 1.1 * accepted[0]


def test_settings_out_of_range_are_refused():
    with pytest.raises(InvalidRequest) as caught:
        DraftTree(0)
    assert caught.value.hint
