from __future__ import annotations

import itertools
import random

import pytest

from stretto.context import Context
from stretto.errors import InvalidRequest
from stretto.models.clock import SimulatedClock
from stretto.speculate.contract import NO_ROOM, Drafting, Outcome
from stretto.speculate.economy.decision import LONGEST
from stretto.speculate.economy.shapes import likeliest
from stretto.speculate.planners.sparse import Sparse
from stretto.tree import Tree


def planning(settings: Sparse, start: float = 1.0, per_token: float = 0.05):
    drafting = Drafting("s", lambda row: None)
    drafting.free = False
    return settings.begin(Context(None, SimulatedClock(start, per_token), lambda name: None), drafting)


def filled(shape) -> Tree:
    tree, ranks = Tree(), {}
    for parent in shape or ():
        ranks[parent] = ranks.get(parent, -1) + 1
        tree.add(ranks[parent], parent)
    return tree


def run(plan, table, rounds: int, level_seconds: float = 0.0, rows: int = 1):
    """Rounds in which the child of a rank is right by the table [depth][rank]; the last room."""
    chance = random.Random(0)
    for _ in range(rounds):
        rooms = plan.rooms(range(rows))
        for row, room in enumerate(rooms):
            tree = filled(room.shape)
            committed = [chance.choices(range(4), [*table[d], 1 - sum(table[d])])[0] for d in range(6)]
            plan.learn(row, tree, Outcome(tree, [], committed), level_seconds * room.depth / rows)
    return plan.rooms(range(rows))[0]


TABLE = [(0.7, 0.15, 0.05)] * 2 + [(0.2, 0.15, 0.1)] * 4


@pytest.mark.parametrize("level_seconds", [0.0, 0.1, 0.5])
def test_size_and_depth_are_the_best_by_enumeration(level_seconds):
    plan = planning(Sparse(most=12, depth=4, width=3))
    run(plan, TABLE, 300, level_seconds)
    plan.settle(usual=True)
    shape, best = plan.choose(), 1.0
    for depth in range(1, 5):
        whole = likeliest(plan._known.rates.of, 12, depth, 3)
        for nodes in range(1, 13):
            part = whole.first(nodes)
            cost = 1.0 + 0.05 * nodes + part.depth * (plan._known.level.seconds or 0.0)
            best = max(best, (1 + sum(part.values)) / cost)
    cost = 1.0 + 0.05 * len(shape.parents) + shape.depth * (plan._known.level.seconds or 0.0)
    assert (1 + sum(shape.values)) / cost == pytest.approx(best)


def test_rates_are_learnt_by_depth():
    plan = planning(Sparse(most=12, depth=4, width=3, fade=1.0))
    run(plan, TABLE, 600)
    assert plan._known.rates.of(1, 0) == pytest.approx(0.7, abs=0.06)
    assert plan._known.rates.of(3, 0) == pytest.approx(0.2, abs=0.1)


def test_dearer_levels_make_shallower_trees_and_bigger_batches_smaller_ones():
    depths = [run(planning(Sparse(depth=6)), [(0.8, 0.1, 0.0)] * 6, 100, s).depth for s in (0.001, 0.2, 0.9)]
    assert depths == sorted(depths, reverse=True) and depths[0] > depths[-1]
    sizes = []
    for rows in (1, 4, 16):
        plan = planning(Sparse())
        run(plan, TABLE, 100, rows=rows)
        sizes.append(len(plan.choose().parents))
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > sizes[-1]


def test_decisions_stand_for_a_while():
    """Thinking again costs milliseconds: after 1, 2, 4, 8 and then every 16 rounds."""
    plan = planning(Sparse())
    thought = []
    choose = plan.choose
    plan.choose = lambda: thought.append(0) or choose()
    for _ in range(1 + 2 + 4 + 8 + 16 + 16):
        plan.rooms([None])
    assert len(thought) == 6
    plan.rooms([None, None])
    plan.rooms([None, None])
    assert len(thought) in (7, 8)  # another batch, another decision


def test_a_hopeless_drafter_pauses_and_comes_back():
    plan = planning(Sparse(fade=0.8), per_token=0.4)
    run(plan, [(0.0, 0.0, 0.0)] * 6, 60)
    tried = []
    for at in range(600):
        (room,) = plan.rooms([None])
        if room != NO_ROOM:
            tried.append(at)
            tree = filled(room.shape)
            plan.learn(None, tree, Outcome(tree, [], [3]), 0.0)
    gaps = [b - a for a, b in itertools.pairwise(tried)]
    assert 3 <= len(tried) <= 12 and gaps == sorted(gaps) and gaps[-1] == 1 + LONGEST
    room = run(plan, [(1.0, 0.0, 0.0)] * 6, 400)  # the text has changed
    assert room.nodes >= 2


@pytest.mark.parametrize("settings", [{"most": 0}, {"depth": 0}, {"width": 0}, {"fade": 0.0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(InvalidRequest):
        Sparse(**settings)
