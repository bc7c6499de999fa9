from __future__ import annotations

import itertools
import math
import random
from dataclasses import replace

import pytest

from laws.worlds import GREEDY
from stretto.context import Context
from stretto.errors import InvalidRequest
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.row import Limits, Row
from stretto.speculate.contract import Drafting
from stretto.speculate.drafters.tree import DraftTree
from stretto.speculate.economy.pruning import reaches
from stretto.speculate.planners.opt_tree import OptTree
from stretto.steer.choice import Rule
from stretto.steer.path import History
from stretto.steer.pipeline import Pipeline
from stretto.steer.temperature import Temperature
from stretto.tree import ROOT, NodeKind, Tree

Q = (0.6, 0.3, 0.1)
ROW = Row(History([0]), -1, Rule(GREEDY, 0, 0), Limits(99))


def planning(settings: OptTree):
    return settings.begin(Context(None, SimulatedClock(), lambda name: None), Drafting("s", lambda row: None))


def grown(settings: OptTree, draft=lambda path: Q, keep_all: bool = True) -> tuple[Tree, int]:
    """The layerwise drafter: the best n of each level are expanded. The tree sent, and how deep drafting went."""
    plan = planning(settings)
    (room,) = plan.rooms([ROW])
    tree, layer, depth = Tree(), [ROOT], 0
    while depth < room.depth:
        depth += 1
        for parent in layer:
            for token, score in enumerate(draft(tree.path_tokens(parent))):
                tree.add(token, parent, score=score)
        values = reaches(tree)
        layer = sorted((n for n in range(len(tree)) if tree.depths[n] == depth), key=lambda n: -values[n])[: room.nodes]
        if not keep_all:  # a drafter that forgets what cannot be among the best any more
            best = sorted(range(len(tree)), key=lambda n: (-values[n], n))[: room.nodes]
            renamed = {node: at for at, node in enumerate(sorted(best))}
            tree = tree.prune(best)
            layer = [renamed[node] for node in layer if node in renamed]
        if not room.more(tree):
            break
    (kept,) = plan.trim([ROW], [tree])
    return kept, depth


def test_expected_lengths_are_the_reference_numbers():
    sums = [sum(reaches(grown(OptTree(nodes, delta=0.0))[0])) for nodes in range(1, 8)]
    assert sums == pytest.approx([0.6, 0.96, 1.26, 1.476, 1.656, 1.836, 1.9656])


@pytest.mark.parametrize("keep_all", [True, False])
def test_growth_stops_where_a_level_adds_too_little(keep_all):
    """With five nodes E is 1.0, 1.62, 1.656 after one to three levels."""
    tree, depth = grown(OptTree(5, delta=0.5), keep_all=keep_all)
    assert depth == 3 and len(tree) == 5 and sum(reaches(tree)) == pytest.approx(1.656)
    tree, depth = grown(OptTree(5, delta=0.7), keep_all=keep_all)
    assert depth == 2 and sum(reaches(tree)) == pytest.approx(1.62)
    assert grown(OptTree(5, delta=0.01, depth=4), keep_all=keep_all)[1] <= 4


def test_a_drafter_of_trees_grows_so():
    """The real one, on a draft model that always gives .6, .3, .1; the tree is cut to the best nodes as it grows."""
    model = TableModel(3, lambda path: [math.log(q) for q in Q])
    for nodes, delta, expected, depth in ((5, 0.5, 1.656, 3), (5, 0.7, 1.62, 2), (7, 0.0, 1.9656, 4)):
        drafting = DraftTree(width=nodes, model=model).begin(Context(model, SimulatedClock(), lambda name: model))
        row = Row(History([0]), -1, Rule(Pipeline([Temperature(1.0)]), 0, 0), Limits(99))
        plan = planning(OptTree(nodes, delta=delta))
        (room,) = plan.rooms([row])
        asked = []
        watched = replace(room, more=lambda tree, room=room, asked=asked: asked.append(tree) or room.more(tree))
        (tree,) = plan.trim([row], drafting.propose([drafting.open(row)], [watched]))
        assert len(tree) == nodes and sum(reaches(tree)) == pytest.approx(expected)
        assert len(asked) == depth or max(tree.depths) == depth


def test_a_room_may_be_asked_about_twice():
    (room,) = planning(OptTree(5, delta=0.5)).rooms([ROW])
    first = Tree()
    for token, score in enumerate(Q):
        first.add(token, score=score)
    assert room.more(first) and room.more(first)


def conditional(path) -> list[float]:
    chance = random.Random(str(path))
    weights = [chance.random() for _ in range(3)]
    return [weight / sum(weights) for weight in weights]


@pytest.mark.parametrize("nodes", range(1, 7))
def test_the_tree_is_the_best_of_all_trees(nodes):
    """By enumeration, for a draft that depends on its context."""
    kept, _ = grown(OptTree(nodes, delta=0.0), conditional)
    best = 0.0
    paths = [path for depth in range(1, 4) for path in itertools.product(range(3), repeat=depth)]
    value = {(): 1.0}
    for path in paths:
        value[path] = value[path[:-1]] * conditional(list(path[:-1]))[path[-1]]
    likely = sorted(paths, key=lambda path: -value[path])[:14]  # enough: the best tree is among them
    for chosen in itertools.combinations(likely, nodes):
        if all(path[:-1] in (*chosen, ()) for path in chosen):
            best = max(best, sum(value[path] for path in chosen))
    assert max(kept.depths) > 3 or sum(reaches(kept)) == pytest.approx(best)
    assert sum(reaches(kept)) >= best - 1e-12


def test_with_the_draft_as_target_the_mean_accepted_length_is_the_expected_one():
    tree, _ = grown(OptTree(6, delta=0.0), conditional)
    chance, accepted = random.Random(3), 0
    for _ in range(8000):
        node, path = ROOT, []
        while True:
            token = chance.choices(range(3), conditional(path))[0]
            child = tree.child_bearing(node, token)
            if child is None:
                break
            node, accepted = child, accepted + 1
            path.append(token)
    assert accepted / 8000 == pytest.approx(sum(reaches(tree)), rel=0.03)


def test_an_exponent_below_one_trusts_a_shy_draft_and_grows_deeper():
    depths = [grown(OptTree(5, delta=0.5, exponent=exponent))[1] for exponent in (2.0, 1.0, 0.5)]
    assert depths == sorted(depths) and depths[0] < depths[-1]


def test_drawn_trees_are_left_whole():
    tree = Tree()
    tree.add(0, score=0.1, proposal=NodeKind.SAMPLED)
    tree.add(1, score=0.9, proposal=NodeKind.SAMPLED)
    assert planning(OptTree(1)).trim([ROW], [tree]) == [tree]


def test_rows_do_not_share_their_growth():
    one, two = planning(OptTree(5)).rooms([ROW, ROW])
    assert one.more is not two.more


@pytest.mark.parametrize("settings", [{"nodes": 0}, {"depth": 0}, {"delta": -0.1}, {"exponent": 0.0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(InvalidRequest):
        OptTree(**settings)
