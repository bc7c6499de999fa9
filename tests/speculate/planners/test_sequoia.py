from __future__ import annotations

import itertools
import random

import pytest

from laws.worlds import decode
from stretto.context import Context
from stretto.errors import InvalidRequest
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.speculate.contract import Drafting, Outcome
from stretto.speculate.drafters.rsd import Constant
from stretto.speculate.drafters.tree import DraftTree
from stretto.speculate.planners.sequoia import BestTrees, Given, Sequoia
from stretto.steer.pipeline import Pipeline
from stretto.steer.temperature import Temperature
from stretto.tree import ROOT, Tree

RATES = (0.6, 0.2, 0.1)


def planning(settings: Sequoia, start: float, per_token: float, free: bool = False):
    drafting = Drafting("s", lambda row: None)
    drafting.free = free
    return settings.begin(Context(None, SimulatedClock(start, per_token), lambda name: None), drafting)


def worth(parents, rates) -> float:
    """F by its definition: the root's 1 and for each node the product of the ranks' rates on its path."""
    values, ranks = [], {}
    for parent in parents:
        rank = ranks[parent] = ranks.get(parent, -1) + 1
        values.append(rates[rank] * (1.0 if parent == ROOT else values[parent]))
    return 1.0 + sum(values)


def all_trees(nodes: int, width: int, depth: int):
    """Every tree of that many drafted nodes, as parents; some more than once."""
    for parents in itertools.product(*(range(ROOT, node) for node in range(nodes))):
        depths = []
        for parent in parents:
            depths.append(1 if parent == ROOT else depths[parent] + 1)
        if max(map(parents.count, parents), default=0) <= width and max(depths, default=0) <= depth:
            yield parents


def test_expected_tokens_are_the_reference_numbers():
    expected = BestTrees(RATES, 7, 6).expected[6, 1:8]
    assert expected.tolist() == pytest.approx([1.0, 1.6, 1.96, 2.176, 2.376, 2.5056, 2.6256])


@pytest.mark.parametrize("depth", [1, 2, 3, 6])
@pytest.mark.parametrize("rates", [RATES, (0.3, 0.5, 0.2), (0.9,), (0.0, 0.4)])
def test_the_programme_equals_brute_force(rates, depth):
    """Also where rates do not fall with the rank."""
    trees = BestTrees(rates, 7, depth)
    for nodes in range(1, 8):
        brute = max((worth(t, rates) for t in all_trees(nodes - 1, len(rates), depth)), default=float("-inf"))
        assert trees.expected[depth, nodes] == pytest.approx(brute)
        if brute > 0:
            shape = trees.shape(nodes, depth)
            assert len(shape.parents) == nodes - 1 and shape.depth <= depth
            assert worth(shape.parents, rates) == pytest.approx(brute) == pytest.approx(1 + sum(shape.values))


def test_no_random_tree_is_better():
    chance, trees = random.Random(0), BestTrees(RATES, 24, 8)
    for _ in range(1000):
        parents: list[int] = []
        while len(parents) < 23:
            parent = chance.randrange(ROOT, len(parents))
            if parents.count(parent) < 3:
                parents.append(parent)
        depths = []
        for parent in parents:
            depths.append(1 if parent == ROOT else depths[parent] + 1)
        if max(depths) <= 8:
            assert worth(parents, RATES) <= trees.expected[8, 24] + 1e-12


def test_simulated_tokens_per_round_are_the_expected_ones():
    shape = BestTrees(RATES, 12, 5).shape(12, 5)
    below, chance, committed = shape.children(), random.Random(1), 0
    for _ in range(20000):
        node = ROOT
        while node is not None:
            committed += 1
            children = below.get(node, [])
            rank = chance.choices(range(4), [*RATES, 0.1])[0]
            node = children[rank] if rank < len(children) else None
    assert committed / 20000 == pytest.approx(1 + sum(shape.values), rel=0.02)


@pytest.mark.parametrize("level_seconds", [0.0, 0.05, 0.3])
def test_size_and_depth_are_the_best_by_enumeration(level_seconds):
    plan = planning(Sequoia(RATES, most=6, depth=4), 1.0, 0.08)
    for seconds in (9.0, level_seconds):  # in the first round the drafter reads the prompt: that does not count
        plan.rooms([None])
        plan.learn(None, Tree.chain([1]), Outcome(Tree.chain([1]), [], [0]), seconds)
    plan.rooms([None])
    chosen = plan.choose()
    best = 0.0
    for nodes in range(7):
        for parents in all_trees(nodes, 3, 4):
            depth = 0
            depths = []
            for parent in parents:
                depths.append(1 if parent == ROOT else depths[parent] + 1)
                depth = max(depth, depths[-1])
            best = max(best, worth(parents, RATES) / (1.0 + 0.08 * nodes + depth * level_seconds))
    gain = (1 + sum(chosen.values)) / (1.0 + 0.08 * len(chosen.parents) + chosen.depth * level_seconds)
    assert gain == pytest.approx(best)


def test_nothing_is_asked_for_where_nothing_pays_but_now_and_then():
    plan = planning(Sequoia((0.1,), most=8), 1.0, 0.5)
    sizes = [plan.rooms([None])[0].nodes for _ in range(200)]
    assert set(sizes) == {0, 2} and sizes.count(2) <= 9


def test_the_shape_follows_what_is_accepted():
    """A drafter whose second child is the right one gets siblings; one whose first is gets a chain."""
    for right, chain in ((0, True), (1, False)):
        plan = planning(Sequoia(most=8, depth=4, width=3, fade=0.9), 1.0, 0.05)
        for _ in range(80):
            (room,) = plan.rooms([None])
            tree = Tree()
            counts: dict[int, int] = {}
            for parent in room.shape or ():
                counts[parent] = counts.get(parent, -1) + 1
                tree.add(counts[parent], parent)
            plan.learn(None, tree, Outcome(tree, [], [right] * 5), 0.0)
        parents = plan.rooms([None])[0].shape
        assert (len(set(parents)) == len(parents)) == chain


def test_a_drafter_of_chains_is_soon_asked_for_chains():
    plan = planning(Sequoia(most=8, depth=4, width=3), 1.0, 0.05)
    for _ in range(80):
        (room,) = plan.rooms([None])
        tree = Tree.chain([1] * room.depth)
        plan.learn(None, tree, Outcome(tree, [], [1, 1, 1, 0][: 1 + room.depth]), 0.0)
    parents = plan.rooms([None])[0].shape
    assert len(set(parents)) == len(parents) > 0


@pytest.mark.parametrize("drafter", [DraftTree, Constant])
def test_drafters_of_trees_fill_the_shape(drafter):
    """Every round's tree is one that the programme finds for these rates; what drafting took decides on its size."""
    target, draft = TableModel.random(6, seed=1), TableModel.random(6, seed=2)
    rates, pipeline = (0.5, 0.2, 0.1), Pipeline([Temperature(1.0)])
    row = decode(
        target,
        [[0, 1]],
        drafter=drafter(model=draft),
        planner=Sequoia(rates, most=6, depth=3),
        pipeline=pipeline,
        new_tokens=20,
    )[0]
    trees = BestTrees(rates, 7, 3)
    best = {trees.shape(nodes, depth).parents for depth in (1, 2, 3) for nodes in range(1, 8) if feasible(nodes, depth)}
    shapes = {tuple(step.parents) for step in row.steps[:-4]}  # near the end of the row trees are shallower
    assert shapes <= best and any(len(set(shape)) < len(shape) > 2 for shape in shapes)


def feasible(nodes: int, depth: int) -> bool:
    """Whether three ranks make a tree of that size."""
    return nodes <= sum(3**level for level in range(depth + 1))


def test_a_free_drafter_is_trimmed_to_its_best_places():
    plan = planning(Sequoia((0.5, 0.4), most=8), 1.0, 0.25, free=True)
    assert plan.rooms([None])[0].shape is None
    tree = Tree()
    for token in range(3):
        tree.add(token)
    tree.add(5, 2)
    tree.add(6, 0)
    (kept,) = plan.trim([None], [tree])  # 1.5 / 1.25, then 1.9 / 1.5, then 2.15 / 1.75
    assert kept.tokens == [0, 1]


def test_what_was_learnt_is_kept():
    context = Context(None, SimulatedClock(1.0, 0.05), lambda name: None)
    drafting = Drafting("s", lambda row: None)
    drafting.free = False
    tree = Tree.chain([1, 1])
    first = Sequoia(most=4).begin(context, drafting)
    first.rooms([None])
    for _ in range(300):
        first.learn(None, tree, Outcome(tree, [], [0]), 0.0)
    assert first._known.rates.of(1, 0) < 0.1
    again = Sequoia(most=4).begin(context, drafting)
    assert again._known.rates.of(1, 0) < 0.1
    assert Sequoia(most=4).begin(context, Drafting("t", lambda row: None))._known.rates.of(1, 0) == 0.6


@pytest.mark.parametrize("settings", [{"most": 0}, {"rates": (0.7, 0.6)}, {"rates": (-0.1,)}, {"fade": 0.0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(InvalidRequest) as caught:
        Sequoia(**settings)
    assert caught.value.hint


def test_given_rates_stay():
    rates = Given(RATES)
    rates.learn(Tree.chain([1]), [0])
    assert [rates.of(4, rank) for rank in range(4)] == [*RATES, 0.0]
