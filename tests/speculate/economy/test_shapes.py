from __future__ import annotations

import itertools
import random

import pytest

from stretto.context import Context
from stretto.models.clock import SimulatedClock
from stretto.speculate.contract import Drafting, Outcome, Room
from stretto.speculate.economy.decision import Price
from stretto.speculate.economy.shapes import ByPlace, Known, Shape, ShapedPlanning, likeliest, most_paying
from stretto.tree import ROOT, Tree


class Told(ShapedPlanning):
    """A planner whose decision is told to it."""

    told = Shape((ROOT, 0, ROOT), (0.6, 0.3, 0.2))

    def choose(self) -> Shape:
        return self.told


def planning(free: bool = False, room: Room = Room(8, 4), kind: type[Told] = Told) -> Told:
    drafting = Drafting("s", lambda row: None)
    drafting.free = free
    known = Known(ByPlace(0.9), Price())
    return kind(Context(None, SimulatedClock(1.0, 0.1), lambda name: None), drafting, known, room)


def test_the_decision_becomes_the_room():
    plan = planning()
    assert plan.rooms([None, None]) == [Room(3, 2, (ROOT, 0, ROOT))] * 2
    assert planning(free=True).rooms([None]) == [Room(8, 4)]  # it takes what there is and trims it
    trees = [Tree.chain([1, 2, 3])]
    assert plan.trim([None], trees) is trees


def test_each_number_of_rows_has_its_own_decision():
    class Counting(Told):
        def choose(self) -> Shape:
            return self.told.first(4 - self._rows)

    plan = planning(kind=Counting)
    sizes = [plan.rooms([None] * rows)[0].nodes for rows in (1, 2, 3, 1, 2)]
    assert sizes == [3, 2, 1, 3, 2]


def test_a_level_costs_what_the_batch_drafted_divided_by_its_deepest_tree():
    plan = planning()
    for rows in (["a", "b"], ["a", "b"]):  # in the first round the prompts are read
        plan.rooms(rows)
        for row, share, levels in (("a", 0.2, 2), ("b", 0.1, 1)):
            tree = Tree.chain([1] * levels)
            plan.learn(row, tree, Outcome(tree, [], [0]), share)
    assert plan._known.level.seconds is None
    plan.rooms(["a"])
    assert plan._known.level.seconds == pytest.approx(0.15)
    plan.learn("a", Tree(), Outcome(Tree(), [], [0]), 3.0)  # whoever drafted nothing tells nothing of a level
    plan.rooms(["a"])
    assert plan._known.level.seconds == pytest.approx(0.15)


def test_rounds_in_which_a_prompt_is_read_do_not_count():
    plan, tree = planning(), Tree.chain([1])
    for rows, seconds in ((["a"], 9.0), (["a"], 0.2), (["a", "b"], 9.0), (["a", "b"], 0.1)):
        plan.rooms(rows)
        for row in rows:
            plan.learn(row, tree, Outcome(tree, [], [0]), seconds / len(rows))
    plan.rooms(["a"])
    assert plan._known.level.seconds == pytest.approx(0.1)
    plan.rooms(["a", "c"])
    for row, drafted in (("a", tree), ("c", Tree())):  # a row that nothing is drafted for has nothing read either
        plan.learn(row, drafted, Outcome(drafted, [], [0]), 0.025)
    plan.rooms(["a"])
    assert plan._known.level.seconds == pytest.approx(0.05)


def test_what_pays_again_is_not_paused_for_its_past():
    plan = planning()
    plan.told = Shape()
    for _ in range(100):
        plan.rooms([None])
    plan.told = Told.told
    for _ in range(17):  # by then the decision has been made anew
        (room,) = plan.rooms([None])
    assert room.nodes == 3
    plan.told = Shape()
    sizes = [plan.rooms([None])[0].nodes for _ in range(24)]
    assert sizes.count(2) >= 2  # trials, soon one after the other


def test_a_trial_keeps_to_the_room():
    for room, nodes in ((Room(8, 4), 2), (Room(1, 1), 1), (Room(8, 1), 1)):
        plan = planning(room=room)
        plan.told = Shape()
        (trial,) = plan.rooms([None])
        assert (trial.nodes, trial.depth) == (nodes, nodes)


def test_most_paying_stops_at_the_best_beginning():
    shape = Shape((ROOT, 0, ROOT), (0.6, 0.36, 0.2))
    assert most_paying(shape, lambda n: 1.0 + 0.2 * n, 0.0)[0].parents == (ROOT, 0)
    assert most_paying(shape, lambda n: 1.0 + 0.2 * n, 0.3)[0].parents == (ROOT,)
    assert most_paying(shape, lambda n: 1.0 + 0.2 * n, 1.0) == (Shape(), 1.0)


def test_an_empty_proposal_teaches_nothing():
    plan = planning()
    plan.rooms([None])
    plan.learn(None, Tree(), Outcome(Tree(), [], [1]), 0.5)
    assert plan._known.rates.of(1, 0) == 0.6 and plan._known.rates.seen == {}


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_the_likeliest_places_are_the_best_tree_of_each_size(depth):
    """By enumeration over all trees of ranks that hold a rank only with the ranks before it."""
    chance = random.Random(depth)
    for _ in range(5):
        table = [sorted((chance.random() for _ in range(3)), reverse=True) for _ in range(depth)]
        shape = likeliest(lambda level, rank: table[level - 1][rank], 6, depth, 3)
        for nodes in range(len(shape.parents) + 1):
            assert sum(shape.values[:nodes]) == pytest.approx(best_by_enumeration(table, nodes, 1.0))


def best_by_enumeration(table, nodes, value):
    """The greatest sum of values of `nodes` nodes under one parent, over all ways to share them."""
    if nodes == 0:
        return 0.0
    if not table:
        return float("-inf")
    best = float("-inf")
    for shares in itertools.product(range(nodes + 1), repeat=len(table[0])):
        used = list(itertools.takewhile(bool, shares))
        if sum(shares) == nodes == sum(used):
            worth = sum(
                value * rate + best_by_enumeration(table[1:], share - 1, value * rate)
                for rate, share in zip(table[0], used, strict=False)
            )
            best = max(best, worth)
    return best


def test_a_rank_is_no_better_than_the_one_before_it():
    shape = likeliest(lambda depth, rank: (0.1, 0.9)[rank], 3, 2, 2)
    assert shape.values[:2] == (0.1, 0.1) and shape.parents[:2] == (ROOT, ROOT)
    assert likeliest(lambda depth, rank: 0.5, 0, 3, 3) == Shape()


def test_a_shape_knows_its_depth_and_children():
    shape = Shape((ROOT, 0, ROOT, 1), (0.6, 0.36, 0.2, 0.2))
    assert shape.depth == 3 and shape.first(1).depth == 1 and Shape().depth == 0
    assert shape.children() == {ROOT: [0, 2], 0: [1], 1: [3]}


def test_rank_rates_find_the_planted_ones():
    rates = ByPlace(1.0, by_depth=False)
    chance = random.Random(0)
    tree = Tree()
    for token in range(3):
        tree.add(token)
    for _ in range(4000):
        token = chance.choices(range(4), [0.5, 0.25, 0.05, 0.2])[0]
        rates.learn(tree, [token])
    for rank, planted in enumerate((0.5, 0.25, 0.05)):
        assert rates.of(1, rank) == pytest.approx(planted, abs=0.03)
        assert rates.of(7, rank) == rates.of(1, rank)


def test_rank_rates_by_depth_and_what_is_unseen():
    rates = ByPlace(0.9)
    assert rates.of(3, 0) == 0.6 and rates.of(3, 1) == 0.2
    chain = Tree.chain([1, 2])
    for _ in range(50):
        rates.learn(chain, [1, 0])
    assert rates.of(1, 0) > 0.9 and rates.of(2, 0) < 0.2
    assert rates.of(5, 0) == rates.of(2, 0)  # like the depth above
    assert rates.reaches(chain) == [rates.of(1, 0), rates.of(1, 0) * rates.of(2, 0)]


def test_what_was_asked_for_and_not_delivered_earned_nothing():
    rates = ByPlace(0.9, by_depth=False)
    shape = Shape((ROOT, ROOT, 0, 0), (0.0,) * 4)
    for _ in range(60):
        rates.learn_asked(Tree.chain([1, 2]), [1, 2, 0], shape.children())
    assert rates.of(1, 0) > 0.9 and rates.of(1, 1) < 0.05 and rates.of(1, 2) == 0.1


def test_what_has_not_been_tried_for_long_is_believed_as_at_first():
    """Else one unlucky trial would keep a depth out of every tree for ever."""
    rates = ByPlace(0.9)
    for _ in range(20):
        rates.learn(Tree.chain([1, 2]), [1, 0])
    low = rates.of(2, 0)
    for _ in range(60):
        rates.learn(Tree.chain([1]), [1, 0])
    assert low < 0.2 and rates.of(2, 0) > 0.8 * rates.of(1, 0)
