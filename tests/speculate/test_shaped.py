from __future__ import annotations

import pytest

from stretto.context import Context
from stretto.models.clock import SimulatedClock
from stretto.speculate.contract import Drafting, Outcome, Room
from stretto.speculate.estimate import RankRates, Shape
from stretto.speculate.shaped import Known, LevelCost, ShapedPlanning, most_paying
from stretto.tree import ROOT, Tree


class Told(ShapedPlanning):
    """A planner whose decision is told to it."""

    told = Shape((ROOT, 0, ROOT), (0.6, 0.3, 0.2))

    def choose(self) -> Shape:
        return self.told


def planning(free: bool = False, room: Room = Room(8, 4), kind: type[Told] = Told) -> Told:
    drafting = Drafting("s", lambda row: None)
    drafting.free = free
    known = Known(RankRates(by_depth=True, fade=0.9), LevelCost())
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


def test_a_level_costs_the_least_of_late():
    cost = LevelCost()
    for share in (0.2, 0.1):  # two rows, of two and one levels
        cost.add(share, Tree.chain([1] * (2 if share == 0.2 else 1)))
    assert cost.seconds is None
    cost.settle()
    assert cost.seconds == pytest.approx(0.15)
    cost.settle()
    assert cost.seconds == pytest.approx(0.15)  # nothing was drafted
    cost.add(0.05, Tree.chain([1]))
    cost.settle()
    assert cost.seconds == pytest.approx(0.05)
    cost.add(7.0, Tree.chain([1]))  # a hiccup
    cost.settle()
    assert cost.seconds == pytest.approx(0.0525)
    cost.add(0.001, Tree.chain([1]))
    cost.settle(usual=False)
    assert cost.seconds == pytest.approx(0.0525)
    cost.add(3.0, Tree())  # whoever drafted nothing tells nothing of a level
    cost.settle()
    assert cost.seconds == pytest.approx(0.0525)


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
    assert plan._known.rates.rate(1, 0) == 0.6 and plan._known.rates.seen == {}
