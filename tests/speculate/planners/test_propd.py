from __future__ import annotations

import random

import pytest

from stretto.context import Context
from stretto.errors import InvalidRequest
from stretto.models.clock import SimulatedClock
from stretto.speculate.contract import Drafting, Outcome
from stretto.speculate.economy.shapes import likeliest
from stretto.speculate.planners.propd import Line, ProPD
from stretto.tree import Tree


class Rounds:
    """A world in which a round of n nodes takes a + b · n, whatever the clock believes."""

    def __init__(self, a: float, b: float, settings: ProPD, clock=SimulatedClock(1.0, 0.05), free: bool = False):
        self.a, self.b = a, b
        drafting = Drafting("s", lambda row: None)
        drafting.free = free
        context = Context(None, clock, lambda name: None)
        self.plan = settings.begin(context, drafting)

    def run(self, rounds: int, rate: float, rows: int = 1) -> list[int]:
        """Decode with children accepted in rank order by a falling chance; the nodes of each round."""
        chance, sizes = random.Random(0), []
        for _ in range(rounds):
            shapes = [room.shape or () for room in self.plan.rooms(range(rows))]
            trees = [filled(shape) for shape in shapes]
            trees = self.plan.trim(range(rows), trees)
            sizes.append(len(trees[0]))
            seconds = self.a / rows + self.b * len(trees[0])  # a row's share
            for row, tree in enumerate(trees):
                committed = [0 if chance.random() < rate else 1 + (chance.random() < 0.5) for _ in range(6)]
                self.plan.learn(row, tree, Outcome(tree, [], committed, seconds=seconds), 0.0)
        return sizes


def filled(shape) -> Tree:
    """The shape with each node's rank among its siblings as its token."""
    tree, ranks = Tree(), {}
    for parent in shape:
        ranks[parent] = ranks.get(parent, -1) + 1
        tree.add(ranks[parent], parent)
    return tree


def test_the_regression_recovers_the_planted_line():
    line, chance = Line(0.9), random.Random(0)
    assert line.fit() is None and line.mean is None
    line.add(5, 1.0)
    assert line.fit() is None and line.mean == (5, 1.0)  # one size: no slope
    for _ in range(40):
        nodes = chance.randrange(60)
        line.add(nodes, 0.02 + 0.003 * nodes)
    assert line.fit() is not None
    line = Line(0.9)
    for _ in range(40):
        nodes = chance.randrange(60)
        line.add(nodes, 0.02 + 0.003 * nodes)
    assert line.fit() == pytest.approx((0.02, 0.003))


def test_recent_rounds_weigh_more():
    line = Line(0.8)
    for a, b in ((1.0, 0.5), (2.0, 0.1)):
        for nodes in range(40):
            line.add(nodes % 7, a + b * (nodes % 7))
    assert line.fit() == pytest.approx((2.0, 0.1), abs=0.01)


def test_noise_never_makes_the_slope_fall():
    line = Line(1.0)
    for nodes, seconds in ((1, 2.0), (9, 1.0), (4, 1.4)):
        line.add(nodes, seconds)
    intercept, slope = line.fit()
    assert slope == 0.0 and intercept == pytest.approx((2.0 + 1.0 + 1.4) / 3)


@pytest.mark.parametrize(("a", "b"), [(1.0, 0.01), (1.0, 0.05), (1.0, 0.3)])
def test_the_size_is_the_best_by_brute_force(a, b):
    world = Rounds(a, b, ProPD(most=24))
    world.run(300, 0.6)
    world.plan.rooms([None])
    fitted = world.plan._lines[1].fit()
    assert fitted is None or fitted == pytest.approx((a, b), rel=1e-3)
    shape = world.plan.choose()
    whole = likeliest(world.plan._known.rates.of, 24, 5, 10)
    yields = [(1 + sum(whole.values[:n])) / world.plan.cost(n) for n in range(25)]
    assert len(shape.parents) == yields.index(max(yields))


def test_the_size_falls_as_nodes_grow_dearer_and_as_the_batch_grows():
    by_price = [Rounds(1.0, b, ProPD(most=48)).run(200, 0.6)[-1] for b in (0.002, 0.03, 0.3)]
    assert by_price == sorted(by_price, reverse=True) and by_price[0] > by_price[-1] > 0
    by_rows = [Rounds(1.0, 0.01, ProPD(most=48)).run(200, 0.6, rows)[-1] for rows in (1, 4, 32)]
    assert by_rows == sorted(by_rows, reverse=True) and by_rows[0] > by_rows[-1]


def test_measured_rounds_count_more_than_the_clock():
    """The clock believes that two nodes cost a whole forward; the rounds say that it costs next to nothing."""
    world = Rounds(1.0, 0.001, ProPD(most=16), clock=SimulatedClock(1.0, 0.5))
    sizes = world.run(200, 0.8)
    assert sizes[0] < 8 < sizes[-1]


def test_before_slopes_are_seen_the_clocks_curve_is_scaled():
    world = Rounds(10.0, 0.0, ProPD(most=8), clock=SimulatedClock(1.0, 0.1))
    world.plan.rooms([None])
    assert world.plan.cost(4) == pytest.approx(1.4)
    for seconds in (50.0, 2.4):  # in the first round the drafter reads the prompt: that does not count
        world.plan.trim([None], [Tree.chain([1] * 2)])
        world.plan.learn(None, Tree.chain([1] * 2), Outcome(Tree(), [], [0], seconds=seconds), 1.0)
        world.plan.rooms([None])
    assert world.plan.cost(2) == pytest.approx(2.4) and world.plan.cost(4) == pytest.approx(2.8)


def test_a_free_drafter_is_trimmed_by_the_measured_line():
    world = Rounds(1.0, 0.0, ProPD(most=8), clock=SimulatedClock(1.0, 0.05), free=True)
    (room,) = world.plan.rooms([None])
    assert (room.nodes, room.depth, room.shape) == (8, 5, None)
    chain = Tree.chain([1] * 5)
    (kept,) = world.plan.trim([None], [chain])  # 2.306 tokens in 1.20 seconds, or 2.383 in 1.25
    assert len(kept) == 4
    dear = Rounds(1.0, 0.0, ProPD(most=8), clock=SimulatedClock(1.0, 5.0), free=True)
    dear.plan.rooms([None])
    assert dear.plan.trim([None], [chain]) == [Tree()]


def test_each_round_is_one_observation_of_its_own_batch():
    world = Rounds(1.0, 0.0, ProPD(most=8, recent=1.0), clock=SimulatedClock(1.0, 0.1))
    world.run(4, 0.5, rows=2)
    world.plan.rooms(range(4))
    assert list(world.plan._lines) == [2] and world.plan._lines[2]._weight == 3.0  # all but the first
    assert world.plan.cost(1) == pytest.approx(1.7)  # nothing is known of four rows: the clock's 1 + .1 · 7


def test_a_round_is_as_large_as_its_largest_tree():
    world = Rounds(1.0, 0.0, ProPD(most=8))
    trees = [Tree.chain([1]), Tree.chain([1] * 4)]
    for _ in range(2):  # in the first the drafter reads the prompts
        world.plan.rooms("ab")
        world.plan.trim("ab", trees)
        for row, tree in zip("ab", trees, strict=True):
            world.plan.learn(row, tree, Outcome(tree, [], [0], seconds=1.25), 0.25)
    world.plan.rooms("ab")
    assert world.plan._lines[2].mean == (4.0, 2.5)


def test_a_line_by_which_plain_rounds_take_no_time_is_not_believed():
    """Rounds of 4 and 8 nodes took 1 and 5 seconds: by the line, one of none would take -3."""
    world = Rounds(1.0, 0.0, ProPD(most=8), clock=SimulatedClock(1.0, 0.1))
    world.plan.rooms([None])
    line = world.plan._lines.setdefault(1, Line(1.0))
    for nodes, seconds in ((4, 1.0), (8, 5.0)):
        line.add(nodes, seconds)
    assert line.fit() == pytest.approx((-3.0, 1.0))
    assert world.plan.cost(0) == pytest.approx(1.0 * 3.0 / 1.6)  # the clock's curve, scaled to the mean of both
    assert world.plan.cost(4) == pytest.approx(1.4 * 3.0 / 1.6)


@pytest.mark.parametrize("settings", [{"most": 0}, {"depth": 0}, {"width": 0}, {"fade": 1.5}, {"recent": 0.0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(InvalidRequest):
        ProPD(**settings)
