"""The planner on a simulated clock: it drafts where that pays and is silent where it does not."""

from __future__ import annotations

import itertools
import operator
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laws.worlds import Guesser, decode, random_tree
from stretto.context import Context
from stretto.models.clock import Clock, SimulatedClock
from stretto.models.table import TableModel
from stretto.speculate.contract import Drafting, Outcome, Room
from stretto.speculate.economy.acceptance import Rate
from stretto.speculate.economy.pruning import keep_paying
from stretto.speculate.planners.cheapest import MARGIN, Cheapest
from stretto.tree import ROOT, Tree

V = 4
TARGET = TableModel(V, lambda path: [float(token == (path[-1] + 1) % V) for token in range(V)])  # counts up


def knowing(hit: float) -> Guesser:
    """Guesses each next token rightly with probability `hit`."""

    def guess(tokens, room):
        chance = random.Random(len(tokens))
        chain, last = [], tokens[-1]
        for _ in range(min(room.nodes, room.depth)):
            last = (last + 1) % V if chance.random() < hit else (last + 2) % V
            chain.append(last)
        return Tree.chain(chain, source="knowing")

    return Guesser(guess)


def planning(start: float, per_token: float, free: bool = True, most: int = 8):
    drafting = Drafting("s", lambda row: None)
    drafting.free = free
    context = Context(TARGET, SimulatedClock(start, per_token), lambda name: TARGET)
    return Cheapest(most).begin(context, drafting)


@pytest.mark.parametrize(("hit", "rounds"), [(1.0, 40), (0.0, 235)])
def test_it_drafts_where_drafts_are_right_and_stops_where_they_are_wrong(hit, rounds):
    row = decode(TARGET, [[0]], drafter=knowing(hit), planner=Cheapest(8), new_tokens=240)[0]
    assert row.counters.rounds <= 240 and row.counters.drafted <= row.counters.accepted + 60
    if hit:
        assert row.counters.rounds <= rounds
    else:
        assert sum(len(step.drafted) for step in row.steps[-100:]) == 0


def test_rejected_kinds_are_dropped_and_come_back_when_they_would_have_been_right():
    plan = planning(1.0, 0.2)
    tree = Tree.chain([1, 2, 3], source="s")
    for _ in range(20):
        plan.learn(None, tree, Outcome(Tree(), [], [0]), 0.0)
    assert plan.trim([None], [tree]) == [Tree()]
    for _ in range(60):  # not verified, but the committed token shows that the guess was right
        plan.learn(None, tree, Outcome(Tree(), [], [1]), 0.0)
    assert len(plan.trim([None], [tree])[0]) >= 1


def test_the_size_is_the_best_yield_by_enumeration():
    plan = planning(1.0, 0.15, most=8)
    tree = Tree.chain([1] * 8, source="s")
    chance = random.Random(0)
    for _ in range(400):
        accepted = next((at for at in range(8) if chance.random() > 0.7), 8)
        plan.learn(None, tree, Outcome(tree, [*range(accepted)], [1] * accepted + [0]), 0.0)
    rates = plan._known.rates.rates(tree)
    yields = []
    for size in range(9):
        expected, reach = 1.0, 1.0
        for rate in rates[:size]:
            reach *= rate
            expected += reach
        yields.append(expected / (1.0 + 0.15 * size))
    assert len(plan.trim([None], [tree])[0]) == yields.index(max(yields))
    assert all(abs(rate - 0.7) < 0.15 for rate in rates[:3])


def test_where_promises_are_not_held_less_is_promised():
    """Guesses that are right half of the time are verified, but not after those verified of late were all wrong."""
    plan, tree = planning(1.0, 0.3), Tree.chain([1], source="s")
    for at in range(40):
        plan.learn(None, tree, Outcome(Tree(), [], [at % 2]), 0.0)
    assert len(plan.trim([None], [tree])[0]) == 1
    (before,) = plan.estimate(None, tree)
    for _ in range(20):  # each beside one that was not verified and would have been right: the rates stay
        for right in (0, 1):
            plan.learn(None, tree, Outcome(Tree() if right else tree, [], [right]), 0.0)
    assert plan.estimate(None, tree)[0] < 0.7 * before and plan.trim([None], [tree]) == [Tree()]
    for _ in range(150):
        plan.learn(None, Tree(), Outcome(Tree(), [], [0]), 0.0)
    assert plan.estimate(None, tree)[0] == pytest.approx(before, rel=0.1)  # of late nothing was verified


class Packed(Clock):
    """A clock by which padding costs nothing."""

    def cost(self, tokens: float, rows: int = 1, padding: int = 0) -> float:
        return 1.0 + 0.02 * (tokens * rows - 1)


@pytest.mark.parametrize(("clock", "sizes"), [(Packed(), [8, 0, 0, 0]), (SimulatedClock(1.0, 0.02), [0, 0, 0, 0])])
def test_a_row_that_is_sure_gets_nodes_where_the_others_do_not_pay_for_them(clock, sizes):
    """Nine slots of each of 20 rows would take 3.5 times as long as one; eight more of one take 1.12 times as long."""
    drafting = Drafting("s", lambda row: None)
    plan = Cheapest(8).begin(Context(TARGET, clock, lambda name: TARGET), drafting)
    sure, unsure = (Tree.chain([1] * 8, source=source) for source in ("sure", "unsure"))
    for _ in range(200):
        plan._known.rates.learn(sure, [1] * 8 + [0])
        plan._known.rates.learn(unsure, [0])
    rows = [object() for _ in range(20)]
    plan.rooms(rows)
    assert [len(tree) for tree in plan.trim(rows, [sure, *[unsure] * 19])][:4] == sizes


class Stepped(Clock):
    """A clock of a kernel that takes rows by fours: one more costs much, or almost nothing."""

    def cost(self, tokens: float, rows: int = 1, padding: int = 0) -> float:
        return 1.0 + 0.45 * tokens * rows + 0.6 * ((tokens * rows + 3) // 4)


def test_what_cannot_pay_is_left_out_at_once_and_nothing_else():
    chance, left = random.Random(2), 0
    for at in range(300):
        plan = Cheapest(16).begin(Context(TARGET, Stepped(), lambda name: TARGET), Drafting("s", lambda row: None))
        tree = random_tree([at], Room(12, 5), V)
        tree.scores = [chance.random() for _ in tree.scores]
        for kind in plan._known.rates.kinds(tree, range(len(tree))):
            plan._known.rates.seen[kind] = Rate(100 * chance.random() * chance.random(), 100.0)
        expected = keep_paying([tree], [plan.estimate(None, tree)], plan._seconds(), plan._price)
        assert plan.trim([None], [tree]) == expected
        left += len(tree) > 0 and not len(expected[0])
    assert 20 < left < 280


def test_a_costly_drafter_that_never_pays_is_tried_ever_more_rarely():
    plan = planning(1.0, 0.1, free=False)
    tried = []
    row = object()
    for at in range(300):
        (room,) = plan.rooms([row])
        if room.nodes:
            tried.append(at)
            tree = Tree.chain([1] * room.nodes, source="m")
            plan.learn(row, tree, Outcome(tree, [], [0]), 0.5 * room.nodes)
    assert tried[0] == 0 and len(tried) <= 12
    gaps = [b - a for a, b in itertools.pairwise(tried[2:])]
    assert gaps == sorted(gaps) and gaps[-1] >= 32


def test_what_was_learnt_is_kept_for_the_next_decode():
    drafting = Drafting("s", lambda row: None)
    context = Context(TARGET, SimulatedClock(1.0, 0.1), lambda name: TARGET)
    tree = Tree.chain([1, 2, 3], source="s")
    first = Cheapest(8).begin(context, drafting)
    assert len(first.trim([None], [tree])[0]) > 0
    for _ in range(20):
        first.learn(None, tree, Outcome(Tree(), [], [0]), 0.0)
    assert Cheapest(8).begin(context, drafting).trim([None], [tree]) == [Tree()]
    other = Drafting("another drafter", lambda row: None)
    assert len(Cheapest(8).begin(context, other).trim([None], [tree])[0]) > 0


def test_drafting_time_counts():
    """The same acceptance pays with a fast draft model and not with a slow one."""
    for seconds, drafts in ((0.01, True), (2.0, False)):
        plan = planning(1.0, 0.05, free=False)
        row = object()
        for _ in range(60):
            (room,) = plan.rooms([row])
            if room.nodes:
                tree = Tree.chain([1] * room.nodes, source="m")
                path = list(range(room.nodes))
                plan.learn(row, tree, Outcome(tree, path, [1] * room.nodes + [0]), seconds * room.nodes)
        assert (plan.rooms([row])[0].nodes > 2) == drafts


def test_a_tree_is_trimmed_to_its_likeliest_nodes():
    plan = planning(1.0, 0.3)
    tree = Tree()
    good = tree.add(1, ROOT, source="good")
    bad = tree.add(2, ROOT, source="bad")
    tree.add(3, bad, source="bad")
    tree.add(3, good, source="good")
    for _ in range(30):
        plan.learn(None, tree, Outcome(tree, [0, 3], [1, 3, 0]), 0.0)
    (kept,) = plan.trim([None], [tree])
    assert kept.sources == ["good", "good"] and kept.parents == [ROOT, 0]


def test_rooms_are_within_the_setting():
    rooms = planning(1.0, 0.1, most=3).rooms([None, None])
    assert [(room.nodes, room.depth) for room in rooms] == [(3, 3)] * 2


@pytest.mark.parametrize("dearer", [0.01, 0.1, 0.3])
def test_what_may_be_left_out_is_what_could_not_pay(dearer):
    """A node of that chance is left out by the planner, too, and one of four times as much is verified."""
    ours = planning(1.0, dearer, most=3)
    (room,) = ours.rooms([None])
    for chance, kept in ((room.least, 0), (4 * room.least, 1)):
        if chance < 0.9:
            ours._known.rates.rate = lambda kind, chance=chance: chance
            assert len(ours.trim([None], [Tree.chain([1])])[0]) == kept


@given(
    rates=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=8),
    start=st.floats(0.1, 5.0),
    per_token=st.floats(0.0, 2.0),
    speed=st.floats(1.0, 6.0),
)
def test_a_single_chain_is_cut_where_it_gains_most(rates, start, per_token, speed):
    """Beyond what its seconds are worth at the speed of late."""
    plan = planning(start, per_token)
    plan._known.speed.add(1e6 * speed, 1e6)
    tree = Tree.chain(range(len(rates)), source="s")
    for node, rate in enumerate(rates):
        tree.scores[node] = node / 10  # each node is of its own kind
        plan._known.rates.seen[plan._known.rates.kinds(tree, [node])[0]] = Rate(rate * 100, 100.0)
    (alone,) = plan.trim([None], [tree])
    reaches = list(itertools.accumulate(rates, operator.mul))
    price = MARGIN * plan._known.speed.worth(start)
    gains = [sum(reaches[:size]) - price * per_token * size for size in range(len(rates) + 1)]
    assert gains[len(alone)] == pytest.approx(max(gains), abs=1e-9)
